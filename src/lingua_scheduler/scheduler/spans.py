"""The spans of one utterance at its session's instance: from its first sound to the message that tells of it.

utterance                     from the first sample to delivery; below the client's own span where it sent one
├ speech                      what was cut, and why there
├ placement   (each attempt)  from the question for a node to the assignment
├ node        (each attempt)  from the assignment to the answer; the node's own spans hang below it
└ delivery                    from the outcome to the message: what waits for its turn is seen here
"""

from lingua_scheduler.core.jobs.events import Conclude, RequeueJob, SendAssign
from lingua_scheduler.core.utterance import JobSpec, Missing
from lingua_scheduler.runtime.traces import Span, Traces


class UtteranceSpans:
    """All times in loop milliseconds."""

    def __init__(self, traces: Traces, spec: JobSpec, parent: str) -> None:
        utterance, speaker = spec.utterance, spec.speaker
        cut_ms = utterance.finalized_at_ms
        began_ms = cut_ms - utterance.duration_ms
        self._is_for_room = spec.is_for_room
        self._root = traces.begin(
            "utterance", began_ms, parent=parent, kind="server",
            trace_id=speaker.trace_id, job_id=spec.job_id, index=utterance.index, src=speaker.src_lang,
            tgt=spec.tgt_lang, mode=speaker.mode,
        )  # fmt: skip
        speech = self._root.begin("speech", began_ms, reason=utterance.reason.value, ms=utterance.duration_ms)
        speech.end(cut_ms)
        self._placement: Span | None = None
        self._node: Span | None = None
        self._delivery: Span | None = None

    def selecting(self, attempt: int, now_ms: int) -> None:
        """The store is asked for a node, perhaps once more."""
        if self._placement is None:
            self._placement = self._root.begin("placement", now_ms, attempt=attempt)

    def assigned(self, effect: SendAssign, now_ms: int) -> str:
        """The traceparent for the node."""
        node_id, attempt = effect.node.node_id, effect.assign.attempt_id
        if self._placement is not None:
            self._placement.note(node=node_id)
            self._placement.end(now_ms)
            self._placement = None
        self._end_node(now_ms, "sent again")
        self._node = self._root.begin("node", now_ms, kind="client", node=node_id, attempt=attempt)
        return self._node.traceparent

    def again(self, effect: RequeueJob, now_ms: int) -> None:
        """The attempt came to nothing."""
        self._end_node(now_ms, effect.cause)

    def concluded(self, end: Conclude, now_ms: int) -> None:
        outcome = end.outcome
        error = str(outcome.code or "") if isinstance(outcome, Missing) else ""
        self._root.note(outcome=outcome.reason if isinstance(outcome, Missing) else "translated")
        if self._placement is not None:
            self._placement.end(now_ms, error)
            self._placement = None
        self._end_node(now_ms, error)
        if self._is_for_room:  # to others, each in an order of their own
            self._root.end(now_ms, error)
            return
        self._delivery = self._root.begin("delivery", now_ms)
        if error:
            self._root.note(error=error)

    def over(self, now_ms: int, error: str = "") -> None:
        """Told, or never to be told here."""
        self._end_node(now_ms, error)
        for span in (self._placement, self._delivery, self._root):
            if span is not None:
                span.end(now_ms, error)

    def _end_node(self, now_ms: int, error: str) -> None:
        if self._node is not None:
            self._node.end(now_ms, error)
            self._node = None
