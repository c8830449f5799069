"""Messages between clients and the scheduler on `/ws/session`, as structs: decoding one is validating it.

Absent fields are omitted when sent and `None` when read; `null` and unknown fields are accepted. Fields marked 1.1
exist only where the client asked for `protocol_version` "1.1".
"""

from typing import Any, Literal

from lingua_scheduler.protocol.base import Part as Part
from lingua_scheduler.protocol.base import Wire as Wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.plain import Int
from lingua_scheduler.protocol.rooms import RoomCreate as RoomCreate
from lingua_scheduler.protocol.rooms import RoomCreateAck as RoomCreateAck
from lingua_scheduler.protocol.rooms import RoomError as RoomError
from lingua_scheduler.protocol.rooms import RoomExpired as RoomExpired
from lingua_scheduler.protocol.rooms import RoomJoin as RoomJoin
from lingua_scheduler.protocol.rooms import RoomLeave as RoomLeave
from lingua_scheduler.protocol.rooms import RoomMember as RoomMember
from lingua_scheduler.protocol.rooms import RoomMembers as RoomMembers
from lingua_scheduler.protocol.rooms import RoomRawVoicePreference as RoomRawVoicePreference
from lingua_scheduler.protocol.rooms import RoomUpdate as RoomUpdate
from lingua_scheduler.protocol.rooms import WebrtcAnswer as WebrtcAnswer
from lingua_scheduler.protocol.rooms import WebrtcIce as WebrtcIce
from lingua_scheduler.protocol.rooms import WebrtcOffer as WebrtcOffer

Status = Literal["ok", "error"]

MissingReason = Literal[
    "silence_detected",
    "no_speech",
    "merged",
    "gap_timeout",
    "job_failed",
    "job_timeout",
    "no_available_node",
    "pending_overflow_evict",
    "audio_lost",
]
UiEventName = Literal[
    "INPUT_STARTED",
    "INPUT_ENDED",
    "DISPATCHED",
    "NODE_ACCEPTED",
    "ASR_PARTIAL",
    "ASR_FINAL",
    "NMT_DONE",
    "TTS_PLAY_STARTED",
    "TTS_PLAY_ENDED",
    "ERROR",
]


class Features(Part, frozen=True, kw_only=True):
    """What the client would like beside the translation."""

    emotion_detection: bool | None = None
    voice_style_detection: bool | None = None
    speech_rate_detection: bool | None = None
    speech_rate_control: bool | None = None
    speaker_identification: bool | None = None
    persona_adaptation: bool | None = None


class Pipeline(Part, frozen=True, kw_only=True):
    """Which stages to run; an absent flag means its default: ASR, MT and TTS on, the others off."""

    use_asr: bool | None = None
    use_nmt: bool | None = None
    use_tts: bool | None = None
    use_semantic: bool | None = None
    use_tone: bool | None = None

    def services(self) -> tuple[str, ...]:
        """The service types a node must have ready, in the order of the stages."""
        wanted = (
            ("asr", self.use_asr is not False),
            ("semantic", self.use_semantic is True),
            ("nmt", self.use_nmt is not False),
            ("tone", self.use_tone is True),
            ("tts", self.use_tts is not False),
        )
        return tuple(name for name, on in wanted if on)


# ---------------------------------------------------------------------------------------------- client → server


class SessionInit(Wire, tag="session_init", frozen=True, kw_only=True):
    """Opens a session on this connection: the first message of a client that does not resume."""

    client_version: str
    platform: str
    src_lang: str
    """A language code; `auto` with `lang_a` and `lang_b`: whichever of the two is spoken."""
    tgt_lang: str
    """A language code."""
    dialect: str | None = None
    features: Features | None = None
    pairing_code: str | None = None
    tenant_id: str | None = None
    """Whose quotas count, where there are no tokens; else it must be the token's."""
    mode: Literal["one_way", "two_way_auto"] | None = None
    """`two_way_auto`: two people on one device, each heard in the language of the other."""
    lang_a: str | None = None
    lang_b: str | None = None
    auto_langs: list[str] | None = None
    enable_streaming_asr: bool | None = None
    """Asks for `asr_partial`."""
    partial_update_interval_ms: Int | None = None
    """How often at most, 200 to 10,000; usually 1000."""
    trace_id: str | None = None
    """Stands in everything that is told of the session; made up where it is absent."""
    protocol_version: str | None = None
    """"1.1" for all that is marked so; "1.0" where it is absent."""
    audio_format: Literal["opus", "pcm16"] | None = None
    """1.1; where it is absent the first chunk decides."""
    sample_rate: Int | None = None
    """1.1; 16,000 where it is absent."""
    binary: bool | None = None
    """1.1: asks for binary frames."""
    pipeline: Pipeline | None = None
    """1.1: which stages to run."""
    token: str | None = None
    """Where the scheduler asks for one, and none was offered as a subprotocol."""
    traceparent: str | None = None
    """1.1: the W3C trace context that the session's utterances are traced in."""


