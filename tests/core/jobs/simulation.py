"""A random world for one job machine: a store that fails, nodes that hold, carry, err, die and come back.

Nodes keep audio as real ones do. What a node "recognises" is the positions of the samples it had, so the outcomes show
exactly which samples were said, by whom, and how often.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import JobEffect, JobEvent, NodeTraits
from lingua_scheduler.core.jobs.machine import JobsMachine
from lingua_scheduler.core.placement import NoNodeReason, Queued, Selected, SelectRequest, Unplaced
from lingua_scheduler.core.utterance import FinalizeReason, JobSpec, Missing, Translated, Utterance
from lingua_scheduler.protocol.ids import GroupId, JobId, NodeId
from lingua_scheduler.protocol.node import JobResult, NodeFault, TakenOver
from tests.core.jobs.support import ES, HERE, MANUAL, MAX, SPEAKER, TIMEOUT, pcm

RATE = 1_000
"""One sample is a millisecond: positions are easy to read."""

Span = tuple[int, int]


def minus(spans: list[Span], others: list[Span]) -> list[Span]:
    """The parts of `spans` that are in none of `others`."""
    left = spans
    for start, stop in others:
        left = [part for a, b in left for part in ((a, min(b, start)), (max(a, stop), b)) if part[0] < part[1]]
    return left


def length(spans: list[Span]) -> int:
    return sum(stop - start for start, stop in spans)


def last(spans: list[Span], samples: int) -> list[Span]:
    tail: list[Span] = []
    for start, stop in reversed(spans):
        taken = min(samples, stop - start)
        if taken:
            tail.insert(0, (stop - taken, stop))
        samples -= taken
    return tail


def positions(audio: bytes) -> list[Span]:
    """Where on the time line the samples of `audio` lie, joined where they touch."""
    spans: list[Span] = []
    for at in range(0, len(audio), 2):
        here = int.from_bytes(audio[at : at + 2], "little")
        if spans and spans[-1][1] == here:
            spans[-1] = (spans[-1][0], here + 1)
        else:
            spans.append((here, here + 1))
    return spans


@dataclass(slots=True)
class Task:
    """A job on a node."""

    job_id: JobId
    attempt: int
    index: int
    cut: str
    own: list[Span]
    taken: list[Span]
    """Audio of earlier jobs that it took over."""
    is_held: bool = False
    is_late: bool = False
    """It came after its turn: processed at once and alone."""

    @property
    def spans(self) -> list[Span]:
        return sorted([*self.taken, *self.own])


@dataclass(slots=True)
class FakeNode:
    """A worker of protocol 2 that keeps audio as it is told to: one lane."""

    traits: NodeTraits
    is_alive: bool = True
    tasks: dict[JobId, Task] = field(default_factory=dict[JobId, Task])
    tail: dict[JobId, list[Span]] = field(default_factory=dict[JobId, list[Span]])
    """Carried audio that waits for the next job, by the job that left it."""
    origins: dict[JobId, dict[JobId, list[Span]]] = field(default_factory=dict[JobId, dict[JobId, list[Span]]])
    """Tails that a job took over, by the job that left them."""
    outbox: list[JobEvent] = field(default_factory=list[JobEvent])
    newest_index: int = -1
    spoken: dict[JobId, Span] = field(default_factory=dict[JobId, Span])
    """Where each utterance lies."""
    tells: bool = True
    """Its results name what they took over."""

    def assign(self, effect: ev.SendAssign) -> None:
        assign = effect.assign
        job_id = JobId(assign.job_id)
        if job_id in self.tasks:
            self.tasks[job_id].attempt = assign.attempt_id
            return
        spans = positions(effect.audio)
        ahead = assign.carried_audio_ms or 0
        own = last(spans, length(spans) - ahead)
        head = minus(spans, own)
        here = [span for task in self.tasks.values() for span in task.spans]
        is_late = assign.utterance_index < self.newest_index
        tails = [] if is_late else [span for tail in self.tail.values() for span in tail]
        missing = minus(head, [*here, *tails])
        cut = "manual" if assign.is_manual_cut else "timeout" if assign.is_timeout_triggered else "none"
        cut = "max_duration" if assign.is_max_duration_triggered else cut
        cut = "manual" if is_late else cut
        self.tasks[job_id] = Task(
            job_id, assign.attempt_id, assign.utterance_index, cut, own, [*tails, *missing], is_late=is_late
        )
        self.newest_index = max(self.newest_index, assign.utterance_index)
        if not is_late:
            self.origins[job_id] = self.tail
            self.tail = {}

    def cancel(self, job_id: JobId) -> None:
        """Forget the job, what it took over, and what it left."""
        self.tasks.pop(job_id, None)
        self.tail.pop(job_id, None)
        for taker, origins in self.origins.items():
            gone = origins.pop(job_id, [])
            if gone and taker in self.tasks:
                self.tasks[taker].taken = minus(self.tasks[taker].taken, gone)

    def result(self, task: Task, **fields: Any) -> None:
        settled: dict[str, Any] = {"success": True, **fields}
        message = JobResult(
            job_id=task.job_id,
            attempt_id=task.attempt,
            node_id=self.traits.node_id,
            session_id="s",
            utterance_index=task.index,
            trace_id="t",
            **settled,
        )
        self.outbox.append(ev.ResultArrived(message, self.traits.node_id))

    def process(self, task: Task, random: Random) -> None:
        """The job's turn: held jobs before it become part of it."""
        name = self.traits.node_id
        if not task.is_held and self._keeps(task):
            task.is_held = True
            self.outbox.append(ev.NodeHeld(task.job_id, task.attempt, name, 10_000))
            return
        carried = 0
        merged = [one for one in self.tasks.values() if one.is_held and one.index < task.index and not task.is_late]
        for one in merged:
            task.taken = sorted([*task.taken, *one.spans])
            self.result(one, merged_into=task.job_id)
            del self.tasks[one.job_id]
        if task.cut == "max_duration" and not task.is_held:
            carried = random.randrange(length(task.own))
        tail = last(task.own, carried)
        said = minus(task.spans, tail)
        taken_over = self._taken_over(minus(said, task.own)) if self.tells else None
        self.result(task, text_asr=repr(said), carried_ms=carried or None, taken_over=taken_over)
        del self.tasks[task.job_id]
        if tail:
            heir = next((one for one in self.tasks.values() if one.index > task.index and not one.is_late), None)
            if heir is None:
                self.tail[task.job_id] = tail
            else:
                heir.taken = sorted([*heir.taken, *tail])
                self.origins[heir.job_id][task.job_id] = tail

    def _taken_over(self, spans: list[Span]) -> list[TakenOver]:
        """Each sample by the utterance that it is of: it was sent with that, or in front of this one."""
        parts = {job_id: length(spans) - length(minus(spans, [span])) for job_id, span in self.spoken.items()}
        return [TakenOver(job_id=job_id, ms=samples) for job_id, samples in parts.items() if samples]

    def _keeps(self, task: Task) -> bool:
        if task.cut == "timeout":
            return length(task.spans) < 1000
        return task.cut == "none" and length(task.spans) < 10_000


