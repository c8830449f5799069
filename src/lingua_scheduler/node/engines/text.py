"""Text before and after an engine: pieces within its length limit, scripts that fit a language. Pure functions.

`"".join(split_text(t, n))` has every character of `t` but the white space at the cuts, in order.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from lingua_scheduler.node.engines.base import primary
from lingua_scheduler.protocol.ids import Language

# Where to cut, best first: after the end of a sentence, after a clause, at a space.
_CUTS = (re.compile(r"[.!?…](?=\s)|[。！？；]"), re.compile(r"[,;:–—](?=\s)|[，、：]"), re.compile(r"(?=\s)"))

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’»)]*(?=\s)|[。！？；]+[”’」』）]*")
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Sra|Srta|Jr|Mme|Mlle|Hr|Fr|vs|etc|[A-ZÀ-Þ])\.$")

_LATIN, _HAN, _KANA, _HANGUL = "Latin", "Han", "Kana", "Hangul"
_NAMED: Mapping[str, str] = {"CJK": _HAN, "HIRAGANA": _KANA, "KATAKANA": _KANA, "IDEOGRAPHIC": _HAN}
_SCRIPTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("zh", "yue", "cmn"), frozenset({_HAN})),
    "ja": frozenset({_HAN, _KANA}),
    "ko": frozenset({_HANGUL, _HAN}),
    **dict.fromkeys(("ru", "uk", "bg", "be", "mk", "mn", "tg", "ba", "kv"), frozenset({"Cyrillic"})),
    **dict.fromkeys(("sr", "kk", "ky", "uz", "tt", "az", "tk"), frozenset({"Cyrillic", _LATIN, "Arabic"})),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "sd", "ug"), frozenset({"Arabic"})),
    **dict.fromkeys(("he", "yi"), frozenset({"Hebrew"})),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), frozenset({"Devanagari"})),
    **dict.fromkeys(("bn", "as"), frozenset({"Bengali"})),
    "el": frozenset({"Greek"}),
    "th": frozenset({"Thai"}),
    "lo": frozenset({"Lao"}),
    "km": frozenset({"Khmer"}),
    "my": frozenset({"Myanmar"}),
    "ka": frozenset({"Georgian"}),
    "hy": frozenset({"Armenian"}),
    "am": frozenset({"Ethiopic"}),
    "ta": frozenset({"Tamil"}),
    "te": frozenset({"Telugu"}),
    "kn": frozenset({"Kannada"}),
    "ml": frozenset({"Malayalam"}),
    "gu": frozenset({"Gujarati"}),
    "pa": frozenset({"Gurmukhi", "Arabic"}),
    "si": frozenset({"Sinhala"}),
    "bo": frozenset({"Tibetan"}),
    **dict.fromkeys(
        (
            *(
                "en",
                "pt",
                "es",
                "fr",
                "de",
                "it",
                "nl",
                "sv",
                "da",
                "no",
                "nb",
                "nn",
                "fi",
                "is",
                "et",
                "lv",
                "lt",
                "pl",
            ),
            *(
                "cs",
                "sk",
                "sl",
                "hr",
                "bs",
                "sq",
                "ro",
                "hu",
                "tr",
                "ca",
                "gl",
                "eu",
                "oc",
                "br",
                "cy",
                "ga",
                "mt",
                "la",
            ),
            *(
                "vi",
                "id",
                "ms",
                "jw",
                "su",
                "tl",
                "sw",
                "yo",
                "ha",
                "so",
                "sn",
                "mg",
                "mi",
                "haw",
                "af",
                "lb",
                "fo",
                "eo",
            ),
        ),
        frozenset({_LATIN}),
    ),
}
"""Scripts by language; a language that is not here may be in any."""
_ENOUGH_LETTERS = 4
"""Fewer letters of another script are a name or an abbreviation, not a text in the wrong language."""


def split_text(text: str, max_chars: int) -> list[str]:
    """Non-empty pieces of at most `max_chars`, cut after a sentence, else a clause, a word, a character."""
    pieces: list[str] = []
    rest = text.strip()
    while len(rest) > max_chars:
        at = _cut_at(rest, max_chars)
        pieces.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    return [*pieces, rest] if rest else pieces


def sentences(text: str) -> list[str]:
    """The sentences of a text, each stripped and not empty. A title or an initial (`Mr.`, `J.`) ends none."""
    found: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text, start, end.end()) is None:
            found.append(text[start : end.end()].strip())
            start = end.end()
    return [part for part in (*found, text[start:].strip()) if part]


def wrong_script(text: str, language: Language) -> str | None:
    """The main script of `text`, where less than a fifth of its letters are in one that `language` is written in."""
    allowed = _SCRIPTS.get(primary(language))
    if allowed is None:
        return None
    counts = Counter(script for one in text if (script := _script(one)) is not None)
    foreign = sum(count for script, count in counts.items() if script not in allowed)
    if foreign < _ENOUGH_LETTERS or (counts.total() - foreign) * 5 >= counts.total():
        return None
    return max((script for script in counts if script not in allowed), key=lambda script: counts[script])


def _script(character: str) -> str | None:
    if not character.isalpha():
        return None
    if character.isascii():
        return _LATIN
    first = unicodedata.name(character, "?").split(" ", 1)[0].split("-", 1)[0]
    return _NAMED.get(first, first.capitalize())


def _cut_at(text: str, max_chars: int) -> int:
    head = text[: max_chars + 1]
    for cut in _CUTS:
        ends = [found.end() for found in cut.finditer(head) if 0 < found.end() <= max_chars]
        # A cut in the first quarter would make many small pieces of a text whose next sentence is long.
        if ends and ends[-1] * 4 >= max_chars:
            return ends[-1]
    return max_chars
