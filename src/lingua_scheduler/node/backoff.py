"""How long to wait before the next attempt to connect: doubling, with jitter, bounded."""

import random

FIRST_MS = 250
LONGEST_MS = 10_000


class Backoff:
    """Waits drawn between half and the whole of a bound that doubles from 250 ms to 10 s.

    The jitter spreads the nodes of a scheduler that restarts; the lower half keeps any single node from hammering it.
    """

    def __init__(self, rng: random.Random, *, first_ms: int = FIRST_MS, longest_ms: int = LONGEST_MS) -> None:
        self._rng = rng
        self._first_ms = first_ms
        self._longest_ms = longest_ms
        self._bound_ms = first_ms

    def next_ms(self) -> int:
        bound_ms = self._bound_ms
        self._bound_ms = min(2 * bound_ms, self._longest_ms)
        return self._rng.randint(bound_ms // 2, bound_ms)

    def succeeded(self) -> None:
        self._bound_ms = self._first_ms
