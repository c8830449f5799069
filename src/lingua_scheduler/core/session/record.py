"""What another instance needs in order to go on with a session: where it stands, without a word of what was said.

The audio is not in it: the client has what is not concluded, and sends it again (`rebuilding.py`).
"""

from dataclasses import dataclass

from lingua_scheduler.core.utterance import AudioFormat, FinalizeReason, Speaker, Tail
from lingua_scheduler.protocol.ids import GroupId, Language, SessionId


@dataclass(frozen=True, slots=True)
class Place:
    """One target of an utterance whose result is not delivered."""

    tgt_lang: Language
    recipients: tuple[SessionId, ...] | None = None
    """Members of the room that hear it; None: the client itself."""


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """An utterance that has ended and whose results are not all delivered, or whose end is not said yet."""

    index: int
    first_seq: int | None
    """None where its audio did not come in chunks."""
    last_seq: int
    size_bytes: int
    audio_format: AudioFormat
    sample_rate: int
    start_samples: int
    samples: int
    reason: FinalizeReason
    finalized_epoch_ms: int
    """Wall time, as it must mean the same on another machine."""
    padding_ms: int
    group_id: GroupId
    part_index: int
    web_to_scheduler_ms: int | None
    places: tuple[Place, ...]
    speaker: Speaker | None = None
    """None: the session's."""


@dataclass(frozen=True, slots=True)
class HeardSpeaker:
    """Which utterances of another member of the room the client was told."""

    session_id: SessionId
    index_highest: int
    index_gaps: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SessionState:
    """Where a session stands between two utterances."""

    index_highest: int
    index_gaps: tuple[tuple[int, int], ...]
    sealed_seq: int
    """The highest chunk number that belongs to an utterance which has ended: what comes later is new speech."""
    line_samples: int
    audio_format: AudioFormat | None
    group: int
    parts: int
    last_result_seq: int
    """The number of the last result that was given one."""
    open: tuple[OpenUtterance, ...] = ()
    heard: tuple[HeardSpeaker, ...] = ()
    tails: tuple[Tail, ...] = ()
    """What the jobs know and the session does not."""
