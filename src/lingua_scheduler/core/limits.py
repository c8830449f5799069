"""Rates that may be exceeded for a moment and not for long. Time comes in; nothing waits here."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")


class Bucket:
    """So much at once, and a steady rate after that. What is taken beyond it is a debt that has to be waited out."""

    __slots__ = ("_burst", "_left", "_rate_per_ms", "_seen_ms")

    def __init__(self, per_second: float, burst: float, now_ms: int) -> None:
        self._rate_per_ms = per_second / 1000
        self._burst = burst
        self._left = burst
        self._seen_ms = now_ms

    def take(self, amount: float, now_ms: int) -> int:
        """Takes it whatever is left; the milliseconds until the debt is paid, 0 where there is none."""
        left = self._left + (now_ms - self._seen_ms) * self._rate_per_ms
        self._left = left = (left if left < self._burst else self._burst) - amount  # noqa: FURB136 - taken for each frame
        self._seen_ms = now_ms
        return 0 if left >= 0 else int(-left / self._rate_per_ms) + 1

    def take_if(self, amount: float, now_ms: int) -> int:
        """Takes it only where it is there; else the milliseconds until it is."""
        wait_ms = self.take(amount, now_ms)
        if wait_ms:
            self._left += amount
        return wait_ms


class Buckets(Generic[K]):
    """One bucket for each key: the `most` that were used last. A key that was forgotten begins anew."""

    def __init__(self, per_second: float, burst: float, most: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._most = most
        self._by_key: OrderedDict[K, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: K, now_ms: int) -> Bucket:
        bucket = self._by_key.get(key)
        if bucket is None:
            bucket = self._by_key[key] = Bucket(self._per_second, self._burst, now_ms)
            if len(self._by_key) > self._most:
                self._by_key.popitem(last=False)
        self._by_key.move_to_end(key)
        return bucket
