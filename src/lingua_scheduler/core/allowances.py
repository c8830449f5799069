"""The audio minutes of one token at one instance: what the fleet knows of their use, and what it does not know yet.

Theory of operation. As with quotas (`core/shares.py`) nobody asks before something is said: it is counted, told to the
fleet a moment later, and the answer is what all instances together have used. What is under way may exceed it. Nothing
comes back with time.
"""

MINUTE_MS = 60_000


class Allowance:
    """Told once and told until heard: a bill keeps its number until the fleet has answered it."""

    def __init__(self, token_id: str, minutes: int, ends_at_s: int) -> None:
        self.token_id = token_id
        self.ends_at_s = ends_at_s
        """When the token expires, in seconds since 1970."""
        self._max_ms = minutes * MINUTE_MS
        self._used_ms = 0
        self._new_ms = 0
        self._told: tuple[int, int] | None = None

    @property
    def is_used_up(self) -> bool:
        told_ms = self._told[1] if self._told is not None else 0
        return self._used_ms + told_ms + self._new_ms >= self._max_ms

    @property
    def is_news(self) -> bool:
        """Whether the fleet knows less than this."""
        return bool(self._new_ms or self._told)

    def use(self, audio_ms: int) -> None:
        self._new_ms += audio_ms

    def tell(self, bill: int) -> tuple[int, int]:
        """A number and what is to be told under it; those of before while nothing was heard of them."""
        if self._told is None:
            self._told = bill, self._new_ms
            self._new_ms = 0
        return self._told

    def heard(self, told: tuple[int, int], used_ms: int) -> None:
        """The fleet's answer, which what was told is part of."""
        if self._told == told:
            self._told = None
        self._used_ms = used_ms