class Simulation:
    """Feeds the machine with whatever may happen next; `step` does one such thing."""

    def __init__(self, random: Random, config: JobsConfig, *, jobs: int, may_cancel: bool = False) -> None:
        self.random = random
        self.config = config
        self.machine = JobsMachine(config, HERE)
        self.now = 0
        self.may_cancel = may_cancel
        self.left = jobs
        self.position = 0
        self.index = 0
        self.nodes = {name: FakeNode(NodeTraits(NodeId(name), HERE, 2, 1)) for name in "ABC"}
        self.asked: list[ev.SelectNode | ev.FinishJob | ev.RequeueJob] = []
        self.utterances: dict[int, Span] = {}
        self.spoken: dict[JobId, Span] = {}
        for node in self.nodes.values():
            node.spoken, node.tells = self.spoken, random.random() < 0.8
        self.outcomes: dict[JobId, ev.Conclude] = {}
        self.freed: set[int] = set()
        self.attempts_seen: dict[JobId, int] = {}
        self.sent: Counter[JobId] = Counter()
        """Attempts that reached a node."""
        self.faults_left = 40
        self.is_calm = False
        self.is_way_bad = False
        """Reports get lost and overtake each other. Then every node must tell what it took over."""

    # ------------------------------------------------------------------------------------- the machine

    def feed(self, event: JobEvent) -> None:
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        for effect in effects:
            self._perform(effect)
        is_alive = bool(self.asked) or self.machine.next_deadline_ms() is not None
        assert self.machine.is_idle or is_alive, "a job is open and nothing will ever happen"

    def _perform(self, effect: JobEffect) -> None:
        match effect:
            case ev.SelectNode() | ev.FinishJob() | ev.RequeueJob():
                self.asked.append(effect)
            case ev.SendAssign():
                self._assign(effect)
            case ev.SendCancel(traits, job_id):
                node = self.nodes[traits.node_id]
                if node.is_alive and node.traits == traits:
                    node.cancel(job_id)
            case ev.Conclude():
                assert effect.job_id not in self.outcomes, "concluded twice"
                self.outcomes[effect.job_id] = effect
            case ev.FreeAudio(index):
                assert index not in self.freed, "freed twice"
                assert JobId(f"j{index}") in self.outcomes, "freed while its job is open"
                self.freed.add(index)
            case _:
                pass

    def _assign(self, effect: ev.SendAssign) -> None:
        job_id, attempt = JobId(effect.assign.job_id), effect.assign.attempt_id
        assert attempt > self.attempts_seen.get(job_id, 0), "two live attempts"
        self.attempts_seen[job_id] = attempt
        node = self.nodes[effect.node.node_id]
        if node.is_alive and node.traits == effect.node:
            self.sent[job_id] += 1
            assert self.sent[job_id] <= self.config.attempts_max
            if self.faults_left and not self.is_calm and self.random.random() < 0.1:
                self.faults_left -= 1
                node.outbox.append(ev.NodeRejected(job_id, attempt, effect.node.node_id, "FULL"))
            else:
                node.assign(effect)
        else:
            node.outbox.append(ev.AssignFailed(job_id, attempt, effect.node.node_id))

    # ------------------------------------------------------------------------------------- what may happen

    def step(self) -> bool:
        """One thing that can happen; False where nothing can any more."""
        things: list[Callable[[], None]] = []
        if self.left:
            things += [self._request]
            things += [self._continue] * self.machine.awaits_audio
        things += [self._answer] * (2 * bool(self.asked))
        speaking = [node for node in self.nodes.values() if node.outbox]
        working = [node for node in self.nodes.values() if node.tasks and node.is_alive]
        things += [lambda: self._speak(speaking)] * (2 * bool(speaking))
        things += [lambda: self._work(working)] * (2 * bool(working))
        if not things or self.random.random() < 0.05:
            things += [self._pass_time] * (self.machine.next_deadline_ms() is not None)
        if self.faults_left and not self.is_calm and self.random.random() < 0.15:
            things = [self._fault]
        if not things:
            return False
        self.random.choice(things)()
        return True

    def finish(self) -> None:
        """Let everything come to its end, with a healthy world."""
        self.is_calm = True
        for node in self.nodes.values():
            self._revive(node)
        for _ in range(3_000):
            if not self.step():
                break
        else:
            raise AssertionError(f"no end: {[(job.job_id, job.phase) for job in self.machine.book.jobs.values()]}")

    def _request(self) -> None:
        reason = self.random.choice([MANUAL, TIMEOUT, MAX, MAX, FinalizeReason.SESSION_CLOSE])
        self.say(reason, self.random.choice([100, 300, 900, 1500]))

    def say(self, reason: FinalizeReason, samples: int) -> None:
        self.left = max(0, self.left - 1)
        start = self.position
        self.position += samples
        utterance = Utterance(
            index=self.index,
            audio=pcm(start, samples),
            audio_format="pcm16",
            sample_rate=RATE,
            start_samples=start,
            samples=samples,
            reason=reason,
            finalized_at_ms=self.now,
            padding_ms=0,
            group_id=GroupId("g"),
            part_index=0,
        )
        self.utterances[self.index] = self.spoken[JobId(f"j{self.index}")] = (start, self.position)
        self.feed(ev.JobRequested(JobSpec(JobId(f"j{self.index}"), SPEAKER, utterance, ES)))
        self.index += 1

    def _continue(self) -> None:
        self.feed(ev.AudioContinued())

    def _answer(self) -> None:
        effect = self.asked.pop(self.random.randrange(len(self.asked)))
        is_failing = not self.is_calm and self.random.random() < 0.1
        match effect:
            case ev.SelectNode(request):
                event = self._placement(request)
                failure = ev.StoreFailed(request.job_id, request.attempt, "select")
            case ev.FinishJob(job_id, attempt):
                event = ev.FinishReplied(job_id, attempt, self.random.choice(["OK", "REPEAT", "STALE_ATTEMPT"]))
                failure = ev.StoreFailed(job_id, attempt, "finish")
            case ev.RequeueJob(job_id, attempt):
                event = ev.RequeueReplied(job_id, attempt, self.random.choice(["OK", "REPEAT", "UNKNOWN_JOB"]))
                failure = ev.StoreFailed(job_id, attempt, "requeue")
        self.feed(failure if is_failing else event)

    def _placement(self, request: SelectRequest) -> ev.PlacementReplied:
        alive = [name for name, node in self.nodes.items() if node.is_alive]
        able = [name for name in alive if name not in request.exclude] or (alive if request.exclude_is_soft else [])
        affinity = request.affinity_node
        if not able:
            reply = Unplaced(NoNodeReason.ALL_EXCLUDED, {"excluded": 3})
            return ev.PlacementReplied(request.job_id, request.attempt, reply)
        if not self.is_calm and self.random.random() < 0.1:
            return ev.PlacementReplied(request.job_id, request.attempt, Queued(1, 100))
        name = affinity if affinity in able and self.random.random() < 0.8 else self.random.choice(able)
        node = self.nodes[name].traits
        reply = Selected(node.node_id, HERE, request.attempt, "two_choices")
        return ev.PlacementReplied(request.job_id, request.attempt, reply, node)

    def _speak(self, nodes: list[FakeNode]) -> None:
        """What a node said arrives; where the way is bad, out of turn or not at all."""
        node = self.random.choice(nodes)
        is_out_of_turn = self.is_way_bad and self.random.random() < 0.2
        report = node.outbox.pop(self.random.randrange(len(node.outbox)) if is_out_of_turn else 0)
        if not (self.is_way_bad and not self.is_calm and self.random.random() < 0.1):
            self.feed(report)

    def _work(self, nodes: list[FakeNode]) -> None:
        node = self.random.choice(nodes)
        waiting = [task for task in node.tasks.values() if not task.is_held]
        held = [task for task in node.tasks.values() if task.is_held]
        if waiting and (not held or self.random.random() < 0.8):
            task = min(waiting, key=lambda one: one.index)
        else:
            task = max(held, key=lambda one: one.index)
        if not self.is_calm and self.random.random() < 0.2:
            self._report(node, task)
        else:
            node.process(task, self.random)

    def _report(self, node: FakeNode, task: Task) -> None:
        name = node.traits.node_id
        match self.random.randrange(3 if self.faults_left else 2):
            case 0:
                node.outbox.append(ev.NodeAccepted(task.job_id, task.attempt, name))
            case 1:
                node.outbox.append(ev.NodeStarted(task.job_id, task.attempt, name))
            case _:
                self.faults_left -= 1
                node.cancel(task.job_id)
                code = self.random.choice(["MODEL_NOT_AVAILABLE", "NODE_OVERLOADED", "MODEL_LOAD_FAILED"])
                node.result(task, success=False, error=NodeFault(code=code, message=""))

    def _pass_time(self) -> None:
        deadline = self.machine.next_deadline_ms()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.feed(ev.TimeReached())

    def _fault(self) -> None:
        self.faults_left -= 1
        node = self.random.choice(list(self.nodes.values()))
        match self.random.randrange(5 if self.may_cancel else 4):
            case 0 | 1:
                if node.is_alive:
                    node.is_alive = False
                    node.outbox.clear()
                    node.tasks.clear()
                    node.tail.clear()
                    self.feed(ev.NodeLost(node.traits.node_id, "closed", node.traits.epoch))
                else:
                    self._revive(node)
            case 2:
                if node.is_alive:
                    self.feed(ev.NodeLost(node.traits.node_id, "suspect", node.traits.epoch))
            case 3:
                self._pass_time() if self.machine.next_deadline_ms() is not None else None
            case _:
                if self.machine.book.jobs:
                    self.feed(ev.CancelRequested(self.random.choice(list(self.machine.book.jobs)), "left"))

    def _revive(self, node: FakeNode) -> None:
        if not node.is_alive:
            node.is_alive = True
            node.outbox.clear()
            node.traits = replace(node.traits, epoch=node.traits.epoch + 1)

    # ------------------------------------------------------------------------------------- what was said

    def said(self) -> dict[int, list[Span]]:
        """By index of the utterance whose outcome says it."""
        spans: dict[int, list[Span]] = {}
        for conclude in self.outcomes.values():
            if isinstance(conclude.outcome, Translated):
                spans[conclude.index] = eval(conclude.outcome.result.text_asr or "[]")
            else:
                assert isinstance(conclude.outcome, Missing)
        return spans
