"""Watches the utterances of one session from outside its machines: for metrics, and for traces where they are wanted.

Nothing here happens for a chunk of audio: once when an utterance ends, and once for each message that tells of it.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

import msgspec

from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.utterance import JobSpec, Missing
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.messages import AsrPartial, MissingResult, ServerMessage, TranslationResult
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.spans import UtteranceSpans

WATCHED_MAX = 512
"""Utterances of one session whose end is remembered: more than a session may have open."""


Step = job.SelectNode | job.SendAssign | job.RequeueJob


@dataclass(slots=True)
class _Watched:
    cut_at_ms: int
    index: int
    spans: UtteranceSpans | None = None
    is_placed: bool = False
    is_read: bool = False
    is_missing: bool = False


class Witness:
    """Of one session, its speaker's own messages alone: what others in a room hear is theirs."""

    def __init__(self, context: Context, traceparent: str) -> None:
        """`traceparent` is the client's, for spans to hang below; it may be empty."""
        self._metrics = context.metrics
        self._clock = context.clock
        self._traces = context.traces
        self._traceparent = traceparent
        self._watched: OrderedDict[JobId, _Watched] = OrderedDict()

    def cut(self, spec: JobSpec) -> None:
        """An utterance has ended; it is a job now."""
        self._metrics.utterances.labels(spec.utterance.reason.value).inc()
        self._metrics.asked(spec.speaker.src_lang, spec.tgt_lang)
        self._watched[spec.job_id] = watched = _Watched(spec.utterance.finalized_at_ms, spec.utterance.index)
        if self._traces is not None:
            watched.spans = UtteranceSpans(self._traces, spec, self._traceparent)
        if len(self._watched) > WATCHED_MAX:
            _, oldest = self._watched.popitem(last=False)
            self._over(oldest, "too many")

    def did(self, effect: Step) -> Step:
        """A step of an attempt; the same effect comes back, with what the node is to hang its spans below."""
        match effect:
            case job.SelectNode(request):
                if (spans := self._spans(request.job_id)) is not None:
                    spans.selecting(request.attempt, self._clock.now_ms())
            case job.RequeueJob():
                if (spans := self._spans(effect.job_id)) is not None:
                    spans.again(effect, self._clock.now_ms())
            case job.SendAssign():
                return self._assigned(effect)
        return effect

    def concluded_ms(self, end: job.Conclude) -> int:
        """From the end of the utterance to now, when its job has its outcome."""
        if (watched := self._watched.get(end.job_id)) is None:
            return 0
        now_ms = self._clock.now_ms()
        watched.is_missing = isinstance(end.outcome, Missing)
        if watched.spans is not None:
            watched.spans.concluded(end, now_ms)
        return now_ms - watched.cut_at_ms

    def sent(self, message: ServerMessage) -> None:
        """The client is told something."""
        match message:
            case AsrPartial(job_id=job_id) | TranslationResult(job_id=job_id):
                if (watched := self._watched.get(JobId(job_id))) is None:
                    return
                if not watched.is_read:
                    watched.is_read = True
                    self._metrics.first_text_seconds.observe(self._since_s(watched))
                if isinstance(message, TranslationResult):
                    del self._watched[JobId(job_id)]
                    self._over(watched)
                    if message.tts_audio:
                        self._metrics.first_sound_seconds.observe(self._since_s(watched))
            case MissingResult():
                for job_id in [one for one, watched in self._watched.items() if watched.is_missing]:
                    if self._watched[job_id].index == message.utterance_index:
                        self._over(self._watched.pop(job_id))
            case _:
                return

    def over(self, why: str) -> None:
        """The session ends here."""
        for watched in self._watched.values():
            self._over(watched, why)
        self._watched.clear()

    def _assigned(self, effect: job.SendAssign) -> job.SendAssign:
        if (watched := self._watched.get(JobId(effect.assign.job_id))) is None:
            return effect
        if not watched.is_placed:
            watched.is_placed = True
            self._metrics.queue_wait_seconds.observe(self._since_s(watched))
        if watched.spans is None:
            return effect
        traceparent = watched.spans.assigned(effect, self._clock.now_ms())
        if effect.node.protocol == 1:
            return effect
        return replace(effect, assign=msgspec.structs.replace(effect.assign, traceparent=traceparent))

    def _spans(self, job_id: JobId) -> UtteranceSpans | None:
        watched = self._watched.get(job_id)
        return watched.spans if watched is not None else None

    def _over(self, watched: _Watched, error: str = "") -> None:
        if watched.spans is not None:
            watched.spans.over(self._clock.now_ms(), error)

    def _since_s(self, watched: _Watched) -> float:
        return max(0, self._clock.now_ms() - watched.cut_at_ms) / 1000
