"""An asyncio event loop on virtual time, shared by simulated processes that can be paused and killed.

Nothing waits here: when nothing is ready, time jumps to the next timer. Each callback belongs to the process that was
running when it was scheduled. A paused process's callbacks are put aside until it goes on; a killed process's tasks are
cancelled with all its outlets shut (`is_alive` is false before they see the cancellation), so that whatever their
`finally` says reaches nobody; then its callbacks are dropped.

Order is that of scheduling, time is whole milliseconds: two runs of one seed do the same to the letter.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from enum import Enum, auto
from typing import Any, TypeVar, cast

T = TypeVar("T")


class State(Enum):
    RUNNING = auto()
    PAUSED = auto()
    DEAD = auto()
    """Its tasks are being cancelled, or were: it starts no timer and nothing that it says goes out."""


class Process:
    """A simulated process: its own monotonic clock, its own wall clock, its own life."""

    __slots__ = ("is_alive", "monotonic_offset_ms", "name", "on_exit", "parked", "state", "tasks", "wall_offset_ms")

    def __init__(self, name: str, *, monotonic_offset_ms: int = 0, wall_offset_ms: int = 0) -> None:
        self.name = name
        self.state = State.RUNNING
        self.is_alive = True
        """Running or paused: not `State.DEAD`."""
        self.monotonic_offset_ms = monotonic_offset_ms
        self.wall_offset_ms = wall_offset_ms
        self.parked: list[Handle] = []
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.on_exit: list[Callable[[], None]] = []


class Handle:
    """What `call_soon` and `call_at` give back."""

    __slots__ = ("args", "callback", "context", "is_cancelled", "process")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None, process: Process
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.process = process
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class TimerHandle(Handle):
    """One that knows when it is due, by its process's clock: `asyncio.timeout` asks."""

    __slots__ = ("_when_s",)

    def __init__(self, when_s: float, *what: Any) -> None:
        super().__init__(*what)
        self._when_s = when_s

    def when(self) -> float:
        return self._when_s


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of a loop as tasks, futures, events, timeouts and sleeps need. No sockets, no threads, no signals."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.world = Process("world")
        """Who runs what belongs to no process: the network, Redis, the faults."""
        self.current = self.world
        self.steps = 0
        self._ready: deque[Handle] = deque()
        self._due: dict[int, list[Handle]] = {}
        """By the millisecond, in the order of scheduling."""
        self._times: list[int] = []
        """A heap of the keys of `_due`."""
        self.bugs: list[str] = []
        """Errors that nobody caught."""

    # ------------------------------------------------------------------------------- what asyncio asks

    def time(self) -> float:
        return (self.now_ms + self.current.monotonic_offset_ms) / 1000

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle: Any = Handle(callback, args, context, self.current)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        at_ms = self.now_ms + max(0, math.ceil(delay * 1000 - 1e-6))
        return cast("asyncio.TimerHandle", self._plan(at_ms, Handle(callback, args, context, self.current)))

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        at_ms = round(when * 1000) - self.current.monotonic_offset_ms
        handle: Any = TimerHandle(when, callback, args, context, self.current)
        self._plan(at_ms, handle)
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], *, name: str | None = None, context: Any = None
    ) -> "asyncio.Task[T]":
        del context
        task: asyncio.Task[T] = asyncio.Task(cast("Coroutine[Any, Any, T]", coro), loop=self, name=name or "task")
        tasks = self.current.tasks
        tasks[task] = None
        if len(tasks) % 256 == 0:
            for done in [one for one in tasks if one.done()]:
                del tasks[done]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.bugs.append(f"{context.get('message')}: {context.get('exception')!r}")

    # ------------------------------------------------------------------------------- what the world asks

    def call_in(self, process: Process, delay_ms: int, callback: Callable[..., object], *args: Any) -> Handle:
        """Call in `delay_ms`, as part of `process`."""
        return self._plan(self.now_ms + delay_ms, Handle(callback, args, None, process))

    def start(self, process: Process, work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
        """A task of `process`, which nobody waits for."""
        with self.within(process):
            task = self.create_task(work, name=name)
            task.add_done_callback(self._ended)
        return task

    @contextmanager
    def within(self, process: Process) -> Generator[None]:
        """What is scheduled in the block belongs to `process`."""
        before, self.current = self.current, process
        try:
            yield
        finally:
            self.current = before

    def pause(self, process: Process) -> None:
        if process.state is State.RUNNING:
            process.state = State.PAUSED

    def resume(self, process: Process) -> None:
        if process.state is State.PAUSED:
            process.state = State.RUNNING
            self._ready.extend(process.parked)
            process.parked.clear()

    def kill(self, process: Process) -> None:
        """At once, whatever it was doing. Its peers see their connections break (`on_exit`)."""
        if not process.is_alive:
            return
        process.state, process.is_alive = State.DEAD, False
        process.parked.clear()
        with self.within(process):
            for task in [task for task in process.tasks if not task.done()]:
                task.cancel()
        process.tasks.clear()
        for tell in process.on_exit:
            tell()
        process.on_exit.clear()

    def run_until(self, until_ms: int) -> None:
        """Let everything happen that happens before or at `until_ms`."""
        asyncio._set_running_loop(self)
        times, due, ready = self._times, self._due, self._ready
        try:
            self._run_ready()
            while times and times[0] <= until_ms:
                at_ms = self.now_ms = heapq.heappop(times)
                for handle in due.pop(at_ms):
                    if handle.process.is_alive and not handle.is_cancelled:
                        ready.append(handle)
                self._run_ready()
            self.now_ms = until_ms
        finally:
            asyncio._set_running_loop(None)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _plan(self, at_ms: int, handle: Handle) -> Handle:
        if handle.process.is_alive:
            at_ms, due = max(at_ms, self.now_ms), self._due
            if at_ms in due:
                due[at_ms].append(handle)
            else:
                due[at_ms] = [handle]
                heapq.heappush(self._times, at_ms)
        return handle

    def _run_ready(self) -> None:
        ready, paused, world = self._ready, State.PAUSED, self.world
        popleft, steps = ready.popleft, 0
        while ready:
            handle = popleft()
            if handle.is_cancelled:
                continue
            process = handle.process
            if process.state is paused:
                process.parked.append(handle)
                continue
            self.current = process
            steps += 1
            context = handle.context
            try:
                if context is None:
                    handle.callback(*handle.args)
                else:
                    context.run(handle.callback, *handle.args)
            except Exception as error:  # noqa: BLE001 - a bug in one process is the run's finding, not its end
                self.bugs.append(f"{process.name}: {error!r}")
        self.current = world
        self.steps += steps
