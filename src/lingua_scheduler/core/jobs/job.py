"""One job as the machine remembers it. Data and questions about it; what happens to it is decided in `machine.py`."""

from dataclasses import dataclass, field
from typing import Literal

from lingua_scheduler.core.jobs.carry import Piece, is_same_connection
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import FinalStatus, NodeTraits
from lingua_scheduler.core.jobs.phases import SENT, Phase
from lingua_scheduler.core.utterance import FinalizeReason, JobSpec, Missing, Outcome, Utterance
from lingua_scheduler.protocol.audio import samples_to_ms
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.protocol.messages import UiEventName

Cut = Literal["manual", "timeout", "max_duration", "none"]
"""How a job tells the node why its utterance ended."""

_CUT_OF_REASON: dict[FinalizeReason, Cut] = {
    FinalizeReason.IS_FINAL: "manual",
    FinalizeReason.TIMEOUT: "timeout",
    FinalizeReason.MAX_DURATION: "max_duration",
    FinalizeReason.MAX_LENGTH: "none",
    FinalizeReason.SESSION_CLOSE: "none",
}


UNSENT_FREE = 8
"""Attempts of a job that do not count because no node was sent them; more would mean that something is wrong."""
NOT_TRIED = Missing("job_failed", ErrorCode.INTERNAL_ERROR, "no attempt was made")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends, settled but not necessarily told yet."""

    status: FinalStatus
    outcome: Outcome
    node_id: NodeId | None = None
    """Whose slot the store is to free."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """The result of an earlier attempt, which stands if no later one does better."""

    ending: Ending
    carried_samples: int
    """How much of the line's end its node carries."""
    said: frozenset[JobId]
    """Whose audio, beside the job's own, it says."""


@dataclass(slots=True, eq=False)
class Job:
    spec: JobSpec
    phase: Phase = Phase.GATED
    attempt: int = 1
    is_asking: bool = False
    """The store owes an answer about a node or about the next attempt: nothing else is asked of it before."""
    node: NodeTraits | None = None
    """Where the current attempt is placed."""
    inherited: list[Piece] = field(default_factory=list[Piece])
    """Audio of earlier utterances that this job has to say, in order."""
    deadline_ms: int | None = None
    """When the timer of the phase ends."""
    give_up_ms: int | None = None
    """End of the pending window; set when the attempt first asks for a node."""
    backoff_ms: int = 0
    """Pause before the next repetition towards a failing store; 0 while it answers."""
    sent_at_ms: int = 0
    sent_number: int = 0
    """Counts the assignments of the session: which of two jobs reached their node first."""
    store_lease_until_ms: int = 0
    failed_on: dict[NodeId, Literal[1, 2]] = field(default_factory=dict[NodeId, Literal[1, 2]])
    """Nodes that had an attempt and their protocol: passed over, those of protocol 1 always."""
    blamed: set[NodeId] = field(default_factory=set[NodeId])
    """Nodes that failed in a way that may be the utterance's fault; counted once it is known not to be."""
    retry_after_ms: int = 0
    """How long the node that failed last wants to be left alone."""
    is_relaxed: bool = False
    """Nodes of protocol 2 that failed the job may have it again: there is no other."""
    is_queued: bool = False
    waits_behind: int = 0
    """How many jobs stood before it in the line when the store was last asked."""
    was_offered: bool = False
    """A slot was offered while the store was being asked."""
    left: NodeTraits | None = None
    """While requeuing: whose slot is given back."""
    cause: str = ""
    """While requeuing: why."""
    is_whole: bool = False
    """Sent as manual whatever its reason, so that nothing of it is carried."""
    fallback: Fallback | None = None
    joined: frozenset[JobId] = frozenset()
    """Whose audio was sent in front, as one stretch with the job's own: a result names that by the job's own id."""
    unsaid: frozenset[JobId] = frozenset()
    """Whose audio, of what was inherited, the result at hand does not say."""
    said_samples: int = 0
    """So much of the utterance's end is in the result of a later job already."""
    cancelled_on: NodeTraits | None = None
    """Where the attempt before was taken back: what it had taken over there is forgotten with it."""
    unsent_count: int = 0
    """Attempts that no node was sent."""
    is_adopted: bool = False
    """Whether, and with what in front, the attempt was sent is not known: another instance began it."""
    fault: Missing = NOT_TRIED
    """How the job ends if no attempt is left."""
    ending: Ending | None = None
    """Set once the outcome is settled; waits for the store's answer to what was asked before."""
    told: set[UiEventName] = field(default_factory=set[UiEventName])

    @property
    def job_id(self) -> JobId:
        return self.spec.job_id

    @property
    def node_session(self) -> str:
        """The session as nodes of protocol 1 know it.

        Such a node takes each utterance of a session once and buffers by session: each language of a room is one to it.
        """
        session_id = self.spec.speaker.session_id
        return f"{session_id}.{self.spec.tgt_lang}" if self.spec.is_for_room else session_id

    @property
    def index(self) -> int:
        return self.spec.utterance.index

    @property
    def utterance(self) -> Utterance:
        return self.spec.utterance

    def keep(self, ending: Ending, carried_samples: int) -> None:
        """Let the result at hand stand if no later attempt does better."""
        inherited = frozenset(piece.job_id for piece in self.inherited)
        self.fallback = Fallback(ending, carried_samples, inherited - self.unsaid)

    def fall_back(self) -> Fallback:
        """No later attempt did better: what was inherited since is not said."""
        assert self.fallback is not None
        self.unsaid = frozenset(piece.job_id for piece in self.inherited) - self.fallback.said
        return self.fallback

    @property
    def line(self) -> list[Piece]:
        """All audio that the job has to say, in order, its own last."""
        return [*self.inherited, Piece(self.job_id, self.utterance, self.utterance.samples, self.node)]

    @property
    def line_samples(self) -> int:
        return sum(piece.samples for piece in self.inherited) + self.utterance.samples

    @property
    def line_ms(self) -> int:
        return samples_to_ms(self.line_samples, self.utterance.sample_rate)

    @property
    def tries(self) -> int:
        """Attempts that count, the one at hand included: those that a node was sent."""
        return self.attempt - min(self.unsent_count, UNSENT_FREE)

    @property
    def may_be_placed(self) -> bool:
        """Whether the store may have placed it without our knowing."""
        return self.phase is Phase.WAITING and self.backoff_ms > 0

    def is_sent_to(self, node: NodeTraits | None) -> bool:
        return self.phase in SENT and is_same_connection(self.node, node)

    def cut(self, config: JobsConfig) -> Cut:
        """How the job tells its node why the utterance ended; before it has one, as a node of protocol 2 is told."""
        reason = self.utterance.reason
        protocol = self.node.protocol if self.node else 2
        if self.is_whole or (reason is FinalizeReason.SESSION_CLOSE and config.session_close_as_manual):
            return "manual"
        if reason is FinalizeReason.TIMEOUT and protocol == 1 and config.timeout_as_manual:
            return "manual"
        return _CUT_OF_REASON[reason]

    def may_be_kept(self, config: JobsConfig) -> bool:
        """Whether a node holds, or may come to hold, audio of this unsettled job for the next one."""
        if self.phase is Phase.HELD:
            return True
        match self.cut(config):
            case "manual":
                return False
            case "timeout":
                return self.line_ms < config.short_ms
            case "max_duration":
                return True
            case "none":
                return self.line_ms < config.unflagged_ms
