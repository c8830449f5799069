"""Messages between clients and the scheduler on `/ws/session`, as structs: decoding one is validating it.

Absent fields are omitted when sent and `None` when read; `null` and unknown fields are accepted. Fields marked 1.1
exist only where the client asked for `protocol_version` "1.1".
"""

from typing import Any, Literal

import msgspec

from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.plain import Int

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


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of all messages: immutable, absent fields omitted, tagged by `type`."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what stands inside messages: as `Wire`, without a tag."""


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
    client_version: str
    platform: str
    src_lang: str
    tgt_lang: str
    dialect: str | None = None
    features: Features | None = None
    pairing_code: str | None = None
    tenant_id: str | None = None
    mode: Literal["one_way", "two_way_auto"] | None = None
    lang_a: str | None = None
    lang_b: str | None = None
    auto_langs: list[str] | None = None
    enable_streaming_asr: bool | None = None
    partial_update_interval_ms: Int | None = None
    trace_id: str | None = None
    protocol_version: str | None = None
    audio_format: Literal["opus", "pcm16"] | None = None
    sample_rate: Int | None = None
    binary: bool | None = None
    pipeline: Pipeline | None = None
    token: str | None = None
    """Where the scheduler asks for one, and none was offered as a subprotocol."""
    traceparent: str | None = None
    """1.1: the W3C trace context that the session's utterances are traced in."""


class AudioChunk(Wire, tag="audio_chunk", frozen=True, kw_only=True):
    session_id: str
    seq: Int
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
    session_id: str
    timestamp: int


class TtsStarted(Wire, tag="tts_started", frozen=True, kw_only=True):
    session_id: str
    trace_id: str
    group_id: str
    ts_start_ms: Int


class TtsPlayEnded(Wire, tag="tts_play_ended", frozen=True, kw_only=True):
    session_id: str
    trace_id: str
    group_id: str
    ts_end_ms: Int


class SessionClose(Wire, tag="session_close", frozen=True, kw_only=True):
    session_id: str
    reason: str


class SessionResume(Wire, tag="session_resume", frozen=True, kw_only=True):
    """1.1: continue a session on a new connection."""

    session_id: str
    resume_token: str
    last_result_seq: Int
    token: str | None = None
    """As in `session_init`; it may have expired meanwhile."""


class ResultAck(Wire, tag="result_ack", frozen=True, kw_only=True):
    """1.1: every result up to `result_seq` has arrived."""

    session_id: str
    result_seq: Int


class RoomCreate(Wire, tag="room_create", frozen=True, kw_only=True):
    client_ts: Int
    display_name: str | None = None
    preferred_lang: str | None = None


class RoomJoin(Wire, tag="room_join", frozen=True, kw_only=True):
    room_code: str
    display_name: str | None = None
    preferred_lang: str | None = None


class RoomLeave(Wire, tag="room_leave", frozen=True, kw_only=True):
    room_code: str


class RoomUpdate(Wire, tag="room_update", frozen=True, kw_only=True):
    """1.1: change what was said when joining; absent fields stay as they are."""

    room_code: str
    display_name: str | None = None
    preferred_lang: str | None = None
    """Empty: hear nothing."""
    src_lang: str | None = None
    """What the member speaks from its next utterance on. Empty: as the session was opened."""


class RoomRawVoicePreference(Wire, tag="room_raw_voice_preference", frozen=True, kw_only=True):
    room_code: str
    target_session_id: str
    receive_raw_voice: bool


class WebrtcOffer(Wire, tag="webrtc_offer", frozen=True, kw_only=True):
    room_code: str
    to: str
    sdp: Any


class WebrtcAnswer(Wire, tag="webrtc_answer", frozen=True, kw_only=True):
    room_code: str
    to: str
    sdp: Any


class WebrtcIce(Wire, tag="webrtc_ice", frozen=True, kw_only=True):
    room_code: str
    to: str
    candidate: Any


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
    session_id: str
    message: str
    trace_id: str
    protocol_version: str
    use_binary_frame: bool
    negotiated_codec: str
    negotiated_audio_format: str
    negotiated_sample_rate: Int
    negotiated_channel_count: Int
    assigned_node_id: str | None = None
    resume_token: str | None = None
    resume_window_ms: Int | None = None
    heartbeat_interval_ms: Int | None = None


