"""The one file that reads clocks: loop time in integer milliseconds, and wall time for the edges."""

import asyncio
import time


def stopwatch_s() -> float:
    """Seconds of real time since some moment: only differences mean anything."""
    return time.perf_counter()


def processor_s() -> float:
    """Seconds of processor that this process has taken: only differences mean anything."""
    return time.process_time()


class Clock:
    """`now_ms` never goes back and is what machines are given; `wall_ms` is UTC and only for showing and stamping.

    The time is that of the loop in which it was first asked for: to look the loop up costs as much as its clock, and
    frames ask several times each.
    """

    _its_loop: asyncio.AbstractEventLoop | None = None

    def now_ms(self) -> int:
        loop = self._its_loop
        if loop is None:
            loop = self._its_loop = asyncio.get_running_loop()
        return int(loop.time() * 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def epoch_ms(self) -> int:
        """Wall time of `now_ms() == 0`, so that a machine can stamp wall times without a clock of its own."""
        return self.wall_ms() - self.now_ms()
