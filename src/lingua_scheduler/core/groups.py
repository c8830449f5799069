"""Which utterances belong together, and what a translator should know of those before.

A group lives while one of its utterances is unanswered, while its speech is being played, and `gap_ms` after the last
answer or the end of playing. Speech that *begins* in that time continues it. After `parts_max` parts the next group
begins, but the context goes on: what was said just before still helps. Bounds: `parts_max` texts of `chars_max`.
"""

import re
import unicodedata

from lingua_scheduler.protocol.ids import GroupId

_JOINER = "\u200d"
_SKIN_TONES = ("\U0001f3fb", "\U0001f3ff")
# Kana, Han and their punctuation and full-width forms stand without spaces; Korean has them.
_UNSPACED = re.compile("[\u2e80-\u2fdf\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


def tail(text: str, chars_max: int) -> str:
    """The last `chars_max` characters, less the rest of a character that the cut would split in two."""
    at = max(0, len(text) - chars_max)
    while 0 < at < len(text) and _continues(text[at - 1], text[at]):
        at += 1
    return text[at:]


def join_texts(texts: list[str]) -> str:
    """Sentences one after the other: a space between them, except where either side is written without spaces."""
    joined = ""
    for text in texts:
        needs_space = joined and text and not (_UNSPACED.match(joined[-1]) or _UNSPACED.match(text))
        joined += f" {text}" if needs_space else text
    return joined


def _continues(before: str, character: str) -> bool:
    """Whether a reader sees the two as one: accents, vowel signs, skin tones, and what a joiner joins."""
    is_mark = unicodedata.category(character).startswith("M") or _SKIN_TONES[0] <= character <= _SKIN_TONES[1]
    return is_mark or _JOINER in (before, character)


class Groups:
    """Numbers groups as `group-{session}-{n}` and their parts from 0."""

    __slots__ = (
        "_chars_max",
        "_gap_ms",
        "_live_until_ms",
        "_number",
        "_parts",
        "_parts_max",
        "_session",
        "_texts",
        "_unanswered",
    )

    def __init__(self, session: str, gap_ms: int, parts_max: int, chars_max: int) -> None:
        self._session = session
        self._gap_ms = gap_ms
        self._parts_max = parts_max
        self._chars_max = chars_max
        self._number = 0
        self._parts = 0
        self._unanswered = 0
        self._live_until_ms = 0
        self._texts: list[tuple[int, str]] = []

    @property
    def place(self) -> tuple[int, int]:
        """The number of the present group, and how many parts it has."""
        return self._number, self._parts

    def restore(self, number: int, parts: int, unanswered: int) -> None:
        """Go on with a group that began elsewhere; what was said in it is not known here."""
        self._number, self._parts, self._unanswered = number, parts, unanswered

    def begin(self, now_ms: int) -> None:
        """Speech begins: into the living group, or a new one."""
        if self._parts and not self._unanswered and now_ms >= self._live_until_ms:
            self._number += 1
            self._parts = 0
            self._texts.clear()

    def next_part(self, answers: int) -> tuple[GroupId, int, str]:
        """An utterance has ended and awaits `answers`: its group, its number in the group, the context before it."""
        if self._parts >= self._parts_max:
            self._number += 1
            self._parts = 0
        part_index = self._parts
        self._parts += 1
        self._unanswered += answers
        context = tail(join_texts([text for _, text in self._texts]), self._chars_max)
        return GroupId(f"group-{self._session}-{self._number}"), part_index, context

    def heard(self, index: int, text: str) -> None:
        """The words of utterance `index` are known."""
        if not text or any(known == index for known, _ in self._texts):
            return
        self._texts.append((index, tail(text, self._chars_max)))
        self._texts.sort()
        del self._texts[: -self._parts_max]

    def answered(self, now_ms: int) -> None:
        """The client got one of the answers."""
        self._unanswered -= 1
        self._live_until_ms = max(self._live_until_ms, now_ms + self._gap_ms)

    def playing(self, until_ms: int) -> None:
        """Speech of the group is being played, at the longest `until_ms`."""
        self._live_until_ms = max(self._live_until_ms, until_ms)

    def played(self, now_ms: int) -> None:
        self._live_until_ms = now_ms + self._gap_ms

    def check(self) -> None:
        assert 0 <= self._parts <= self._parts_max
        assert self._unanswered >= 0
        assert len(self._texts) <= self._parts_max
        assert self._texts == sorted(self._texts)
