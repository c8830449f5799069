"""A worker node of protocol 2 around the production aggregator and outbox; its models are a wait.

What the production node does with sockets, processes and decoders is left out; which audio is held, carried and merged,
which attempt is answered and what is sent again after a lost connection is the production code's decision.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import numpy as np

from lingua_scheduler.node.aggregation import audio_events as au
from lingua_scheduler.node.aggregation.audio import AudioAggregator
from lingua_scheduler.node.backoff import Backoff
from lingua_scheduler.node.outbox import Outbox, Outgoing
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import node as wire
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.agent import Agent, Surroundings, spoken
from lingua_scheduler.sim.plan import NodePlan
from lingua_scheduler.sim.wire import Ping

SAMPLES = speech.PACKET_MS * au.SAMPLES_PER_MS
_BASE, _STEP = 0.25, 2.0**-20
PING_MS = 5_000
SILENT_PINGS_MAX = 4


@dataclass(slots=True, eq=False)
class Run:
    """A job in hand."""

    assign: wire.JobAssign
    attempt: int
    is_held: bool = False
    is_started: bool = False
    is_over: bool = False


@dataclass(slots=True, eq=False)
class Conclusion:
    effect: au.Conclude
    is_ready: bool = False
    is_dropped: bool = False


@dataclass(slots=True)
class Lane:
    """One session in one target language."""

    driver: Driver[au.AudioEvent, au.AudioEffect]
    machine: AudioAggregator
    packets: list[speech.Packet] = field(default_factory=list[speech.Packet])
    """By the number that its samples carry."""
    texts: dict[int, list[speech.Packet]] = field(default_factory=dict[int, list[speech.Packet]])
    order: list[Conclusion] = field(default_factory=list[Conclusion])


class Worker(Agent):
    """See the module's head."""

    def __init__(self, plan: NodePlan, around: Surroundings) -> None:
        super().__init__(plan, around)
        self._backoff = Backoff(Random(f"backoff {around.seed} {plan.name}"))
        self._born()

    def _born(self) -> None:
        self._outbox = Outbox()
        self._runs: dict[JobId, Run] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._lane_of: dict[JobId, Lane] = {}
        self._silent_pings = 0
        self.is_draining = False

    def in_hand(self) -> int:
        """Jobs that take a slot here."""
        return len(self._runs)

    # ------------------------------------------------------------------------------- connection

    def registration(self) -> wire.NodeRegister:
        active = [wire.ActiveJob(job_id=job_id, attempt_id=run.attempt) for job_id, run in self._runs.items()]
        return msgspec.structs.replace(
            super().registration(),
            protocol_version="2",
            capacity=self.plan.capacity,
            binary_audio=True,
            active_jobs=active + self._outbox.active_jobs(),
        )

    def on_registered(self) -> None:
        self._backoff.succeeded()
        self._silent_pings = 0
        self.is_draining = False
        for outgoing in self._outbox.waiting():
            self._post(outgoing)
        self._ping()

    def on_lost(self) -> None:
        self._outbox.connection_lost()

    def on_pong(self) -> None:
        self._silent_pings = 0
        self._outbox.confirm()
        if len(self._outbox):
            self._ping()

    def on_any_frame(self) -> None:
        self._silent_pings = 0

    def retry_ms(self) -> int:
        return self._backoff.next_ms()

    def on_tick(self) -> None:
        """Every `PING_MS` while registered."""
        self._silent_pings += 1
        if self._silent_pings > SILENT_PINGS_MAX:
            self.hang_up()
        else:
            self._ping()

    def _ping(self) -> None:
        if self.end is not None and self._outbox.cover():
            self.end.send(Ping())

    def _post(self, outgoing: Outgoing) -> None:
        if self.end is not None:
            self.end.send(codec.encode_result(outgoing.result, outgoing.audio, binary=True))

    # ------------------------------------------------------------------------------- jobs

    def on_assign(self, assign: wire.JobAssign, audio: bytes) -> None:
        job_id = JobId(assign.job_id)
        if (run := self._runs.get(job_id)) is not None:
            if assign.attempt_id < run.attempt:
                return
            is_news = assign.attempt_id > run.attempt
            run.attempt = assign.attempt_id
            self._acknowledge(run)
            if is_news:
                self._arrive(assign, audio)
            return
        working = sum(not one.is_held for one in self._runs.values())
        if self.is_draining or working >= self.plan.capacity:
            self._reject(assign, "DRAINING" if self.is_draining else "FULL")
            return
        run = self._runs[job_id] = Run(msgspec.structs.replace(assign, audio=""), assign.attempt_id)
        self.note("taken", job_id, assign.attempt_id, len(self._runs), speech.write(speech.hear(audio)))
        self._acknowledge(run)
        self._arrive(assign, audio)

    def on_cancel(self, job_id: JobId) -> None:
        lane = self._lane_of.get(job_id)
        if lane is None:
            return
        if (run := self._runs.pop(job_id, None)) is not None:
            run.is_over = True
        self._give_up(lane, job_id)
        lane.driver.post(au.JobDropped(job_id))

    def drain(self) -> None:
        self.is_draining = True
        self.send(wire.NodeDrain(node_id=self.plan.name, reason="simulation"))
        for lane in list(self._lanes.values()):
            lane.driver.post(au.SessionEnded())
        self._lanes.clear()

    def _arrive(self, assign: wire.JobAssign, audio: bytes) -> None:
        packets = speech.hear(audio)
        lane = self._lane(assign)
        self._lane_of[JobId(assign.job_id)] = lane
        if assign.kept_jobs is not None:
            kept = {assign.job_id, *assign.kept_jobs}
            for other in lane.machine.left_of_others({*map(JobId, kept)}, assign.utterance_index):
                self.on_cancel(other)
        first = len(lane.packets)
        lane.packets += packets
        numbers = np.arange(first, first + len(packets), dtype=np.float64)
        samples = np.repeat((_BASE + numbers * _STEP).astype(np.float32), SAMPLES)
        carried_ms, start = assign.carried_audio_ms or 0, assign.start_samples
        cut = au.Cut.of_flags(
            manual=assign.is_manual_cut is True,
            timeout=assign.is_timeout_triggered is True,
            max_duration=assign.is_max_duration_triggered is True,
        )
        lane.driver.post(
            au.AudioArrived(
                job=JobId(assign.job_id),
                attempt=assign.attempt_id,
                utterance_index=assign.utterance_index,
                audio=samples,
                cut=cut,
                carried=min(carried_ms * au.SAMPLES_PER_MS, len(samples)),
                start=start * au.RATE // assign.sample_rate if start is not None else None,
            )
        )

    def _lane(self, assign: wire.JobAssign) -> Lane:
        key = (assign.session_id, assign.tgt_lang)
        lane = self._lanes.get(key)
        if lane is None or lane.driver.is_stopped:
            machine = AudioAggregator()

            def perform(effect: au.AudioEffect) -> None:
                self._perform(lane_of[0], effect)

            driver: Driver[au.AudioEvent, au.AudioEffect] = Driver(
                machine, perform, au.TimeReached(), self.timers, self.clock, self.crashed
            )
            lane_of = [Lane(driver, machine)]
            lane = self._lanes[key] = lane_of[0]
        return lane

    def _perform(self, lane: Lane, effect: au.AudioEffect) -> None:
        match effect:
            case au.Recognize(batch) | au.Dismiss(batch):
                lane.texts[batch.number] = _recognise(lane, batch)
            case au.Conclude():
                self._conclude(lane, effect)
            case au.Hold():
                self._hold(effect)
            case au.Adopt():
                if (run := self._runs.get(effect.job)) is not None:
                    run.is_started = False
                    self._start(run)
            case au.Refuse():
                if (run := self._runs.pop(effect.job, None)) is not None:
                    self._reject(run.assign, "FULL")
            case au.Ignore():
                self._ignore(lane, effect)
            case au.Discard(batches) | au.Unclaimed(_, batches):
                for batch in batches:
                    lane.texts.pop(batch, None)

    def _hold(self, effect: au.Hold) -> None:
        if (run := self._runs.get(effect.job)) is not None:
            run.is_held = True
            wait_ms = max(0, effect.deadline_ms - self.clock.now_ms())
            names: dict[str, Any] = {"job_id": effect.job, "attempt_id": run.attempt, "reason": effect.reason}
            self.send(wire.JobHeld(**names, deadline_ms=wait_ms))

    def _ignore(self, lane: Lane, effect: au.Ignore) -> None:
        run = self._runs.get(effect.job)
        is_concluding = any(one.effect.job == effect.job and not one.is_dropped for one in lane.order)
        if run is not None and not run.is_started and not run.is_held and not is_concluding:
            del self._runs[effect.job]

    # ------------------------------------------------------------------------------- results

    def _conclude(self, lane: Lane, effect: au.Conclude) -> None:
        for job_id in (*effect.merged, effect.job):
            if (run := self._runs.get(job_id)) is not None:
                self._start(run)
        self._give_up(lane, effect.job)
        if effect.job not in self._runs:
            return
        conclusion = Conclusion(effect)
        lane.order.append(conclusion)
        packets = [packet for batch in effect.batches for packet in lane.texts.get(batch, [])]
        if self.meets_poison(packets):
            if self.plan.dies_of_poison:
                self.around.kill(self, 3_000)
                return
            self.later(self.service_ms(len(packets)), self._fail, lane, conclusion)
        else:
            self.later(self.service_ms(len(packets)), self._ready, lane, conclusion)

    def _ready(self, lane: Lane, conclusion: Conclusion) -> None:
        conclusion.is_ready = True
        while lane.order and (lane.order[0].is_ready or lane.order[0].is_dropped):
            first = lane.order.pop(0)
            if not first.is_dropped and first.effect.job in self._runs:
                self._report(lane, first.effect)

    def _report(self, lane: Lane, effect: au.Conclude) -> None:
        for job_id in effect.merged:
            if (merged := self._runs.pop(job_id, None)) is not None:
                self._result(merged, merged_into=effect.job, extra={"reason": "NO_TEXT_ASSIGNED"})
        run = self._runs.pop(effect.job)
        packets = [packet for batch in effect.batches for packet in lane.texts.pop(batch, [])]
        text = speech.write(packets)
        carried_ms = effect.carried_ms or None
        extra = None if text else {"reason": "ASR_EMPTY"}
        src_lang, tgt_lang = spoken(run.assign, packets)
        taken = [wire.TakenOver(job_id=one.job, ms=one.ms) for one in effect.taken]
        self._result(
            run, src_lang=src_lang, tgt_lang=tgt_lang, text_asr=text,
            text_translated=f"[{tgt_lang}] {text}" if text else "", extra=extra, carried_ms=carried_ms,
            taken_over=taken,
        )  # fmt: skip
        lane.driver.post(au.JobReported(effect.job))

    def _fail(self, lane: Lane, conclusion: Conclusion) -> None:
        if (run := self._runs.pop(conclusion.effect.job, None)) is not None and not conclusion.is_dropped:
            error = wire.NodeFault(code="PROCESSING_ERROR", message="poison", details={"retryable": True})
            self._result(run, success=False, error=error)
            lane.driver.post(au.JobDropped(conclusion.effect.job))
        conclusion.is_dropped = True
        self._ready(lane, conclusion)

    def _give_up(self, lane: Lane, job_id: JobId) -> None:
        for one in lane.order:
            if one.effect.job == job_id:
                one.is_dropped = True

    def _result(self, run: Run, *, success: bool = True, **fields: Any) -> None:
        result = wire.JobResult(
            **self._names(run), utterance_index=run.assign.utterance_index, success=success, **fields
        )
        run.is_over = True
        self.note("answered", run.assign.job_id, run.attempt, fields.get("text_asr") or "–")
        outgoing = Outgoing(result, b"")
        self._outbox.add(outgoing)
        if self.is_registered:
            self._post(outgoing)
            self._ping()

    def _acknowledge(self, run: Run) -> None:
        self.send(wire.JobAck(**self._names(run)))

    def _start(self, run: Run) -> None:
        run.is_held = False
        if not run.is_started:
            run.is_started = True
            self.send(wire.JobStarted(**self._names(run)))

    def _reject(self, assign: wire.JobAssign, code: str) -> None:
        retry = 1000 if code == "FULL" else None
        self.send(wire.JobReject(job_id=assign.job_id, attempt_id=assign.attempt_id, code=code, retry_after_ms=retry))

    def _names(self, run: Run) -> dict[str, Any]:
        assign = run.assign
        return {
            "job_id": assign.job_id, "attempt_id": run.attempt, "node_id": self.plan.name,
            "session_id": assign.session_id, "trace_id": assign.trace_id,
        }  # fmt: skip


def _recognise(lane: Lane, batch: au.Batch) -> list[speech.Packet]:
    """Which packets the samples of a batch are of. One that is cut in two is heard on the side of its greater part."""
    heard: list[speech.Packet] = []
    for audio in batch.audio:
        if len(audio) % SAMPLES == 0:
            values = audio[SAMPLES // 2 :: SAMPLES]
        else:
            # Samples of one packet are all alike: a packet begins where the next sample is another.
            starts = np.concatenate(([0], np.flatnonzero(audio[1:] != audio[:-1]) + 1))
            values = audio[starts[np.diff(starts, append=len(audio)) * 2 > SAMPLES]]
        numbers = np.rint((values.astype(np.float64) - _BASE) / _STEP).astype(np.int64)
        heard += [lane.packets[number] for number in numbers.tolist()]
    return heard
