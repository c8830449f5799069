"""Messages between nodes and the scheduler on `/ws/node`, as structs.

Fields and messages marked 2 exist only for nodes that announced `protocol_version` "2" in `node_register`. What a node
reports about itself is read tolerantly: an odd field in a heartbeat must not cost a sentence.
"""

from typing import Any, Literal

from lingua_scheduler.protocol.messages import ErrorMessage, Features, Part, Pipeline, SegmentsMeta, Wire
from lingua_scheduler.protocol.plain import Int

JOB_PREVIEW = "job_preview"
"""2: among the `advanced_features` of a node that takes previews."""

NodeStatus = Literal["registering", "ready", "degraded", "draining", "offline"]

# ------------------------------------------------------------------------------------------- node → scheduler


class Gpu(Part, frozen=True, kw_only=True):
    """One graphics card."""

    name: str
    memory_gb: float


class Hardware(Part, frozen=True, kw_only=True):
    """The machine of a node."""

    cpu_cores: Int
    memory_gb: float
    gpus: list[Gpu] | None = None


class InstalledModel(Part, frozen=True, kw_only=True):
    """A model on the node. Shown to operators; nothing is decided on it."""

    model_id: str
    kind: str
    src_lang: str | None = None
    tgt_lang: str | None = None
    dialect: str | None = None
    version: str | None = None
    enabled: bool | None = None


class InstalledService(Part, frozen=True, kw_only=True):
    """A service on the node. Shown to operators; nothing is decided on it."""

    service_id: str
    type: str
    device: str | None = None
    status: str | None = None
    version: str | None = None


class Capability(Part, frozen=True, kw_only=True):
    """Whether the node can run one type of service now."""

    type: str
    ready: bool
    reason: str | None = None
    ready_impl_ids: list[str] | None = None


class LanguagePair(Part, frozen=True, kw_only=True):
    """A directed pair."""

    src: str
    tgt: str


class NmtCapability(Part, frozen=True, kw_only=True):
    """What one translation model can do."""

    model_id: str | None = None
    languages: list[str] | None = None
    supported_pairs: list[LanguagePair] | None = None


class LanguageCapabilities(Part, frozen=True, kw_only=True):
    """What a node recognises, speaks and translates. The first three lists may not be empty."""

    asr_languages: list[str] = []
    semantic_languages: list[str] = []
    tts_languages: list[str] = []
    nmt_capabilities: list[NmtCapability] | None = None
    supported_language_pairs: list[LanguagePair] | None = None
    """Where given, only these pairs are served; else every recognised language into every spoken one."""
    semantic_core_ready: bool | None = None


class ActiveJob(Part, frozen=True, kw_only=True):
    """A job that the node still works on from before it registered."""

    job_id: str
    attempt_id: Int


class NodeRegister(Wire, tag="node_register", frozen=True, kw_only=True):
    """The first message of a node: what it is, and what it can do. A known `node_id` takes its place again."""

    version: str
    platform: str
    hardware: Hardware
    installed_models: list[InstalledModel]
    capability_by_type: list[Capability]
    """A stage that is not `ready` takes no jobs that need it."""
    features_supported: dict[str, Any]
    accept_public_jobs: bool
    """False: only jobs of the tenants that its token, or `tenants`, names."""
    language_capabilities: LanguageCapabilities
    node_id: str | None = None
    capability_schema_version: str | None = None
    installed_services: list[InstalledService] | None = None
    advanced_features: list[str] | None = None
    protocol_version: str | None = None
    capacity: Int | None = None
    """2: how many jobs at once."""
    tenants: list[str] | None = None
    """2: with `accept_public_jobs` false, whose jobs it takes all the same."""
    zone: str | None = None
    """2: where it is; shown to operators."""
    binary_audio: bool | None = None
    """2: audio as raw bytes behind the JSON."""
    active_jobs: list[ActiveJob] | None = None
    """2: what it still works on from before."""
    token: str | None = None
    """Where the scheduler asks for one."""


