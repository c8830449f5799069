"""What the client reads of a job: results, gaps and progress as messages, with the fields that its protocol has."""

from dataclasses import replace
from typing import NamedTuple, cast

import msgspec

from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.session.ordering import KeptUtterance, Slot
from lingua_scheduler.core.shortage import explained
from lingua_scheduler.core.utterance import Missing, Translated, Written
from lingua_scheduler.protocol.errors import HINTS, ErrorCode
from lingua_scheduler.protocol.ids import AUTO, JobId, TraceId
from lingua_scheduler.protocol.messages import (
    MissingReason,
    MissingResult,
    NetworkTimings,
    ServiceTimings,
    TranslationResult,
    UiEvent,
    UiEventName,
)
from lingua_scheduler.protocol.node import JobResult

_CREDIBLE_MS = 60_000
"""A transfer time above this, or below 0, says that two clocks differ and nothing else."""

_DEFAULT_TTS_FORMAT = "opus"


def result_message(
    identity: SessionIdentity, slot: Slot, now_ms: int, result_seq: int | None
) -> TranslationResult | MissingResult:
    """The one final message of a slot that has its outcome. `result_seq` is None for protocol 1.0."""
    match slot.outcome:
        case Translated() as outcome:
            return _translation(identity, slot, outcome, now_ms, result_seq)
        case Missing(reason=reason, unsaid=unsaid):
            told = missing(identity, slot, reason, now_ms, result_seq)
            return msgspec.structs.replace(told, unsaid=list(unsaid)) if unsaid else told
        case Written(message):
            return msgspec.structs.replace(message, result_seq=result_seq)
        case None:
            raise AssertionError("a slot without an outcome has no message")


def line_message(identity: SessionIdentity, slot: Slot, now_ms: int) -> TranslationResult | MissingResult:
    """The same for other members of a room: in full, unnumbered. Whoever gets it makes it fit its own protocol."""
    return result_message(replace(identity, protocol="1.1"), slot, now_ms, None)


def missing(
    identity: SessionIdentity, slot: Slot, reason: MissingReason, now_ms: int, result_seq: int | None
) -> MissingResult:
    """Without `result_seq` in protocol 1.1 it is an announcement, not the end of the utterance."""
    return MissingResult(
        session_id=identity.speaker.session_id,
        utterance_index=slot.index,
        reason=reason,
        created_at_ms=identity.epoch_ms + now_ms,
        trace_id=slot.utterance.speaker.trace_id,
        result_seq=result_seq,
        tgt_lang=slot.tgt_lang if identity.protocol == "1.1" else None,
    )


def pending(identity: SessionIdentity, result: TranslationResult | MissingResult, now_ms: int) -> MissingResult:
    """That this result comes behind later ones."""
    return MissingResult(
        session_id=result.session_id,
        utterance_index=result.utterance_index,
        reason="gap_timeout",
        created_at_ms=identity.epoch_ms + now_ms,
        trace_id=result.trace_id,
        tgt_lang=result.tgt_lang,
    )


class Subject(NamedTuple):
    """What a `ui_event` is about."""

    trace_id: TraceId
    job_id: JobId
    utterance_index: int

    @classmethod
    def of(cls, slot: Slot) -> "Subject":
        return cls(slot.utterance.speaker.trace_id, slot.job_id, slot.index)


def hint(identity: SessionIdentity, code: ErrorCode | None, shortage: str = "") -> str | None:
    """What a person can do about it, and why there was no node where that is the fault."""
    if code is None:
        return None
    told, why = HINTS[code].localised(identity.hint_language), explained(shortage, identity.hint_language)
    return f"{told} ({why})" if why else told


