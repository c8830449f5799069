"""The one file that reads clocks: loop time in integer milliseconds, and wall time for the edges."""

import asyncio
import time


def stopwatch_s() -> float:
    """Seconds of real time since some moment: only differences mean anything."""
    return time.perf_counter()


class Clock:
    """`now_ms` never goes back and is what machines are given; `wall_ms` is UTC and only for showing and stamping."""

    def now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def epoch_ms(self) -> int:
        """Wall time of `now_ms() == 0`, so that a machine can stamp wall times without a clock of its own."""
        return self.wall_ms() - self.now_ms()
