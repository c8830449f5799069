"""Which numbers of a running count have been seen, in bounded memory."""

NUMBER_MAX = 2**32 - 1
"""Largest sequence number or index: what the binary frame has room for."""

_GAPS_MAX = 32


class SeenNumbers:
    """Numbers up to `highest` are seen, but for the gaps. Of more than 32 gaps the oldest counts as seen."""

    __slots__ = ("_gaps", "highest")

    def __init__(self) -> None:
        self.highest = -1
        self._gaps: list[tuple[int, int]] | None = None

    def add(self, number: int) -> bool:
        """Whether `number` is new."""
        if number == self.highest + 1:
            self.highest = number
            return True
        if number > self.highest:
            self._skip(self.highest + 1, number - 1)
            self.highest = number
            return True
        return self._fill(number)

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Ranges below `highest` that were left out, ends included."""
        return tuple(self._gaps or ())

    def restore(self, highest: int, gaps: tuple[tuple[int, int], ...] = ()) -> None:
        self.highest = highest
        self._gaps = list(gaps) or None

    def has(self, number: int) -> bool:
        return number <= self.highest and not any(first <= number <= last for first, last in self._gaps or ())

    def missing(self) -> int:
        """How many numbers below `highest` have not come."""
        return sum(last - first + 1 for first, last in self._gaps or ())

    def _skip(self, first: int, last: int) -> None:
        gaps = self._gaps = self._gaps or []
        gaps.append((first, last))
        if len(gaps) > _GAPS_MAX:
            del gaps[0]

    def _fill(self, number: int) -> bool:
        gaps = self._gaps or []
        for at, (first, last) in enumerate(gaps):
            if first <= number <= last:
                gaps[at : at + 1] = [gap for gap in ((first, number - 1), (number + 1, last)) if gap[0] <= gap[1]]
                return True
        return False
