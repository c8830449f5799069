"""Which part of a growing recognition will not change any more: what two decodes in a row agree on.

While an utterance grows it is decoded again and again from its start. A decode is sure of its beginning and guesses its
end, so the words that two consecutive decodes share are committed, and never change after that: of a later decode that
hears them otherwise only what comes behind them is taken. Agreement is exact, punctuation and case included; words of
languages without spaces are single characters.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from lingua_scheduler.node.aggregation.writing import bare, tokens

_SHIFT_MAX = 3


@dataclass(frozen=True, slots=True)
class Partial:
    text: str
    stable_chars: int
    """Length, in code points, of the prefix of `text` that no later partial changes."""

    @property
    def stable(self) -> str:
        return self.text[: self.stable_chars]


class StablePrefix:
    """The partial texts of one utterance."""

    def __init__(self) -> None:
        self._committed: list[str] = []
        self._before: list[str] | None = None

    def add(self, decode: str) -> Partial:
        """Take the next decode of the utterance so far."""
        words = tokens(decode.strip())
        open_words = self._behind_committed(words)
        if self._before is not None:
            agreed = _agreed(self._behind_committed(self._before), open_words)
            self._committed = self._committed + open_words[:agreed]
            open_words = open_words[agreed:]
        self._before = words
        return self._partial(open_words)

    def finish(self, decode: str) -> Partial:
        """Take the decode of the whole utterance. All of it is stable; what was committed stays as it was."""
        self._committed = self._committed + self._behind_committed(tokens(decode.strip()))
        self._before = None
        return self._partial([])

    def _partial(self, open_words: Iterable[str]) -> Partial:
        stable = "".join(self._committed)
        return Partial(stable + "".join(open_words), len(stable))

    def _behind_committed(self, words: list[str]) -> list[str]:
        """What follows in a decode that may have changed its mind: it goes on behind the last committed word.

        That word is looked for a few places around where it was, in case the decode gained or lost words before it.
        """
        count = len(self._committed)
        if not count or words[:count] == self._committed:
            return words[count:]
        last = _heard(self._committed[-1])
        near = [at for at, word in enumerate(words, 1) if abs(at - count) <= _SHIFT_MAX and _heard(word) == last]
        return words[min(near, key=lambda at: abs(at - count)) :] if near else words[count:]


def _heard(word: str) -> str:
    return bare(word) or word.strip()


def _agreed(left: list[str], right: list[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count
