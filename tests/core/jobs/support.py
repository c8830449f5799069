"""Short words for long scenarios: a job machine, its world in one hand, and audio whose every sample is its own."""

from dataclasses import replace
from typing import Any, Literal, TypeVar

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import JobEffect, JobEvent, NodeTraits
from lingua_scheduler.core.jobs.machine import JobsMachine
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.placement import NoNodeReason, Queued, Selected, SelectReply, Unplaced
from lingua_scheduler.core.utterance import FinalizeReason, JobSpec, Missing, Speaker, Translated, Utterance
from lingua_scheduler.protocol.ids import GroupId, InstanceId, JobId, Language, NodeId, SessionId, TraceId
from lingua_scheduler.protocol.node import JobResult, NodeFault

T = TypeVar("T", bound=JobEffect)

RATE = 16_000
EN, ES, DE = Language("en"), Language("es"), Language("de")
HERE = InstanceId("here")

SPEAKER = Speaker(SessionId("s"), TraceId("t"), EN)


def node(name: str, protocol: Literal[1, 2] = 2, epoch: int = 1) -> NodeTraits:
    return NodeTraits(NodeId(name), HERE, protocol, epoch)


A, B, C, D = (node(name) for name in "ABCD")
OLD = node("OLD", 1)


_LAP = b"".join(at.to_bytes(2, "little") for at in range(1 << 16))


def pcm(start: int, samples: int) -> bytes:
    """Samples that say where on the time line they are (modulo 2^16)."""
    first = start % (1 << 16)
    laps = (first + samples) // (1 << 16) + 1
    return (_LAP * laps)[2 * first : 2 * (first + samples)]


def utterance(
    index: int, ms: int = 2000, reason: FinalizeReason = FinalizeReason.IS_FINAL, start_ms: int | None = None
) -> Utterance:
    start = (index * 20_000 if start_ms is None else start_ms) * RATE // 1000
    samples = ms * RATE // 1000
    return Utterance(
        index=index,
        audio=pcm(start, samples),
        audio_format="pcm16",
        sample_rate=RATE,
        start_samples=start,
        samples=samples,
        reason=reason,
        finalized_at_ms=0,
        padding_ms=280,
        group_id=GroupId("g"),
        part_index=0,
    )


def spec(
    index: int = 0,
    ms: int = 2000,
    reason: FinalizeReason = FinalizeReason.IS_FINAL,
    tgt: Language = ES,
    start_ms: int | None = None,
) -> JobSpec:
    return JobSpec(JobId(f"j{index}-{tgt}"), SPEAKER, utterance(index, ms, reason, start_ms), tgt)


MANUAL, TIMEOUT, MAX = FinalizeReason.IS_FINAL, FinalizeReason.TIMEOUT, FinalizeReason.MAX_DURATION


def job_id(index: int = 0, tgt: Language = ES) -> JobId:
    return JobId(f"j{index}-{tgt}")