class AudioChunk(Wire, tag="audio_chunk", frozen=True, kw_only=True):
    """A piece of speech. The chunk with `is_final` ends the utterance."""

    session_id: str
    seq: Int
    """Counts up by one; a number that was seen is ignored."""
    is_final: bool
    payload: str | None = None
    """Base64; absent on an empty final."""
    client_timestamp_ms: Int | None = None


class UtteranceMessage(Wire, tag="utterance", frozen=True, kw_only=True):
    """A whole utterance at once, its index given by the client."""

    session_id: str
    utterance_index: Int
    manual_cut: bool
    src_lang: str
    tgt_lang: str
    audio: str
    """Base64."""
    audio_format: Literal["opus", "pcm16"]
    sample_rate: Int
    dialect: str | None = None
    features: Features | None = None
    mode: Literal["one_way", "two_way_auto"] | None = None
    lang_a: str | None = None
    lang_b: str | None = None
    auto_langs: list[str] | None = None
    enable_streaming_asr: bool | None = None
    partial_update_interval_ms: Int | None = None
    trace_id: str | None = None
    pipeline: Pipeline | None = None


class ClientHeartbeat(Wire, tag="client_heartbeat", frozen=True, kw_only=True):
    """A sign of life of a client that is silent; it is answered with `server_heartbeat`."""

    session_id: str
    timestamp: int


class TtsStarted(Wire, tag="tts_started", frozen=True, kw_only=True):
    """A spoken translation begins to play: until it ends, silence does not end an utterance."""

    session_id: str
    trace_id: str
    group_id: str
    ts_start_ms: Int


class TtsPlayEnded(Wire, tag="tts_play_ended", frozen=True, kw_only=True):
    """It has been played: a pause is counted from here."""

    session_id: str
    trace_id: str
    group_id: str
    ts_end_ms: Int


class SessionClose(Wire, tag="session_close", frozen=True, kw_only=True):
    """Nothing more will be said. What is pending is delivered, then `session_close_ack` comes."""

    session_id: str
    reason: str


class SessionResume(Wire, tag="session_resume", frozen=True, kw_only=True):
    """1.1: continue a session on a new connection."""

    session_id: str
    resume_token: str
    """From `session_init_ack`, or the last `session_resume_ack`: each serves once."""
    last_result_seq: Int
    """The last result that has arrived."""
    acked_seq: Int | None = None
    """The client has forgotten its audio up to there, as it was acknowledged."""
    answered: list[Int] | None = None
    """The client's newest results: the indices of its own utterances that were answered."""
    memo: str | None = None
    """As the last result that has arrived brought it; empty where it brought none."""
    token: str | None = None
    """As in `session_init`; it may have expired meanwhile."""


class ResultAck(Wire, tag="result_ack", frozen=True, kw_only=True):
    """1.1: every result up to `result_seq` has arrived."""

    session_id: str
    result_seq: Int


ClientMessage = (
    SessionInit
    | AudioChunk
    | UtteranceMessage
    | ClientHeartbeat
    | TtsStarted
    | TtsPlayEnded
    | SessionClose
    | SessionResume
    | ResultAck
    | RoomCreate
    | RoomJoin
    | RoomLeave
    | RoomUpdate
    | RoomRawVoicePreference
    | WebrtcOffer
    | WebrtcAnswer
    | WebrtcIce
)

# ---------------------------------------------------------------------------------------------- server → client


class SessionInitAck(Wire, tag="session_init_ack", frozen=True, kw_only=True):
    """The session is open, and this is what was agreed."""

    session_id: str
    message: str
    """For people: a warning, where no node serves the pair."""
    trace_id: str
    protocol_version: str
    use_binary_frame: bool
    """Whether binary frames are understood."""
    negotiated_codec: str
    negotiated_audio_format: str
    negotiated_sample_rate: Int
    negotiated_channel_count: Int
    assigned_node_id: str | None = None
    """Never told: each utterance finds its own node."""
    resume_token: str | None = None
    """1.1: what `session_resume` asks for."""
    resume_window_ms: Int | None = None
    """1.1: how long a lost session can be resumed."""
    heartbeat_interval_ms: Int | None = None
    """1.1: how often a silent client should send `client_heartbeat`."""


class SessionResumeAck(Wire, tag="session_resume_ack", frozen=True, kw_only=True):
    """1.1: the session goes on; the client sends audio again from chunk `next_seq`."""

    session_id: str
    resume_token: str
    next_seq: Int
    replayed: Int
    """Concluded results that follow because the client had not acknowledged them."""


class AsrPartial(Wire, tag="asr_partial", frozen=True, kw_only=True):
    """What is being recognised, as far as it is known; each replaces the one before."""

    session_id: str
    utterance_index: Int
    job_id: str
    text: str
    is_final: bool
    trace_id: str
    stable_chars: Int | None = None
    """1.1: so many leading characters will not change any more."""


class ServiceTimings(Part, frozen=True, kw_only=True):
    """How long each stage took on the node."""

    asr_ms: Int | None = None
    nmt_ms: Int | None = None
    tts_ms: Int | None = None
    total_ms: Int | None = None