class ResourceUsage(Part, frozen=True, kw_only=True):
    """The load of the machine, percentages 0–100; whatever is not known is left out."""

    cpu_percent: float | None = None
    gpu_percent: float | None = None
    gpu_mem_percent: float | None = None
    mem_percent: float | None = None
    running_jobs: Int | None = None
    gpu_queue_length: Int | None = None


class NodeHeartbeat(Wire, tag="node_heartbeat", frozen=True, kw_only=True):
    """Every 15 s: the node is there, and this is its load. The first one makes it eligible for jobs."""

    node_id: str
    timestamp: Int
    resource_usage: ResourceUsage
    installed_services: list[InstalledService] | None = None
    capability_by_type: list[Capability] | None = None
    language_capabilities: LanguageCapabilities | None = None
    rerun_metrics: dict[str, Any] | None = None
    processing_metrics: dict[str, Any] | None = None
    asr_metrics: dict[str, Any] | None = None


class JobAck(Wire, tag="job_ack", frozen=True, kw_only=True):
    """The node has taken the job on."""

    job_id: str
    attempt_id: Int
    node_id: str
    session_id: str
    trace_id: str


class JobStarted(Wire, tag="job_started", frozen=True, kw_only=True):
    """It works on it; the lease begins anew."""

    job_id: str
    attempt_id: Int
    node_id: str
    session_id: str
    trace_id: str


class NodeAsrPartial(Wire, tag="asr_partial", frozen=True, kw_only=True):
    """What is being recognised; passed on to the client, and the lease begins anew."""

    job_id: str
    node_id: str
    session_id: str
    utterance_index: Int
    text: str
    is_final: bool
    trace_id: str
    stable_chars: Int | None = None
    """2: so many leading characters will not change any more."""


class NodeFault(Part, frozen=True, kw_only=True):
    """Why an attempt failed."""

    code: str
    message: str
    details: Any = None


class TakenOver(Part, frozen=True, kw_only=True):
    job_id: str
    """The reporting job itself: what was sent in front of its own audio."""
    ms: Int


class JobResult(Wire, tag="job_result", frozen=True, kw_only=True):
    """The one outcome of an attempt: success with texts, or an error."""

    job_id: str
    attempt_id: Int
    node_id: str
    session_id: str
    utterance_index: Int
    success: bool
    """False with `error`. Where nobody spoke: true, and empty texts."""
    trace_id: str
    text_asr: str | None = None
    text_translated: str | None = None
    tts_audio: str | None = None
    """Base64, also where it travelled as raw bytes: clients are sent base64."""
    tts_format: str | None = None
    extra: dict[str, Any] | None = None
    """`service_timings`, likely languages, `reason`."""
    processing_time_ms: float | None = None
    error: NodeFault | None = None
    """With `success` false."""
    node_completed_at_ms: Int | None = None
    asr_quality_level: str | None = None
    reason_codes: list[str] | None = None
    quality_score: float | None = None
    rerun_count: Int | None = None
    segments_meta: SegmentsMeta | None = None
    carried_ms: Int | None = None
    """2: so much of the end of this job's audio is kept for the session's next job, which owns it."""
    merged_into: str | None = None
    """2: the job whose result says what this one's audio said."""
    taken_over: list[TakenOver] | None = None
    """2: what this result says beside the job's own audio: so much of the end of which earlier jobs. Empty: nothing."""
    src_lang: str | None = None
    tgt_lang: str | None = None
    tts_sample_rate: Int | None = None


class JobHeld(Wire, tag="job_held", frozen=True, kw_only=True):
    """2: the node keeps this job's audio for the session's next job, or processes it by itself at the deadline."""

    job_id: str
    attempt_id: Int
    reason: str
    deadline_ms: Int
    """Milliseconds from now."""


class JobReject(Wire, tag="job_reject", frozen=True, kw_only=True):
    """2: the node does not take this attempt."""

    job_id: str
    attempt_id: Int
    code: str
    """`FULL`, `DRAINING`, `UNSUPPORTED` …"""
    retry_after_ms: Int | None = None


class NodeError(Wire, tag="node_error", frozen=True, kw_only=True):
    """Something went wrong beside any job; recorded and shown."""

    node_id: str
    code: str
    message: str
    details: Any = None


