"""The data that sessions and jobs hand to each other: what was said, what to do with it, and how it ended.

Plain values without behaviour, so that the session machine and the job machine need not know each other.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import GroupId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.protocol.messages import Features, MissingReason, MissingResult, Pipeline, TranslationResult
from lingua_scheduler.protocol.node import JobResult

AudioFormat = Literal["opus", "pcm16"]


class FinalizeReason(StrEnum):
    """Why an utterance ended. Where several hold at once the order is IS_FINAL, MAX_DURATION, MAX_LENGTH."""

    IS_FINAL = "IsFinal"
    TIMEOUT = "Timeout"
    MAX_DURATION = "MaxDuration"
    MAX_LENGTH = "MaxLength"
    SESSION_CLOSE = "SessionClose"


@dataclass(frozen=True, slots=True)
class Speaker:
    """What a session settled when it began and every job of it repeats."""

    session_id: SessionId
    trace_id: TraceId
    src_lang: Language
    tenant_id: TenantId = TenantId("")
    mode: Literal["one_way", "two_way_auto"] = "one_way"
    lang_a: Language | None = None
    lang_b: Language | None = None
    auto_langs: tuple[Language, ...] = ()
    dialect: str | None = None
    features: Features | None = None
    pipeline: Pipeline = field(default_factory=Pipeline)
    enable_streaming_asr: bool = False
    partial_update_interval_ms: int = 1000


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears a speaker in a room, by language; the speaker is not among them."""

    speaker: Speaker
    """As the room hears it: one direction, in the language that it speaks there."""
    listeners: tuple[tuple[Language, tuple[SessionId, ...]], ...]
    """Each language once. Empty: the others hear nothing."""

    @property
    def targets(self) -> tuple[Language, ...]:
        return tuple(language for language, _ in self.listeners)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A finalized stretch of speech. `audio` is as the client sent it: Opus packets with length prefixes, or PCM16."""

    index: int
    audio: bytes = field(repr=False)
    audio_format: AudioFormat
    sample_rate: int
    start_samples: int
    """Where it begins on the session's audio time line, in samples of `sample_rate`."""
    samples: int
    reason: FinalizeReason
    finalized_at_ms: int
    padding_ms: int
    group_id: GroupId
    part_index: int
    context_text: str = ""

    @property
    def duration_ms(self) -> int:
        return self.samples * 1000 // self.sample_rate


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One utterance into one target language: all that an attempt needs. The id is minted by the caller."""

    job_id: JobId
    speaker: Speaker
    utterance: Utterance
    tgt_lang: Language
    """In `two_way_auto` the node picks the direction; `tgt_lang` is then the one the client named."""
    is_for_room: bool = False
    """Others hear it, perhaps in several languages: those of one utterance do well on one node, which hears it once."""


@dataclass(frozen=True, slots=True)
class Translated:
    """The job ended with text (and speech): `result` is the node's own, already fenced."""

    result: JobResult
    node_id: NodeId
    assigned_at_ms: int
    arrived_at_ms: int
    hears_once: bool = False
    """The node (of protocol 2) recognises an utterance once for all languages that it is asked for."""
    unsaid: tuple[int, ...] = ()
    """Indices of utterances whose end no node could say, and nobody may come who is to say it."""
    said_late: tuple[int, ...] = ()
    """Of those that earlier outcomes told as unsaid: their end is in this result."""


@dataclass(frozen=True, slots=True)
class Missing:
    """The job ended without text. `code` is set where it is a failure and not mere silence."""

    reason: MissingReason
    code: ErrorCode | None = None
    detail: str = ""
    unsaid: tuple[int, ...] = ()
    """As with `Translated`; beside the utterance itself."""


Outcome = Translated | Missing


@dataclass(frozen=True, slots=True)
class Written:
    """An outcome as the session's owner before this one wrote it down: the message, but for its number."""

    message: TranslationResult | MissingResult


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of an utterance which is another's to say: its own result is there without it."""

    job_id: JobId
    index: int
    tgt_lang: Language
    samples: int
    heir: JobId | None
    """The job that has it to say; None: the next one."""
    is_said: bool = False
    """The other way round: its own result is still to come, and the end is in another's already."""
