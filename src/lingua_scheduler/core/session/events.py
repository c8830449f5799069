"""What happens to a session, and what the session wants done: the whole vocabulary of its machine.

Events are past tense and come from the client's connection, from the job machine, and from the clock. Effects are
imperative and are performed by the shell in the order given.
"""

from dataclasses import dataclass, field

import msgspec

from lingua_scheduler.core.utterance import Audience, AudioFormat, JobSpec, Outcome, Speaker, Written
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, Language, NodeId, SessionId
from lingua_scheduler.protocol.messages import MissingResult, ServerMessage, TranslationResult, UiEventName

# ------------------------------------------------------------------------------------------- from the client


class ChunkArrived(msgspec.Struct, frozen=True):
    """A piece of audio, the final, or both. `audio` is empty on an empty final.

    A struct, as it is made for each frame: a frozen dataclass takes five times as long to fill.
    """

    seq: int
    audio: bytes
    is_final: bool
    client_timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class UtteranceArrived:
    """A whole utterance with the client's own index. `speaker` carries what this message overrides."""

    index: int
    audio: bytes
    audio_format: AudioFormat
    sample_rate: int
    manual_cut: bool
    speaker: Speaker
    tgt_lang: Language


@dataclass(frozen=True, slots=True)
class TtsStarted:
    """The client began to play speech: the pause clock is suspended."""

    group_id: str


@dataclass(frozen=True, slots=True)
class TtsEnded:
    """The client has played to the end: the pause clock starts a full window."""

    group_id: str


@dataclass(frozen=True, slots=True)
class HeartbeatArrived:
    timestamp: int


@dataclass(frozen=True, slots=True)
class RoomAsked:
    """The client asked something of its room, which is answered elsewhere: it is alive."""


@dataclass(frozen=True, slots=True)
class ResultsAcked:
    """Every result up to `result_seq` has reached the client."""

    result_seq: int


@dataclass(frozen=True, slots=True)
class CloseRequested:
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The socket is gone; the client may resume within the window."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A new connection took the session over; it has every result up to `last_result_seq`."""

    last_result_seq: int
    resume_token: str
    """The new token, minted by the shell."""


# ------------------------------------------------------------------------------------------- from the jobs


@dataclass(frozen=True, slots=True)
class JobConcluded:
    job_id: JobId
    index: int
    tgt_lang: Language
    outcome: Outcome | Written


@dataclass(frozen=True, slots=True)
class AudioFreed:
    """No node and no coming attempt needs the audio of utterance `index` any more."""

    index: int


@dataclass(frozen=True, slots=True)
class JobProgressed:
    """Something worth a `ui_event`."""

    job_id: JobId
    index: int
    event: UiEventName
    code: ErrorCode | None = None
    shortage: str = ""
    """Why there was no node (`core/shortage`), where that is the fault."""


@dataclass(frozen=True, slots=True)
class PartialArrived:
    job_id: JobId
    index: int
    text: str
    is_final: bool
    stable_chars: int | None = None


# ------------------------------------------------------------------------------------------- from the room


@dataclass(frozen=True, slots=True)
class AudienceChanged:
    """Others hear what it says from the next utterance to end on. None: it hears itself, as without a room."""

    audience: Audience | None


@dataclass(frozen=True, slots=True)
class LineArrived:
    """Another member of the room was translated for this one, or could not be; as its session numbers nothing."""

    line: TranslationResult | MissingResult


# ------------------------------------------------------------------------------------------- from the instance


@dataclass(frozen=True, slots=True)
class DependencyChanged:
    """Redis went away or came back."""

    is_up: bool


@dataclass(frozen=True, slots=True)
class DrainStarted:
    """The instance is leaving."""

    time_left_ms: int


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


SessionEvent = (
    ChunkArrived
    | UtteranceArrived
    | TtsStarted
    | TtsEnded
    | HeartbeatArrived
    | RoomAsked
    | ResultsAcked
    | CloseRequested
    | ConnectionLost
    | Resumed
    | JobConcluded
    | AudioFreed
    | JobProgressed
    | PartialArrived
    | AudienceChanged
    | LineArrived
    | DependencyChanged
    | DrainStarted
    | TimeReached
)

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Send:
    """To the client, if one is connected; the machine itself keeps what must survive a lost connection."""

    message: ServerMessage


@dataclass(frozen=True, slots=True)
class StartJob:
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class PreviewSpeech:
    """Somebody is speaking and wants to read along: show what there is of the utterance to a node, or drop this."""

    job_id: JobId
    """Of the job to come; partial texts come back under it, as `PartialArrived`."""
    index: int
    speaker: Speaker
    tgt_lang: Language
    chunks: tuple[bytes, ...] = field(repr=False)
    """All of the utterance so far. A later effect of the same utterance begins with the same chunks."""
    audio_format: AudioFormat
    sample_rate: int


@dataclass(frozen=True, slots=True)
class RestoreAudio:
    """The audio of an utterance whose jobs were taken over from another instance is here again."""

    index: int
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CancelJob:
    job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class SendToRoom:
    """To these members of the room, as a line. Whoever has left meanwhile gets nothing."""

    recipients: tuple[SessionId, ...]
    """As the audience was when the utterance ended."""
    tgt_lang: Language
    line: TranslationResult | MissingResult
    heard_at: NodeId | None = None
    """The node that recognises an utterance once for all languages, if such a one made it."""


@dataclass(frozen=True, slots=True)
class NoteSpeech:
    """Somebody spoke in the room, whether or not anybody hears it."""


@dataclass(frozen=True, slots=True)
class EndSession:
    """The session is over: nothing is pending and nothing will be sent. The last effect a machine ever gives."""

    reason: str


Line = TranslationResult | MissingResult
SessionEffect = Send | StartJob | RestoreAudio | PreviewSpeech | CancelJob | SendToRoom | NoteSpeech | EndSession