class World:
    """A machine and the hand that feeds it. Every step checks the machine's invariants."""

    def __init__(self, **settings: Any) -> None:
        self.config = JobsConfig(**settings)
        self.machine = JobsMachine(self.config, HERE)
        self.now = 1_000
        self.all: list[JobEffect] = []
        self.last: list[JobEffect] = []

    def feed(self, event: JobEvent) -> list[JobEffect]:
        self.last = self.machine.handle(event, self.now)
        self.all += self.last
        self.machine.check()
        return self.last

    def pass_ms(self, ms: int) -> list[JobEffect]:
        """Let time pass, with every deadline kept on the way."""
        effects: list[JobEffect] = []
        end = self.now + ms
        while (deadline := self.machine.next_deadline_ms()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.feed(ev.TimeReached())
        self.now = end
        self.last = effects
        return effects

    # what the machine wants

    def of(self, kind: type[T], effects: list[JobEffect] | None = None) -> list[T]:
        return [effect for effect in (self.last if effects is None else effects) if isinstance(effect, kind)]

    def one(self, kind: type[T]) -> T:
        (effect,) = self.of(kind)
        return effect

    def phase(self, index: int = 0, tgt: Language = ES) -> Phase:
        job = self.machine.book.jobs.get(job_id(index, tgt))
        return job.phase if job else Phase.GONE

    def attempt(self, index: int = 0, tgt: Language = ES) -> int:
        return self.machine.book.jobs[job_id(index, tgt)].attempt

    def outcomes(self) -> dict[int, Translated | Missing]:
        return {effect.index: effect.outcome for effect in self.of(ev.Conclude, self.all)}

    def missing(self, index: int = 0) -> str:
        outcome = self.outcomes()[index]
        assert isinstance(outcome, Missing)
        return outcome.reason

    def freed(self) -> list[int]:
        return [effect.index for effect in self.of(ev.FreeAudio, self.all)]

    # what the world does

    def request(self, index: int = 0, **settings: Any) -> list[JobEffect]:
        return self.feed(ev.JobRequested(spec(index, **settings)))

    def select(self, where: NodeTraits, index: int = 0, tgt: Language = ES) -> list[JobEffect]:
        attempt = self.attempt(index, tgt)
        reply = Selected(where.node_id, where.instance_id, attempt, "two_choices")
        return self.feed(ev.PlacementReplied(job_id(index, tgt), attempt, reply, where))

    def reply(self, reply: SelectReply, index: int = 0) -> list[JobEffect]:
        return self.feed(ev.PlacementReplied(job_id(index), self.attempt(index), reply))

    def queue(self, index: int = 0, position: int = 1) -> list[JobEffect]:
        return self.reply(Queued(position, 500), index)

    def unplace(self, reason: NoNodeReason, index: int = 0, **counts: int) -> list[JobEffect]:
        return self.reply(Unplaced(reason, counts), index)

    def ack(self, where: NodeTraits, index: int = 0) -> list[JobEffect]:
        return self.feed(ev.NodeAccepted(job_id(index), self.attempt(index), where.node_id))

    def start(self, where: NodeTraits, index: int = 0) -> list[JobEffect]:
        return self.feed(ev.NodeStarted(job_id(index), self.attempt(index), where.node_id))

    def hold(self, where: NodeTraits, index: int = 0, deadline_ms: int = 10_000) -> list[JobEffect]:
        return self.feed(ev.NodeHeld(job_id(index), self.attempt(index), where.node_id, deadline_ms))

    def partial(self, where: NodeTraits, index: int = 0, text: str = "hel", *, is_final: bool = False):
        return self.feed(ev.NodePartial(job_id(index), where.node_id, text, is_final))

    def reject(self, where: NodeTraits, index: int = 0, code: str = "FULL", retry_after_ms: int = 0):
        attempt = self.attempt(index)
        return self.feed(ev.NodeRejected(job_id(index), attempt, where.node_id, code, retry_after_ms))

    def result(self, where: NodeTraits, index: int = 0, tgt: Language = ES, **fields: Any) -> list[JobEffect]:
        """A success with text unless the fields say otherwise; `attempt` defaults to the current one."""
        job = self.machine.book.jobs.get(job_id(index, tgt))
        attempt = fields.pop("attempt", job.attempt if job else 1)
        defaults: dict[str, Any] = {"success": True, "text_asr": "hello", "text_translated": "hola", **fields}
        message = JobResult(
            job_id=job_id(index, tgt),
            attempt_id=attempt,
            node_id=where.node_id,
            session_id="s",
            utterance_index=index,
            trace_id="t",
            **defaults,
        )
        return self.feed(ev.ResultArrived(message, where.node_id))

    def empty(self, where: NodeTraits, index: int = 0, reason: str | None = None, **fields: Any) -> list[JobEffect]:
        extra = {"reason": reason} if reason else None
        return self.result(where, index, text_asr="", text_translated="", extra=extra, **fields)

    def error(self, where: NodeTraits, index: int = 0, code: str = "PROCESSING_ERROR", **fields: Any):
        fault = NodeFault(code=code, message="it broke", **fields)
        return self.result(where, index, success=False, text_asr=None, text_translated=None, error=fault)

    def finish(self, index: int = 0, tgt: Language = ES, word: str = "OK") -> list[JobEffect]:
        return self.feed(ev.FinishReplied(job_id(index, tgt), self.attempt(index, tgt), word))

    def requeue(self, index: int = 0, word: str = "OK") -> list[JobEffect]:
        return self.feed(ev.RequeueReplied(job_id(index), self.attempt(index), word))

    def lose(self, where: NodeTraits, cause: Literal["closed", "suspect", "lost", "replaced"] = "closed"):
        return self.feed(ev.NodeLost(where.node_id, cause, where.epoch))

    def fail_store(self, operation: Literal["select", "finish", "requeue", "renew"], index: int = 0):
        return self.feed(ev.StoreFailed(job_id(index), self.attempt(index), operation))

    # shortcuts

    def run(self, where: NodeTraits, index: int = 0, **settings: Any) -> list[JobEffect]:
        """A job from request to sent."""
        self.request(index, **settings)
        return self.select(where, index)

    def again(self, where: NodeTraits, index: int = 0) -> list[JobEffect]:
        """The next attempt, from the reply of the store to sent."""
        self.requeue(index)
        return self.select(where, index)

    def conclude(self, where: NodeTraits, index: int = 0, **fields: Any) -> list[JobEffect]:
        self.result(where, index, **fields)
        return self.finish(index)


def with_pipeline(one: JobSpec, **settings: Any) -> JobSpec:
    return replace(one, speaker=replace(one.speaker, **settings))


def samples(start_ms: int, stop_ms: int) -> bytes:
    per_ms = RATE // 1000
    return pcm(start_ms * per_ms, (stop_ms - start_ms) * per_ms)


def monologue(**settings: int) -> World:
    """Ten seconds cut by the clock, running on A; the next utterance begins where they end."""
    world = World(**settings)
    world.run(A, 0, ms=10_000, reason=MAX, start_ms=0)
    return world


def request_next(world: World, index: int = 1, ms: int = 2_000, reason: FinalizeReason = FinalizeReason.IS_FINAL):
    return world.request(index, ms=ms, reason=reason, start_ms=10_000 + 2_000 * (index - 1))
