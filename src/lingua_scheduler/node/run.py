"""One job in hand: what was asked, how far it is, and the messages that tell of it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from lingua_scheduler.node.aggregation.audio_events import Conclude
from lingua_scheduler.node.hearing import Heard
from lingua_scheduler.node.meter import Stopwatch
from lingua_scheduler.node.pipeline import Said
from lingua_scheduler.node.route import Route
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId
from lingua_scheduler.protocol.messages import Wire
from lingua_scheduler.protocol.node import (
    JobAck,
    JobAssign,
    JobHeld,
    JobReject,
    JobResult,
    JobStarted,
    NodeAsrPartial,
    NodeFault,
    TakenOver,
)
from lingua_scheduler.runtime.traces import Span, working_for

ASR_EMPTY = "ASR_EMPTY"
NO_TEXT_ASSIGNED = "NO_TEXT_ASSIGNED"


class Outlet(Protocol):
    """Where messages to the scheduler go; the link is one."""

    @property
    def node_id(self) -> NodeId: ...

    def send(self, message: Wire) -> bool: ...

    def send_result(self, result: JobResult, audio: bytes) -> None: ...


@dataclass(slots=True, eq=False)
class JobRun:
    """A job from its assignment to its result. `assign.audio` is empty: the audio is with the aggregator."""

    assign: JobAssign
    route: Route
    watch: Stopwatch
    attempt: int
    """The latest that the scheduler named: the result is for it."""
    is_held: bool = False
    is_started: bool = False
    is_over: bool = False
    """Its result was sent, or it was dropped: whatever is still under way for it ends at the next stage."""
    span: Span | None = None
    """Its trace, where somebody collects them."""
    asr_span: list[float] = field(default_factory=list[float])
    """Loop time of the first recognition's start and the last one's end: batches are recognised side by side."""

    @property
    def id(self) -> JobId:
        return JobId(self.assign.job_id)

    @property
    def session_id(self) -> SessionId:
        return SessionId(self.assign.session_id)

    def recognised(self, began_s: float, ended_s: float) -> None:
        """A recognition for this job took from here to there, in loop time."""
        self.asr_span[:] = [min([began_s, *self.asr_span[:1]]), ended_s]

    def work_in_trace(self) -> None:
        """What this task asks of other services belongs to the job."""
        if self.span is not None:
            working_for.set(self.span.traceparent)

    def close_span(self, how: str, now_s: float) -> None:
        """Tell the trace how it went; times are loop time."""
        if self.span is None:
            return
        heard = [("asr", *self.asr_span)] if self.asr_span else []
        for phase, began_s, ended_s in [*heard, *self.watch.spans]:
            self.span.begin(phase, began_s * 1000).end(ended_s * 1000)
        self.span.note(outcome=how)
        self.span.end(now_s * 1000, "" if how in {"completed", "empty", "merged"} else how)

    def acknowledge(self, out: Outlet) -> None:
        out.send(JobAck(**self._names(out), session_id=self.assign.session_id, trace_id=self.assign.trace_id))

    def start(self, out: Outlet) -> None:
        """Work begins; told once for each attempt."""
        self.is_held = False
        if not self.is_started:
            self.is_started = True
            out.send(JobStarted(**self._names(out), session_id=self.assign.session_id, trace_id=self.assign.trace_id))

    def hold(self, out: Outlet, reason: str, wait_ms: int) -> None:
        self.is_held = True
        out.send(
            JobHeld(job_id=self.assign.job_id, attempt_id=self.attempt, reason=reason, deadline_ms=max(0, wait_ms))
        )

    def partial(self, out: Outlet, text: str, stable_chars: int, *, is_final: bool) -> None:
        out.send(
            NodeAsrPartial(
                job_id=self.assign.job_id,
                node_id=out.node_id,
                session_id=self.assign.session_id,
                utterance_index=self.assign.utterance_index,
                text=text,
                is_final=is_final,
                trace_id=self.assign.trace_id,
                stable_chars=stable_chars,
            )
        )

    def result(self, out: Outlet, now_wall_ms: int, **fields: Any) -> JobResult:
        """A result of this attempt with the fields that every result has."""
        return JobResult(
            **self._names(out),
            session_id=self.assign.session_id,
            utterance_index=self.assign.utterance_index,
            trace_id=self.assign.trace_id,
            processing_time_ms=round(self.watch.total_ms(), 1),
            node_completed_at_ms=now_wall_ms,
            **fields,
        )

    def failure(self, out: Outlet, now_wall_ms: int, fault: NodeFault) -> JobResult:
        return self.result(out, now_wall_ms, success=False, error=fault, extra={"service_timings": self.timings()})

    def merged(self, out: Outlet, now_wall_ms: int, into: JobId) -> JobResult:
        return self.result(out, now_wall_ms, success=True, merged_into=into, extra={"reason": NO_TEXT_ASSIGNED})

    def nothing_said(self, out: Outlet, now_wall_ms: int, concluded: Conclude) -> JobResult:
        extra = {"reason": ASR_EMPTY, "service_timings": self.timings()}
        return self.result(out, now_wall_ms, success=True, text_asr="", text_translated="", extra=extra,
                           **_audio_of(concluded))  # fmt: skip

    def translated(self, out: Outlet, now_wall_ms: int, heard: Heard, said: Said, concluded: Conclude) -> JobResult:
        """`tts_audio` is left to whoever sends it."""
        speech = said.speech
        return self.result(
            out,
            now_wall_ms,
            success=True,
            text_asr=said.text_asr,
            text_translated=said.text_translated,
            tts_format=speech.audio_format if speech is not None else None,
            tts_sample_rate=speech.sample_rate if speech is not None else None,
            src_lang=said.direction.src,
            tgt_lang=said.direction.tgt,
            **_audio_of(concluded),
            asr_quality_level=heard.quality_level,
            quality_score=round(heard.quality, 3),
            reason_codes=list(said.reason_codes) or None,
            segments_meta=heard.segments_meta(),
            extra={
                "service_timings": self.timings(),
                "language_probability": round(heard.language_probability, 4),
                "language_probabilities": {one: round(p, 4) for one, p in heard.language_probabilities.items()},
            },
        )

    def timings(self) -> dict[str, float]:
        """`asr_ms`, `nmt_ms`, `tts_ms` (0 where a stage did not run), `total_ms` since the job was taken on."""
        spent = self.watch.ms
        asr_ms = (self.asr_span[1] - self.asr_span[0]) * 1000 if self.asr_span else 0.0
        total_ms = self.watch.total_ms()
        return {
            "asr_ms": round(asr_ms, 1),
            "nmt_ms": round(spent.get("nmt", 0.0), 1),
            "tts_ms": round(spent.get("tts", 0.0), 1),
            "total_ms": round(total_ms, 1),
        }

    def _names(self, out: Outlet) -> dict[str, Any]:
        return {"job_id": self.assign.job_id, "attempt_id": self.attempt, "node_id": out.node_id}


def _audio_of(concluded: Conclude) -> dict[str, Any]:
    """Which audio the text is of."""
    taken = [TakenOver(job_id=one.job, ms=one.ms) for one in concluded.taken]
    return {"carried_ms": concluded.carried_ms or None, "taken_over": taken}


def reject(out: Outlet, assign: JobAssign, code: str, retry_after_ms: int | None = None) -> None:
    out.send(JobReject(job_id=assign.job_id, attempt_id=assign.attempt_id, code=code, retry_after_ms=retry_after_ms))


def without_audio(assign: JobAssign) -> JobAssign:
    return msgspec.structs.replace(assign, audio="")