def ui_event(
    identity: SessionIdentity,
    subject: Subject,
    event: UiEventName,
    elapsed_ms: int | None,
    code: ErrorCode | None,
    hint: str | None,
) -> UiEvent:
    return UiEvent(
        trace_id=subject.trace_id,
        session_id=identity.speaker.session_id,
        job_id=subject.job_id,
        utterance_index=subject.utterance_index,
        event=event,
        status="ok" if code is None and event != "ERROR" else "error",
        elapsed_ms=elapsed_ms,
        error_code=code,
        hint=hint,
    )


def _translation(
    identity: SessionIdentity, slot: Slot, outcome: Translated, now_ms: int, result_seq: int | None
) -> TranslationResult:
    result, kept, is_new = outcome.result, slot.utterance, identity.protocol == "1.1"
    src_lang = result.src_lang or (kept.speaker.src_lang if kept.speaker.src_lang != AUTO else None)
    return TranslationResult(
        session_id=identity.speaker.session_id,
        utterance_index=slot.index,
        job_id=slot.job_id,
        text_asr=result.text_asr or "",
        text_translated=result.text_translated or "",
        tts_audio=result.tts_audio or "",
        tts_format=result.tts_format or _DEFAULT_TTS_FORMAT,
        trace_id=kept.speaker.trace_id,
        scheduler_sent_at_ms=identity.epoch_ms + now_ms,
        extra=result.extra,
        group_id=kept.group_id,
        part_index=kept.part_index,
        service_timings=_service_timings(result),
        network_timings=_network_timings(identity, kept, outcome),
        asr_quality_level=result.asr_quality_level,
        reason_codes=result.reason_codes,
        quality_score=result.quality_score,
        rerun_count=result.rerun_count,
        segments_meta=result.segments_meta,
        result_seq=result_seq,
        src_lang=src_lang if is_new else None,
        tgt_lang=(result.tgt_lang or slot.tgt_lang) if is_new else None,
        tts_sample_rate=result.tts_sample_rate if is_new else None,
        speech_start_ms=kept.speech_start_ms if is_new else None,
        speech_end_ms=kept.speech_end_ms if is_new else None,
        unsaid=list(outcome.unsaid) or None,
        said_late=list(outcome.said_late) or None,
    )


def _service_timings(result: JobResult) -> ServiceTimings | None:
    """What the node measured; it reports the stages inside `extra`."""
    told = (result.extra or {}).get("service_timings")
    stages = cast("dict[str, object]", told) if isinstance(told, dict) else {}
    timings = ServiceTimings(
        asr_ms=_whole_ms(stages.get("asr_ms")),
        nmt_ms=_whole_ms(stages.get("nmt_ms")),
        tts_ms=_whole_ms(stages.get("tts_ms")),
        total_ms=_whole_ms(stages.get("total_ms", result.processing_time_ms)),
    )
    return timings if timings != ServiceTimings() else None


def _network_timings(identity: SessionIdentity, kept: KeptUtterance, outcome: Translated) -> NetworkTimings | None:
    """The way to the node is what its processing and its way back do not explain."""
    result, to_node_ms, back_ms = outcome.result, None, None
    if result.node_completed_at_ms is not None:
        back_ms = credible_ms(identity.epoch_ms + outcome.arrived_at_ms - result.node_completed_at_ms)
        worked_ms = _whole_ms(result.processing_time_ms)
        if back_ms is not None and worked_ms is not None:
            to_node_ms = credible_ms(outcome.arrived_at_ms - outcome.assigned_at_ms - worked_ms - back_ms)
    timings = NetworkTimings(
        web_to_scheduler_ms=kept.web_to_scheduler_ms, scheduler_to_node_ms=to_node_ms, node_to_scheduler_ms=back_ms
    )
    return timings if timings != NetworkTimings() else None


def credible_ms(ms: int) -> int | None:
    """`ms` where it can be the time of a transfer."""
    return ms if 0 <= ms <= _CREDIBLE_MS else None


def _whole_ms(value: object) -> int | None:
    """None for whatever is no credible duration: it is another program's free JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value) if 0 <= value < 2**53 else None
