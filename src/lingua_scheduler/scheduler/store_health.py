"""Whether Redis answers, as this instance sees it, and whether it may have forgotten the fleet."""

from collections.abc import Callable

from lingua_scheduler.runtime.clock import Clock

SETTLING_MS = 5_000
"""After its return Redis may be empty. By then every instance has noticed and said again which nodes it has."""


class StoreHealth:
    """`told` hears of each change, with the reason."""

    def __init__(self, clock: Clock) -> None:
        self.told: Callable[[bool, str], None] = lambda _is_up, _why: None
        self.is_up = True
        self.failures = 0
        self._clock = clock
        self._settled_at_ms = 0

    @property
    def is_settling(self) -> bool:
        """Whether "there is no such thing" may merely mean that it was not said again yet."""
        return not self.is_up or self._clock.now_ms() < self._settled_at_ms

    def failed(self, why: str) -> None:
        """Redis went away, or came back as another."""
        self.failures += 1
        self._turn(False, why)

    def answered(self, failures: int) -> None:
        """A whole round of questions was answered. Not so where there were `failures` when it began, and more by now:
        what it said may have been to the Redis before, which another replaced that has not read it.
        """
        if failures != self.failures:
            return
        if not self.is_up:
            self._settled_at_ms = self._clock.now_ms() + SETTLING_MS
        self._turn(True, "")

    def _turn(self, is_up: bool, why: str) -> None:
        if is_up != self.is_up:
            self.is_up = is_up
            self.told(is_up, why)
