"""What text looks like in languages with and without spaces: its size, its ends, joining it, finding a repeat in it."""

import re
from collections.abc import Sequence

# Han, kana, and the punctuation and full-width forms that go with them. Korean puts spaces between words: not here.
_CJK = (
    "\u2e80-\u2fdf\u3001-\u303f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
)
_CJK_CHAR = re.compile(f"[{_CJK}]")
_TOKEN = re.compile(rf"\s*(?:[{_CJK}]|[^\s{_CJK}]+)")
_SENTENCE_ENDS = frozenset("。！？.!?；;")
_CLOSERS = "\"'”’»)]}）】」』》 \t\r\n"

REPEAT_CHARS_MIN = 2
REPEAT_CHARS_MAX = 50
_MS_PER_CHAR_MIN = 40
"""Nobody says more than 25 characters a second: a repeat longer than the shared audio can hold is none."""


def is_cjk(char: str) -> bool:
    return _CJK_CHAR.match(char) is not None


def tokens(text: str) -> list[str]:
    """Words, or single characters of CJK, each with the white space before it: joined they are `text`, less its end."""
    return _TOKEN.findall(text)


def bare(token: str) -> str:
    """Letters and digits alone, without case: what two ways of writing the same word have in common."""
    return "".join(char for char in token.casefold() if char.isalnum())


def size(text: str) -> tuple[int, bool]:
    """How long a text is, and whether the number counts CJK characters (a foreign word among them is one) or words."""
    units = [unit for unit in map(bare, tokens(text)) if unit]
    characters = sum(is_cjk(unit[0]) for unit in units)
    return len(units), characters * 2 >= len(units) > 0


def ends_sentence(text: str) -> bool:
    stripped = text.rstrip(_CLOSERS)
    return bool(stripped) and stripped[-1] in _SENTENCE_ENDS


def join(texts: Sequence[str]) -> str:
    """One text of several: a space between them, but none where either side of the seam is CJK. Blank ones vanish."""
    whole = ""
    for text in texts:
        text = text.strip()  # noqa: PLW2901
        if whole and text and not is_cjk(whole[-1]) and not is_cjk(text[0]):
            whole += " "
        whole += text
    return whole


def without_repeat(previous: str, current: str, shared_ms: float) -> str:
    """`current` without its beginning, where `previous` ended with the same words and both heard the same audio.

    The repeat is the longest whole words (characters, in CJK) of 2 to 50 letters, case and punctuation apart, that
    `shared_ms` milliseconds of common audio have room for.
    """
    before = [unit for unit in map(bare, tokens(previous)) if unit]
    pieces = tokens(current)
    most = min(REPEAT_CHARS_MAX, shared_ms / _MS_PER_CHAR_MIN)
    head: list[str] = []
    repeated = 0
    for count, piece in enumerate(pieces, start=1):
        unit = bare(piece)
        if not unit:
            continue
        head.append(unit)
        length = sum(map(len, head))
        if length > most:
            break
        if length >= REPEAT_CHARS_MIN and before[-len(head) :] == head:
            repeated = count
    if not repeated:
        return current
    rest = pieces[repeated:]
    while rest and not bare(rest[0]):
        rest.pop(0)
    return "".join(rest).strip()
