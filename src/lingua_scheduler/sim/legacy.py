"""A worker node of protocol 1, with the habits that schedulers have to live with.

It sends no ack and no start, ignores cancels, drops without a word a job that it has seen (also another attempt, and a
second job of the same session and index), keeps a pause shorter than a second for the session's next job, and of a cut
monologue the last five seconds. Some say the empty text `NO_TEXT_ASSIGNED` once more. It comes back five seconds after
a lost connection and then still knows everything, unless its process died. What it answered while away is lost.
"""

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import node as wire
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.agent import Agent, Surroundings, spoken
from lingua_scheduler.sim.plan import NodePlan

SHORT_MS = 1_000
TAIL_PACKETS = 5_000 // speech.PACKET_MS


class LegacyWorker(Agent):
    """See the module's head."""

    def __init__(self, plan: NodePlan, around: Surroundings) -> None:
        super().__init__(plan, around)
        self._repeats_empty = plan.capacity % 2 == 0
        self._born()

    def _born(self) -> None:
        self._seen: set[str] = set()
        self._places: set[tuple[str, int]] = set()
        self._kept: dict[str, list[speech.Packet]] = {}
        self._working = 0

    def in_hand(self) -> int:
        return self._working

    def retry_ms(self) -> int:
        return 5_000

    def on_assign(self, assign: wire.JobAssign, audio: bytes) -> None:
        place = (assign.session_id, assign.utterance_index)
        if assign.job_id in self._seen or place in self._places:
            self.note("dropped", assign.job_id, assign.attempt_id)
            return
        self._seen.add(assign.job_id)
        self._places.add(place)
        packets = speech.hear(audio)
        self.note("taken", assign.job_id, assign.attempt_id, self._working + 1, speech.write(packets))
        if assign.is_timeout_triggered and not assign.is_manual_cut and len(packets) * speech.PACKET_MS < SHORT_MS:
            self._keep(assign.session_id, [*self._kept.get(assign.session_id, []), *packets])
            return
        said = [*self._kept.pop(assign.session_id, []), *packets]
        if assign.is_max_duration_triggered and len(packets) > TAIL_PACKETS:
            self._keep(assign.session_id, said[-TAIL_PACKETS:])
            said = said[:-TAIL_PACKETS]
        if self.meets_poison(said) and self.plan.dies_of_poison:
            self.around.kill(self, 3_000)
            return
        self._working += 1
        self.later(self.service_ms(len(said)), self._answer, assign, said)

    def _keep(self, session_id: str, packets: list[speech.Packet]) -> None:
        self._kept[session_id] = packets
        self.note("kept", session_id, speech.write(packets))

    def _answer(self, assign: wire.JobAssign, said: list[speech.Packet]) -> None:
        self._working -= 1
        text = speech.write(said)
        if self.meets_poison(said):
            self._result(assign, "", error=wire.NodeFault(code="PROCESSING_ERROR", message="poison"))
            return
        self.note("answered", assign.job_id, assign.attempt_id, text)
        self._result(assign, text)
        if self._repeats_empty:
            self._result(assign, "", extra={"reason": "NO_TEXT_ASSIGNED"})

    def _result(
        self,
        assign: wire.JobAssign,
        text: str,
        error: wire.NodeFault | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:
        if self.end is None or not self.is_registered:
            return
        src_lang, tgt_lang = spoken(assign, list(speech.read(text)))
        result = wire.JobResult(
            job_id=assign.job_id,
            attempt_id=assign.attempt_id,
            node_id=self.plan.name,
            session_id=assign.session_id,
            utterance_index=assign.utterance_index,
            success=error is None,
            trace_id=assign.trace_id,
            src_lang=src_lang,
            tgt_lang=tgt_lang,
            text_asr=text,
            text_translated=f"[{tgt_lang}] {text}" if text else "",
            extra=extra,
            error=error,
        )
        self.end.send(codec.encode(result).decode())
