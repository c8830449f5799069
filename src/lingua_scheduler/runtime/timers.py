"""Deadlines of many owners on one loop timer.

Machines move their deadlines with every event (each chunk of audio restarts the pause clock), and almost none is ever
reached. So an owner is woken at the deadline it had when it was last looked at, and looks again: moving a deadline back
costs one comparison and no timer.
"""

import asyncio
import heapq
from collections.abc import Callable

from lingua_scheduler.runtime.clock import Clock


class Timers:
    """Wakes owners. Not a promise of precision: a wake comes at or after its time, as the loop gets to it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._handle: asyncio.TimerHandle | None = None
        self._armed_ms: int | None = None

    def wake_at(self, at_ms: int, wake: Callable[[], None]) -> None:
        """Call `wake` once when `now_ms` has reached `at_ms`. It cannot be taken back: wakes must tolerate that."""
        self._count += 1
        heapq.heappush(self._heap, (at_ms, self._count, wake))
        if self._armed_ms is None or at_ms < self._armed_ms:
            self._arm()

    def close(self) -> None:
        """Forget everything; nobody is woken any more."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._armed_ms = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        loop = asyncio.get_running_loop()
        self._armed_ms = self._heap[0][0]
        self._handle = loop.call_at(self._armed_ms / 1000, self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._armed_ms = None
        now_ms = self._clock.now_ms()
        due: list[Callable[[], None]] = []
        # uvloop may fire half a millisecond early: what is due within this millisecond is due now or on the next ring.
        while self._heap and self._heap[0][0] <= now_ms:
            due.append(heapq.heappop(self._heap)[2])
        for wake in due:
            wake()
        if self._heap and self._armed_ms is None:
            self._arm()
