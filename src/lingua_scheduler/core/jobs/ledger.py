"""Who still needs the audio of which utterance, and which utterances are concluded: both in bounded memory."""

from bisect import bisect_right
from collections import Counter

RANGES_MAX = 256
"""Concluded indices come in order but for gaps that clients choose; past so many gaps the oldest are forgotten."""


class Custody:
    """Counts the claims on each utterance's audio. An utterance is free when its last claim is given up."""

    def __init__(self) -> None:
        self.claims: Counter[int] = Counter()

    def claim(self, index: int) -> None:
        self.claims[index] += 1

    def give_up(self, index: int) -> bool:
        """Whether that was the last claim."""
        self.claims[index] -= 1
        assert self.claims[index] >= 0, f"utterance {index} given up more often than claimed"
        if self.claims[index]:
            return False
        del self.claims[index]
        return True


class IndexSet:
    """A set of utterance indices as sorted, disjoint ranges `[start, stop)`; at most `RANGES_MAX` of them."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._starts, index) - 1
        return at >= 0 and index < self._stops[at]

    def __len__(self) -> int:
        """How many ranges there are."""
        return len(self._starts)

    def add(self, index: int) -> None:
        if index in self:
            return
        at = bisect_right(self._starts, index)
        joins_left = at > 0 and self._stops[at - 1] == index
        joins_right = at < len(self._starts) and self._starts[at] == index + 1
        if joins_left and joins_right:
            self._stops[at - 1] = self._stops.pop(at)
            del self._starts[at]
        elif joins_left:
            self._stops[at - 1] = index + 1
        elif joins_right:
            self._starts[at] = index
        else:
            self._starts.insert(at, index)
            self._stops.insert(at, index + 1)
            if len(self._starts) > RANGES_MAX:
                del self._starts[0], self._stops[0]
