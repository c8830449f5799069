"""Drives one pure machine: one event at a time, its effects in order, its deadline kept.

`post` handles at once, on the caller's stack: a chunk of audio costs no task switch. An event posted while another is
being handled waits its turn, so a machine never sees two at a time. All posts must come from the loop's own thread.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.timers import Timers

E = TypeVar("E")
F = TypeVar("F")
E_contra = TypeVar("E_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)

STORY_LENGTH = 64


class Machine(Protocol[E_contra, F_co]):
    """What a driver asks of a machine."""

    def handle(self, event: E_contra, now_ms: int) -> Sequence[F_co]: ...

    def next_deadline_ms(self) -> int | None: ...


class Driver(Generic[E, F]):
    """The one owner of a machine.

    `perform` does one effect and must not block or raise; what takes time it starts elsewhere and posts the answer.
    Should it or the machine raise all the same, that is a bug: the driver stops for good and calls `crashed` once with
    the error and the story (the last events by name, newest last), so that one session ends and no other.
    """

    def __init__(
        self,
        machine: Machine[E, F],
        perform: Callable[[F], None],
        time_reached: E,
        timers: Timers,
        clock: Clock,
        crashed: Callable[[Exception, list[str]], None],
    ) -> None:
        self._machine = machine
        self._perform = perform
        self._time_reached = time_reached
        self._timers = timers
        self._clock = clock
        self._crashed = crashed
        self._waiting: deque[E] = deque()
        self._is_busy = False
        self._is_stopped = False
        self._wake_ms: int | None = None
        # Kinds only: the events of a speaker hold audio and text, which must neither be kept nor logged.
        self._story: deque[tuple[int, type, tuple[type, ...] | Exception]] = deque(maxlen=STORY_LENGTH)

    @property
    def is_stopped(self) -> bool:
        return self._is_stopped

    def post(self, event: E) -> None:
        """Hand in an event; ignored once stopped."""
        if self._is_busy:
            self._waiting.append(event)
            return
        if self._is_stopped:
            return
        self._is_busy = True
        try:
            self._handle(event)
            while self._waiting and not self._is_stopped:
                self._handle(self._waiting.popleft())
        finally:
            self._is_busy = False
        if not self._is_stopped:
            self._watch_deadline()

    def stop(self) -> None:
        """Handle nothing any more; safe from within `perform`."""
        self._is_stopped = True
        self._waiting.clear()

    def story(self) -> list[str]:
        """The last events that had effects, one line each: milliseconds, event, effects."""
        return [f"{at_ms} {event.__name__}: {_told(effects)}" for at_ms, event, effects in self._story]

    def _handle(self, event: E) -> None:
        now_ms = self._clock.now_ms()
        try:
            effects = self._machine.handle(event, now_ms)
            if effects:
                self._story.append((now_ms, type(event), tuple(map(type, effects))))
                for effect in effects:
                    self._perform(effect)
        except Exception as error:  # noqa: BLE001 - a bug in one machine must end that machine only, loudly
            self._story.append((now_ms, type(event), error))
            self.stop()
            self._crashed(error, self.story())

    def _watch_deadline(self) -> None:
        deadline_ms = self._machine.next_deadline_ms()
        if deadline_ms is not None and (self._wake_ms is None or deadline_ms < self._wake_ms):
            self._wake_ms = deadline_ms
            self._timers.wake_at(deadline_ms, self._wake)

    def _wake(self) -> None:
        self._wake_ms = None
        if self._is_stopped:
            return
        deadline_ms = self._machine.next_deadline_ms()
        if deadline_ms is not None and deadline_ms <= self._clock.now_ms():
            self.post(self._time_reached)
        else:
            self._watch_deadline()


def _told(effects: tuple[type, ...] | Exception) -> str:
    return repr(effects) if isinstance(effects, Exception) else " ".join(kind.__name__ for kind in effects)