class NodeDrain(Wire, tag="node_drain", frozen=True, kw_only=True):
    """2: no new jobs; the node finishes what it runs and leaves."""

    node_id: str
    reason: str | None = None


NodeMessage = (
    NodeRegister
    | NodeHeartbeat
    | JobAck
    | JobStarted
    | NodeAsrPartial
    | JobResult
    | JobHeld
    | JobReject
    | NodeError
    | NodeDrain
)

# ------------------------------------------------------------------------------------------- scheduler → node


class NodeRegisterAck(Wire, tag="node_register_ack", frozen=True, kw_only=True):
    """The node is registered, under this id."""

    node_id: str
    message: str
    status: NodeStatus


class JobAssign(Wire, tag="job_assign", frozen=True, kw_only=True):
    """One utterance to be translated into one language."""

    job_id: str
    attempt_id: Int
    """1, 2 …: to be echoed; a result of an older attempt counts for nothing."""
    session_id: str
    utterance_index: Int
    src_lang: str
    tgt_lang: str
    pipeline: Pipeline
    audio: str
    """Base64; empty inside the binary form, where the raw bytes follow the header."""
    audio_format: str
    sample_rate: Int
    enable_streaming_asr: bool
    partial_update_interval_ms: Int
    trace_id: str
    dialect: str | None = None
    features: Features | None = None
    mode: str | None = None
    lang_a: str | None = None
    lang_b: str | None = None
    auto_langs: list[str] | None = None
    group_id: str | None = None
    """Utterances that belong together share it."""
    part_index: Int | None = None
    context_text: str | None = None
    """What was said before in the conversation."""
    padding_ms: Int | None = None
    """So much silence may be put behind the audio."""
    is_manual_cut: bool | None = None
    """The speaker ended the utterance."""
    is_timeout_triggered: bool | None = None
    """A pause ended it."""
    is_max_duration_triggered: bool | None = None
    """It had become too long: the next one may go on in the middle of a word."""
    turn_id: str | None = None
    deadline_ms: Int | None = None
    """2: milliseconds from now until the lease ends."""
    carried_audio_ms: Int | None = None
    """2: so much of the head of `audio` was sent before, to a node that may have lost it."""
    start_samples: Int | None = None
    """2: where `audio` begins on the session's audio time line, in samples of `sample_rate`."""
    kept_jobs: list[str] | None = None
    """2: the session's other jobs whose audio the scheduler counts on this node to say. What it has of any other
    before this utterance is said elsewhere by now, and to be forgotten."""
    traceparent: str | None = None
    """2: the W3C trace context of this attempt, where the scheduler is traced."""


class JobPreview(Wire, tag="job_preview", frozen=True, kw_only=True):
    """2, for nodes that announce `job_preview`: more of an utterance that somebody is still speaking.

    No job: it is not answered, holds no slot, and may be dropped by anybody. What the node makes of it comes as
    `asr_partial` under the id of the job to come, until the `job_assign` of the utterance or the next utterance ends
    it.
    """

    job_id: str
    session_id: str
    utterance_index: Int
    src_lang: str
    tgt_lang: str
    pipeline: Pipeline
    audio: str
    """Base64 of what is new; empty inside the binary form, where the raw bytes follow the header."""
    audio_format: str
    sample_rate: Int
    at_bytes: Int
    """Where `audio` begins in the utterance's audio. 0: from its start, whatever the node has of it already."""
    partial_update_interval_ms: Int
    trace_id: str
    mode: str | None = None
    lang_a: str | None = None
    lang_b: str | None = None
    auto_langs: list[str] | None = None


class JobCancel(Wire, tag="job_cancel", frozen=True, kw_only=True):
    """Nobody wants the result any more; it is not answered."""

    job_id: str
    trace_id: str
    reason: str


class NodeControl(Wire, tag="node_control", frozen=True, kw_only=True):
    """An operator asks the node to take no new jobs, to take them again, or to load its models anew."""

    command: Literal["drain", "resume", "reload"]
    reason: str


SchedulerMessage = NodeRegisterAck | ErrorMessage | JobAssign | JobPreview | JobCancel | NodeControl
