"""What other members of a room say, as one client gets it: each utterance once, in the fields that its protocol has."""

from typing import Literal

import msgspec

from lingua_scheduler.core.session.numbers import SeenNumbers
from lingua_scheduler.core.session.outbox import Result
from lingua_scheduler.core.session.record import HeardSpeaker
from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult

SPEAKERS_MAX = 128
"""Whose utterances are remembered; of more, those of who was first heard first are forgotten."""


class Lines:
    """Of each speaker every utterance is heard once: a member has one language at a time, and histories overlap."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, SeenNumbers] = {}

    def is_new(self, line: Result) -> bool:
        """Whether it is not known; an announcement is no result and always is."""
        if is_announcement(line):
            return True
        seen = self._seen.setdefault(line.session_id, SeenNumbers())
        if len(self._seen) > SPEAKERS_MAX:
            del self._seen[next(iter(self._seen))]
        return seen.add(line.utterance_index)

    def snapshot(self) -> tuple[HeardSpeaker, ...]:
        return tuple(HeardSpeaker(SessionId(one), seen.highest, seen.gaps) for one, seen in self._seen.items())

    def restore(self, heard: tuple[HeardSpeaker, ...]) -> None:
        for one in heard:
            seen = self._seen[one.session_id] = SeenNumbers()
            seen.restore(one.index_highest, one.index_gaps)


def is_announcement(line: Result) -> bool:
    """That a result is late, and may still come."""
    return isinstance(line, MissingResult) and line.reason == "gap_timeout"


def fitted(line: Result, protocol: Literal["1.0", "1.1"], result_seq: int | None) -> Result:
    """The line with the client's own number, and without what protocol 1.0 does not have."""
    if protocol == "1.1":
        return msgspec.structs.replace(line, result_seq=result_seq)
    if isinstance(line, MissingResult):
        return msgspec.structs.replace(line, tgt_lang=None)
    return _plain(line)


def _plain(line: TranslationResult) -> TranslationResult:
    return msgspec.structs.replace(
        line, src_lang=None, tgt_lang=None, tts_sample_rate=None, speech_start_ms=None, speech_end_ms=None
    )
