"""The partial texts of one job that streams: joined over its batches, no more often than was asked, with their stable
prefix.
"""

from collections.abc import Callable, Sequence

from lingua_scheduler.node.aggregation.prefix import Partial, StablePrefix
from lingua_scheduler.node.aggregation.writing import join

INTERVAL_MIN_MS = 100
"""Whatever a client asks: nobody reads faster."""


class Partials:
    """`send` gets each partial and whether it is the last. `order` is the order of the job's batches in its text."""

    def __init__(self, interval_ms: int, now_ms: Callable[[], int], send: Callable[[Partial, bool], None]) -> None:
        self._interval_ms = max(interval_ms, INTERVAL_MIN_MS)
        self._now_ms = now_ms
        self._send = send
        self._prefix = StablePrefix()
        self._texts: dict[int, str] = {}
        self._next_ms = 0

    def grew(self, batch: int, text: str) -> None:
        """The text of a batch so far. Batches are numbered in the order of their audio."""
        self._texts[batch] = text
        now_ms = self._now_ms()
        whole = join([self._texts[number] for number in sorted(self._texts)])
        if now_ms < self._next_ms or not whole:
            return
        self._next_ms = now_ms + self._interval_ms
        self._send(self._prefix.add(whole), False)

    def finish(self, texts: Sequence[str]) -> None:
        """Recognition is done; nothing is sent where nothing was said."""
        whole = join(texts)
        if whole:
            self._send(self._prefix.finish(whole), True)
