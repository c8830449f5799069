"""What a part of the system reports while it starts: lines, and a spinner for the one thing that takes its time.

A report that ends in `…` names what is being done from then on. Where a status line is seen it becomes that, with the
seconds it has taken; elsewhere it is a line like any other.
"""

import asyncio

from lingua_scheduler.cli.console import Console

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK_S = 0.1


class Activity:
    """Shows reports behind `head`. Only inside a running event loop; `close` when nothing is under way any more."""

    def __init__(self, console: Console, head: str = "") -> None:
        self._console = console
        self._head = head
        self._doing = ""
        self._since_s = 0.0
        self._next: asyncio.TimerHandle | None = None

    def report(self, line: str) -> None:
        self.close()
        if not line.endswith("…") or not self._console.has_status:
            self._console.line(f"{self._head}{line}")
            return
        self._doing = line
        self._since_s = asyncio.get_running_loop().time()
        self._tick()

    def close(self) -> None:
        """End what is under way; its line goes."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
            self._console.status("")

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        took_s = loop.time() - self._since_s
        frame = _FRAMES[int(took_s / _TICK_S) % len(_FRAMES)]
        self._console.status(f"{self._head}{frame} {self._doing} {took_s:.0f} s")
        self._next = loop.call_later(_TICK_S, self._tick)
