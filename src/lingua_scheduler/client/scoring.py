"""Word error rate: how far a recognised text is from what was said.

Both texts are brought to one form first, so that spelling does not count as hearing: lower case, no punctuation,
hyphens as spaces, numbers up to 999 and a few abbreviations in words. Languages that are written without spaces are
compared character by character, as is usual for them.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ABBREVIATIONS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "&": "and"}
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *_TEENS]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


@dataclass(frozen=True, slots=True)
class WordErrors:
    errors: int
    """Words to change, leave out or put in."""
    words: int
    """Of the reference."""

    @property
    def rate(self) -> float:
        """0.0 is perfect; above 1.0 where more was heard than said."""
        return self.errors / self.words if self.words else float(bool(self.errors))


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    said, heard = words(reference), words(hypothesis)
    return WordErrors(_distance(said, heard), len(said))


def is_unspaced(text: str) -> bool:
    """Whether what is compared in such a text is characters, not words."""
    return _UNSPACED.search(text) is not None


def words(text: str) -> list[str]:
    """The words of a text in the form in which they are compared."""
    spaced = _UNSPACED.sub(lambda found: f" {found[0]} ", unicodedata.normalize("NFKC", text).lower())
    kept = re.sub(r"[^\w\s&']|_", " ", spaced.replace("’", "'"))
    found: list[str] = []
    for word in kept.split():
        plain = word.strip("'")
        spoken = _ABBREVIATIONS.get(plain) or _in_words(plain) or plain
        found += spoken.split()
    return found


def _in_words(word: str) -> str | None:
    """English for a number up to 999."""
    if not re.fullmatch(r"[0-9]{1,3}", word):
        return None
    number = int(word)
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10 - 2] + (f" {_ONES[number % 10]}" if number % 10 else "")
    return f"{_ONES[number // 100]} hundred" + (f" {_in_words(str(number % 100))}" if number % 100 else "")


def _distance(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's, by words, one row at a time."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