class SessionResumeAck(Wire, tag="session_resume_ack", frozen=True, kw_only=True):
    """1.1: the session goes on; the client sends audio again from chunk `next_seq`."""

    session_id: str
    resume_token: str
    next_seq: Int
    replayed: Int
    """Concluded results that follow because the client had not acknowledged them."""


class AsrPartial(Wire, tag="asr_partial", frozen=True, kw_only=True):
    session_id: str
    utterance_index: Int
    job_id: str
    text: str
    is_final: bool
    trace_id: str
    stable_chars: Int | None = None
    """1.1: so many leading characters will not change any more."""


class ServiceTimings(Part, frozen=True, kw_only=True):
    asr_ms: Int | None = None
    nmt_ms: Int | None = None
    tts_ms: Int | None = None
    total_ms: Int | None = None


class NetworkTimings(Part, frozen=True, kw_only=True):
    web_to_scheduler_ms: Int | None = None
    scheduler_to_node_ms: Int | None = None
    node_to_scheduler_ms: Int | None = None
    scheduler_to_web_ms: Int | None = None


class SegmentsMeta(Part, frozen=True, kw_only=True):
    count: Int | None = None
    max_gap: float | None = None
    avg_duration: float | None = None


class TranslationResult(Wire, tag="translation_result", frozen=True, kw_only=True):
    session_id: str
    """The speaker's."""
    utterance_index: Int
    job_id: str
    text_asr: str
    text_translated: str
    tts_audio: str
    """Base64, empty where there is none."""
    tts_format: str
    trace_id: str
    scheduler_sent_at_ms: Int
    extra: dict[str, Any] | None = None
    group_id: str | None = None
    part_index: Int | None = None
    service_timings: ServiceTimings | None = None
    network_timings: NetworkTimings | None = None
    asr_quality_level: str | None = None
    reason_codes: list[str] | None = None
    quality_score: float | None = None
    rerun_count: Int | None = None
    segments_meta: SegmentsMeta | None = None
    result_seq: Int | None = None
    src_lang: str | None = None
    tgt_lang: str | None = None
    tts_sample_rate: Int | None = None
    speech_start_ms: Int | None = None
    speech_end_ms: Int | None = None


class MissingResult(Wire, tag="missing_result", frozen=True, kw_only=True):
    session_id: str
    utterance_index: Int
    reason: MissingReason
    created_at_ms: Int
    trace_id: str | None = None
    result_seq: Int | None = None
    tgt_lang: str | None = None
    """1.1: which of several targets is missing."""


class UiEvent(Wire, tag="ui_event", frozen=True, kw_only=True):
    trace_id: str
    session_id: str
    job_id: str
    utterance_index: Int
    event: UiEventName
    status: Status
    elapsed_ms: Int | None = None
    error_code: ErrorCode | None = None
    hint: str | None = None


class Backpressure(Wire, tag="backpressure", frozen=True, kw_only=True):
    action: Literal["PAUSE", "SLOW_DOWN"]
    resume_after_ms: Int


class ErrorMessage(Wire, tag="error", frozen=True, kw_only=True):
    code: ErrorCode
    message: str
    details: dict[str, Any] | None = None


class ServerHeartbeat(Wire, tag="server_heartbeat", frozen=True, kw_only=True):
    session_id: str
    timestamp: int


class SessionCloseAck(Wire, tag="session_close_ack", frozen=True, kw_only=True):
    session_id: str


class AudioAck(Wire, tag="audio_ack", frozen=True, kw_only=True):
    """1.1: all audio up to chunk `seq` is concluded; the client may forget it."""

    session_id: str
    seq: Int


class Goaway(Wire, tag="goaway", frozen=True, kw_only=True):
    """1.1: this instance is leaving; reconnect and resume elsewhere."""

    reason: str
    time_left_ms: Int


class RoomMember(Part, frozen=True, kw_only=True):
    participant_id: str
    session_id: str
    joined_at: Int
    display_name: str | None = None
    preferred_lang: str | None = None
    raw_voice_preferences: dict[str, bool] = {}


class RoomCreateAck(Wire, tag="room_create_ack", frozen=True, kw_only=True):
    room_code: str
    room_id: str


class RoomMembers(Wire, tag="room_members", frozen=True, kw_only=True):
    room_code: str
    members: list[RoomMember]


class RoomError(Wire, tag="room_error", frozen=True, kw_only=True):
    code: ErrorCode
    message: str
    room_code: str | None = None


class RoomExpired(Wire, tag="room_expired", frozen=True, kw_only=True):
    room_code: str


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
