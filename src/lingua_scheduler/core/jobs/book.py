"""What the job machine remembers, and the few ways in which it changes: the state that its parts share."""

from collections.abc import Iterable

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.carry import Piece, is_same_connection, tail_of
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import JobEffect, NodeTraits
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.lane import Lane
from lingua_scheduler.core.jobs.ledger import Custody, IndexSet
from lingua_scheduler.core.jobs.phases import SENT, TRANSITIONS, Phase
from lingua_scheduler.core.utterance import JobSpec, Tail
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId
from lingua_scheduler.protocol.messages import UiEventName

LANES_MAX = 64
"""Languages whose concluded jobs are remembered; past so many the idle one that was used first is forgotten."""


LEFT_NODES_MAX = 64
LEFT_JOBS_MAX = 32
"""Of a node; of more the oldest are forgotten, as the node has forgotten them by then."""


class Book:
    """The open jobs of one session by id and by lane, the claims on their audio, and the effects of one event."""

    def __init__(self, config: JobsConfig, instance_id: InstanceId) -> None:
        self.config = config
        self.instance_id = instance_id
        self.now_ms = 0
        self.out: list[JobEffect] = []
        self.jobs: dict[JobId, Job] = {}
        """All that are not gone, in the order of their requests."""
        self.lanes: dict[Language, Lane] = {}
        self.concluded: dict[Language, IndexSet] = {}
        self.custody = Custody()
        self.sent_count = 0
        self.seen_by: dict[tuple[str, int], set[NodeId]] = {}
        """Nodes of protocol 1 that were sent an utterance of which a job is open, by the session that they know."""
        self.left: dict[NodeId, dict[JobId, int]] = {}
        """Jobs of which a node may still have audio that is not its own to say any more, by the epoch of the connection
        on which it had it: a lost one may come back with all that it knew."""
        self.speech_goes_on = False
        """Audio beyond the last utterance has arrived."""
        self.has_ended = False

    def emit(self, effect: JobEffect) -> None:
        self.out.append(effect)

    def move(self, job: Job, phase: Phase, deadline_ms: int | None = None) -> None:
        """The one place where a phase changes; whatever timer ran before is over."""
        assert (job.phase, phase) in TRANSITIONS, f"{job.job_id}: {job.phase} → {phase}"
        job.phase = phase
        job.deadline_ms = deadline_ms

    def tell(self, job: Job, event: UiEventName, code: ErrorCode | None = None, shortage: str = "") -> None:
        """Progress, once per job and kind."""
        if event not in job.told:
            job.told.add(event)
            self.emit(ev.Progress(job.job_id, job.index, event, code, shortage))

    def cancel_on(self, node: NodeTraits | None, job_id: JobId, reason: str) -> None:
        """Let `node` forget the job, its audio, and the audio that it took over."""
        if node is not None:
            self.emit(ev.SendCancel(node, job_id, reason))
            self.leave(node, job_id)

    def leave(self, node: NodeTraits, job_id: JobId) -> None:
        """`node` was not told to forget the job, or may be lost before it hears so."""
        there = self.left.setdefault(node.node_id, {})
        there[job_id] = node.epoch
        if len(there) > LEFT_JOBS_MAX:
            del there[next(iter(there))]
        if len(self.left) > LEFT_NODES_MAX:
            del self.left[next(iter(self.left))]

    def clear(self, node: NodeTraits) -> None:
        """Before it is sent anything on a new connection, a node forgets what it has from an older one."""
        for job_id, epoch in self.left.pop(node.node_id, {}).items():
            if epoch != node.epoch:
                self.emit(ev.SendCancel(node, job_id, "left_behind"))

    def lane_of(self, job: Job) -> Lane:
        return self.lanes[job.spec.tgt_lang]

    def open(self, spec: JobSpec) -> Job:
        job = Job(spec)
        self.jobs[spec.job_id] = job
        self.lane(spec.tgt_lang).add(job)
        self.custody.claim(job.index)
        return job

    def lane(self, tgt_lang: Language) -> Lane:
        """The lane of a language, made where there is none."""
        if tgt_lang not in self.lanes:
            self._make_room()
            self.lanes[tgt_lang] = Lane(tgt_lang)
            self.concluded.setdefault(tgt_lang, IndexSet())
        return self.lanes[tgt_lang]

    def tails(self) -> tuple[Tail, ...]:
        """Ends of utterances that others than their own jobs have to say: what the next owner must know."""
        found = [(piece, lane.tgt_lang, None) for lane in self.lanes.values() for piece in lane.carry]
        found += [(piece, job.spec.tgt_lang, job.job_id) for job in self.jobs.values() for piece in job.inherited]
        tails = [Tail(one.job_id, one.utterance.index, tgt_lang, one.samples, heir) for one, tgt_lang, heir in found]
        said = [job for lane in self.lanes.values() for job in lane.jobs if job.said_samples]
        tails += [Tail(job.job_id, job.index, job.spec.tgt_lang, job.said_samples, None, is_said=True) for job in said]
        return tuple(tails)

    def refill(self, index: int, audio: bytes) -> None:
        """The audio of an utterance is here again: for whoever has its end to say."""
        for lane in self.lanes.values():
            lane.carry = [piece.refilled(index, audio) for piece in lane.carry]
        for job in self.jobs.values():
            job.inherited = [piece.refilled(index, audio) for piece in job.inherited]

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        """Jobs that have a slot of the node and are at work there or about to be, with their attempts.

        Only those that were placed under `since_epoch` or a later one.
        """
        there = [one for one in self.jobs.values() if one.phase in SENT or one.phase is Phase.PARKED]
        return [
            (one.job_id, one.attempt)
            for one in there
            if one.node is not None and one.node.node_id == node_id and one.node.epoch >= since_epoch
        ]

    def sent(self) -> list[tuple[NodeTraits, JobId, int]]:
        """Jobs that a node has been sent and not answered, with their attempts."""
        there = [one for one in self.jobs.values() if one.phase in SENT]
        return [(one.node, one.job_id, one.attempt) for one in there if one.node is not None]

    def kept_on(self, node: NodeTraits) -> list[JobId]:
        """Jobs that the node works on or has finished, and whose audio it is counted on to say."""
        here = [one for one in self.jobs.values() if is_same_connection(one.node, node)]
        working = [one for one in here if one.phase in SENT or one.phase is Phase.WITHHELD]
        # Of what an adopted job has to say before its own, the keeper is not known: it was sent to this node.
        pieces = [piece for job in working for piece in job.inherited]
        waiting = [piece for lane in self.lanes.values() for piece in lane.carry]
        waiting += [piece for job in self.jobs.values() for piece in job.inherited]
        pieces += [piece for piece in waiting if is_same_connection(piece.keeper, node)]
        return sorted({*(one.job_id for one in working), *(piece.job_id for piece in pieces)})

    def _make_room(self) -> None:
        if len(self.concluded) < LANES_MAX:
            return
        busy = {job.spec.tgt_lang for job in self.jobs.values()}
        idle = next((lang for lang, lane in self.lanes.items() if lane.is_idle and lang not in busy), None)
        if idle is not None:
            del self.lanes[idle], self.concluded[idle]

    def give_up(self, indices: Iterable[int]) -> None:
        """One claim less on the audio of each of the utterances."""
        for index in indices:
            if self.custody.give_up(index):
                self.emit(ev.FreeAudio(index))

    def claim(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self.custody.claim(piece.utterance.index)

    def bequeath(self, job: Job, samples: int, keeper: NodeTraits | None) -> None:
        """The last `samples` samples of what `job` had to say, kept by `keeper`, are the next job's to say."""
        if job.said_samples:
            return  # a later one's result had them, and was here first
        if any(is_same_connection(one.cancelled_on, keeper) for one in self.lane_of(job).after(job)):
            self.cancel_on(keeper, job.job_id, "sent_elsewhere")
            keeper = None
        pieces = tail_of(job.line, samples, keeper)
        self.claim(pieces)
        lane = self.lane_of(job)
        heir = lane.heir_of(job) if keeper is not None else None
        if heir is not None:
            self.inherit(heir, pieces)
        else:
            lane.give(pieces)

    def hand_on(self, job: Job, carried: int, keeper: NodeTraits | None) -> None:
        """`job` has its result: what that leaves unsaid is the next one's to say."""
        lane = self.lane_of(job)
        left = [piece for piece in job.inherited if piece.job_id in job.unsaid]
        job.inherited = [piece for piece in job.inherited if piece not in left]
        lane.give(self.take_back(left, "not_said"))
        self.bequeath(job, carried, keeper)
        lane.said.extend(piece.job_id for piece in job.inherited)
        if not carried:
            lane.said.append(job.job_id)

    def inherit(self, job: Job, pieces: list[Piece]) -> None:
        job.inherited = sorted([*job.inherited, *pieces], key=lambda piece: piece.order)

    def lose_keeper(self, lost: "LostNode") -> None:
        """No audio is kept on a lost node: whoever is to say it must be sent it."""
        for lane in self.lanes.values():
            lane.carry = [self._orphaned(piece, lost) for piece in lane.carry]
            if lane.silent_keeper is not None and lost.covers(lane.silent_keeper):
                lane.silent_keeper = None

    def _orphaned(self, piece: Piece, lost: "LostNode") -> Piece:
        if piece.keeper is None or not lost.covers(piece.keeper):
            return piece
        if lost.may_return:
            self.cancel_on(piece.keeper, piece.job_id, "node_suspect")
        else:
            self.leave(piece.keeper, piece.job_id)
        return piece.without_keeper()

    def take_back(self, pieces: list[Piece], reason: str) -> list[Piece]:
        """Whoever keeps the pieces is told to forget them: they will be sent again."""
        for piece in pieces:
            self.cancel_on(piece.keeper, piece.job_id, reason)
        return [piece.without_keeper() for piece in pieces]


class LostNode:
    """A lost node, as `NodeLost` describes it: every connection of it up to `epoch`."""

    __slots__ = ("_epoch", "_node_id", "may_return")

    def __init__(self, event: ev.NodeLost) -> None:
        self._node_id = event.node_id
        self._epoch = event.epoch
        self.may_return = event.cause == "suspect"

    def covers(self, node: NodeTraits) -> bool:
        return node.node_id == self._node_id and (self._epoch is None or node.epoch <= self._epoch)