class NetworkTimings(Part, frozen=True, kw_only=True):
    """How long each way took."""

    web_to_scheduler_ms: Int | None = None
    scheduler_to_node_ms: Int | None = None
    node_to_scheduler_ms: Int | None = None
    scheduler_to_web_ms: Int | None = None


class SegmentsMeta(Part, frozen=True, kw_only=True):
    """How the recogniser cut the audio, in seconds."""

    count: Int | None = None
    max_gap: float | None = None
    avg_duration: float | None = None


class TranslationResult(Wire, tag="translation_result", frozen=True, kw_only=True):
    """What an utterance said in one target language: text, and speech."""

    session_id: str
    """The speaker's."""
    utterance_index: Int
    job_id: str
    text_asr: str
    """What was recognised."""
    text_translated: str
    tts_audio: str
    """Base64, empty where there is none."""
    tts_format: str
    """`opus`, `wav` or `pcm16`."""
    trace_id: str
    scheduler_sent_at_ms: Int
    extra: dict[str, Any] | None = None
    """What the node said beside it: `service_timings`, likely languages, a reason."""
    group_id: str | None = None
    """Utterances that belong together share it."""
    part_index: Int | None = None
    service_timings: ServiceTimings | None = None
    network_timings: NetworkTimings | None = None
    asr_quality_level: str | None = None
    reason_codes: list[str] | None = None
    """What nodes say of it."""
    quality_score: float | None = None
    rerun_count: Int | None = None
    segments_meta: SegmentsMeta | None = None
    result_seq: Int | None = None
    """1.1: to be acknowledged with `result_ack`."""
    src_lang: str | None = None
    """1.1: as resolved."""
    tgt_lang: str | None = None
    """1.1: as resolved."""
    tts_sample_rate: Int | None = None
    speech_start_ms: Int | None = None
    """1.1: on the session's audio time line."""
    speech_end_ms: Int | None = None
    """1.1: likewise."""
    memo: str | None = None
    """1.1: for `session_resume`, as it stands, while this is the last result that has arrived."""
    unsaid: list[Int] | None = None
    """Utterances, this one or earlier ones, whose end is in no result so far: no node could say it."""
    said_late: list[Int] | None = None
    """Utterances that were told as `unsaid`, and whose end is in this result."""


class MissingResult(Wire, tag="missing_result", frozen=True, kw_only=True):
    """An utterance for which no result comes, and why. After `gap_timeout` it may still come."""

    session_id: str
    utterance_index: Int
    reason: MissingReason
    created_at_ms: Int
    trace_id: str | None = None
    result_seq: Int | None = None
    """1.1: to be acknowledged with `result_ack`; absent with `gap_timeout`."""
    tgt_lang: str | None = None
    unsaid: list[Int] | None = None
    """Earlier utterances whose end was to be said with this one, and is in no result."""
    """1.1: which of several targets is missing."""
    memo: str | None = None
    """1.1: as in `translation_result`."""


class UiEvent(Wire, tag="ui_event", frozen=True, kw_only=True):
    """How far an utterance has come; and errors, with a hint for people."""

    trace_id: str
    session_id: str
    job_id: str
    utterance_index: Int
    event: UiEventName
    status: Status
    elapsed_ms: Int | None = None
    """Since the utterance ended; with `INPUT_ENDED`, since it began."""
    error_code: ErrorCode | None = None
    hint: str | None = None
    """For people, in Chinese or English by the session's languages."""


class Backpressure(Wire, tag="backpressure", frozen=True, kw_only=True):
    """Speech is kept at its bound: send none for that long."""

    action: Literal["PAUSE", "SLOW_DOWN"]
    """`SLOW_DOWN` comes to clients of 1.1 only."""
    resume_after_ms: Int


class ErrorMessage(Wire, tag="error", frozen=True, kw_only=True):
    """Something was not accepted or does not work. The connection goes on unless it is closed after it."""

    code: ErrorCode
    message: str
    details: dict[str, Any] | None = None


class ServerHeartbeat(Wire, tag="server_heartbeat", frozen=True, kw_only=True):
    """The answer to `client_heartbeat`."""

    session_id: str
    timestamp: int


class SessionCloseAck(Wire, tag="session_close_ack", frozen=True, kw_only=True):
    """The session has ended; nothing follows."""

    session_id: str


class AudioAck(Wire, tag="audio_ack", frozen=True, kw_only=True):
    """1.1: all audio up to chunk `seq` is concluded; the client may forget it."""

    session_id: str
    seq: Int


class Goaway(Wire, tag="goaway", frozen=True, kw_only=True):
    """1.1: this instance is leaving; reconnect and resume elsewhere."""

    reason: str
    time_left_ms: Int


ServerMessage = (
    SessionInitAck
    | SessionResumeAck
    | AsrPartial
    | TranslationResult
    | MissingResult
    | UiEvent
    | Backpressure
    | ErrorMessage
    | ServerHeartbeat
    | SessionCloseAck
    | AudioAck
    | Goaway
    | RoomCreateAck
    | RoomMembers
    | RoomError
    | RoomExpired
    | WebrtcOffer
    | WebrtcAnswer
    | WebrtcIce
)
