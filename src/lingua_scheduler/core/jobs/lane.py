"""The unsettled jobs of one target language, in index order, and the audio that nodes keep between them.

Audio that a node keeps of one job is said by the next job of the lane. So while anything may be kept the lane is
*bound*: its jobs are sent one after the other, each to the node that keeps audio for it where that can be had. A lane
that is not bound sends its jobs as they come.
"""

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

from lingua_scheduler.core.jobs.carry import Piece, is_same_connection
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import NodeTraits
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.phases import UNPLACED, UNSENT, Phase
from lingua_scheduler.protocol.ids import JobId, Language

ANSWERED_KEPT = 32


@dataclass(slots=True)
class Lane:
    tgt_lang: Language
    jobs: list[Job] = field(default_factory=list[Job])
    """Unsettled, by index."""
    carry: list[Piece] = field(default_factory=list[Piece])
    """Audio of settled jobs that the next job to be sent has to say, in order."""
    silent_keeper: NodeTraits | None = None
    """A node of protocol 1 that may keep the end of a settled job without having said how much."""
    answered: deque[tuple[JobId, NodeTraits]] = field(default_factory=lambda: deque(maxlen=ANSWERED_KEPT))
    """The jobs that succeeded last, and where: a merge into one of them counts only if it was there."""

    told_unsaid: set[int] = field(default_factory=set[int])
    """Utterances whose end is carried, and was told to be in no result: nobody was there to say it."""
    said: deque[JobId] = field(default_factory=lambda: deque(maxlen=ANSWERED_KEPT))
    """Whose audio, to its end, the results that came last have said."""

    @property
    def is_idle(self) -> bool:
        return not self.jobs and not self.carry and self.silent_keeper is None

    def add(self, job: Job) -> None:
        insort(self.jobs, job, key=lambda one: one.index)

    def give(self, pieces: list[Piece]) -> None:
        """Let the next job to be sent say `pieces`."""
        for piece in pieces:
            insort(self.carry, piece, key=lambda one: one.order)

    def carry_for(self, job: Job) -> list[Piece]:
        """What the lane carries from before `job`."""
        return [piece for piece in self.carry if piece.utterance.index < job.index]

    def before(self, job: Job) -> list[Job]:
        return self.jobs[: self.jobs.index(job)]

    def after(self, job: Job) -> list[Job]:
        return self.jobs[self.jobs.index(job) + 1 :]

    def is_gated(self, job: Job, config: JobsConfig) -> bool:
        """Whether an earlier job must be sent first, or the audio is not here (again)."""
        if not job.utterance.audio:
            return True
        earlier = self.before(job)
        if not any(one.phase in UNSENT for one in earlier):
            return False
        is_kept = bool(self.carry_for(job)) or self.silent_keeper is not None
        return is_kept or any(one.may_be_kept(config) for one in earlier)

    def is_overtaking(self, job: Job, config: JobsConfig) -> bool:
        """Whether `job`, already placed, stands in the way of an earlier one that is not."""
        return any(one.phase in UNPLACED for one in self.before(job)) and self.is_gated(job, config)

    def must_park(self, job: Job, config: JobsConfig) -> bool:
        """Whether a predecessor on another node may still leave the end of its audio to `job`.

        Only a maximal utterance on a node of protocol 2 does: its result tells. A short one that is held elsewhere is
        processed there by itself, and a node of protocol 1 would not say.
        """
        for one in self.before(job):
            if not one.may_be_kept(config):
                continue
            if one.phase in UNSENT:
                return True
            if one.node is None or one.node.protocol == 1 or is_same_connection(one.node, job.node):
                continue
            if one.phase is not Phase.HELD and one.cut(config) == "max_duration":
                return True
        return False

    def keeper_for(self, job: Job, config: JobsConfig) -> NodeTraits | None:
        """The node that keeps, or may keep, audio which `job` has to say."""
        kept = [piece.keeper for piece in job.inherited if piece.keeper]
        if kept:
            return kept[-1]
        earlier = self.before(job)
        if earlier:
            return earlier[-1].node if earlier[-1].may_be_kept(config) else None
        kept = [piece.keeper for piece in self.carry_for(job) if piece.keeper]
        return kept[-1] if kept else self.silent_keeper

    def heir_of(self, job: Job) -> Job | None:
        """The job that takes over, on `job`'s node, what that keeps of it: the next one that came there."""
        there = [one for one in self.after(job) if one.is_sent_to(job.node) and one.sent_number > job.sent_number]
        return min(there, key=lambda one: one.sent_number, default=None)

    def is_followed(self, job: Job) -> bool:
        """Whether some later job can still say what `job`'s node keeps of it."""
        return self.heir_of(job) is not None or any(one.phase in UNSENT for one in self.after(job))

    def take_carry(self, job: Job) -> None:
        """`job` is about to be sent: what the lane carries and can stand in front of it becomes its own to say."""
        taken = [
            piece
            for piece in self.carry_for(job)
            if is_same_connection(piece.keeper, job.node) or piece.fits(job.utterance)
        ]
        self.carry = [piece for piece in self.carry if piece not in taken]
        job.inherited = sorted([*job.inherited, *taken], key=lambda piece: piece.order)
