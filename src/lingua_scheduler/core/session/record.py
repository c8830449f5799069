"""What another instance needs in order to go on with a session: where it stands, without a word of what was said.

The audio is not in it: the client has what is not concluded, and sends it again (`rebuilding.py`).
"""

from dataclasses import dataclass, replace

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
    mark: str = ""
    """In the ids of its jobs."""


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


@dataclass(frozen=True, slots=True)
class Known:
    """What the client of a session knows by itself: it outlives writes that Redis lost."""

    last_result_seq: int
    acked_seq: int
    """Up to there the audio is concluded: the client was told so."""
    answered: frozenset[int]
    """Its own utterances of which it has the result, the newest ones."""
    tails: tuple[Tail, ...] | None = None
    """What was still to be said when it was sent the last of these results; None where it does not tell."""


def corrected(state: SessionState, known: Known) -> SessionState:
    """The state with what the client had after it was written: nothing of that is open, or to be numbered again."""
    open_ = tuple(_without_own(one, known) for one in state.open if not _is_concluded(one, known))
    left = {one.index for one in open_}
    # A result may have been sent while the store was away, and with it an end been left that the record does not know.
    tails = state.tails
    if known.tails is not None and known.last_result_seq > state.last_result_seq:
        tails = known.tails
    return replace(
        state,
        index_highest=max(state.index_highest, *known.answered, -1),
        sealed_seq=max(state.sealed_seq, known.acked_seq),
        last_result_seq=max(state.last_result_seq, known.last_result_seq),
        open=open_,
        tails=tuple(tail for tail in tails if tail.index in left),
    )


def _is_concluded(one: OpenUtterance, known: Known) -> bool:
    return one.first_seq is not None and one.last_seq <= known.acked_seq


def _without_own(one: OpenUtterance, known: Known) -> OpenUtterance:
    if one.index not in known.answered:
        return one
    return replace(one, places=tuple(place for place in one.places if place.recipients is not None))
