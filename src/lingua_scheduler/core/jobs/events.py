"""What happens to the jobs of one session, and what they want done: the whole vocabulary of the job machine.

One machine owns all jobs of one session, because audio that a node holds or carries ties one job to the next. Events
name the attempt they speak of; the machine ignores (and counts) those of any other attempt.
"""

from dataclasses import dataclass, field
from typing import Literal

from lingua_scheduler.core.placement import SelectReply, SelectRequest
from lingua_scheduler.core.utterance import JobSpec, Outcome, Tail, Utterance
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId
from lingua_scheduler.protocol.messages import UiEventName
from lingua_scheduler.protocol.node import JobAssign, JobResult

FinalStatus = Literal["completed", "completed_no_text", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NodeTraits:
    """What the scheduler must know of a node to talk jobs with it."""

    node_id: NodeId
    instance_id: InstanceId
    protocol: Literal[1, 2]
    """1 sends no acks, ignores cancels, refuses a repeated job id and keeps silent about audio it buffers."""
    epoch: int = 0
    """Of the node's connection: what is said of an older one does not touch jobs given to this one."""


# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class JobRequested:
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class JobAdopted:
    """The job was another instance's; its audio is not here yet (`AudioRestored`). It goes on where it stood."""

    spec: JobSpec
    attempt: int
    """The one that runs; without `node` the one to be placed next."""
    node: NodeTraits | None = None
    lease_ms: int = 0
    """What is left of the attempt's lease."""
    said_samples: int = 0
    """So much of its end is in the result of a later job."""


@dataclass(frozen=True, slots=True)
class TailAdopted:
    """The end of an utterance whose result is there, and which a job to come (or `heir`) has to say.

    Its audio is not here yet (`AudioRestored`). Another instance's node may have it.
    """

    tail: Tail
    utterance: Utterance


@dataclass(frozen=True, slots=True)
class AudioRestored:
    """The client has sent the audio of utterance `index` again: a further attempt is possible."""

    index: int
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlacementReplied:
    """The answer to `SelectNode`. `node` is set exactly when `reply` is `Selected`."""

    job_id: JobId
    attempt: int
    reply: SelectReply
    node: NodeTraits | None = None


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store could not answer; what was asked may or may not have happened. Every request is safe to repeat."""

    job_id: JobId
    attempt: int
    operation: Literal["select", "finish", "requeue", "renew"]


@dataclass(frozen=True, slots=True)
class SlotOffered:
    """A slot may be free for a waiting job: ask again."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class NodeAccepted:
    job_id: JobId
    attempt: int
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class NodeStarted:
    job_id: JobId
    attempt: int
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class NodeHeld:
    """The node keeps the audio for the session's next job, at most `deadline_ms` from now."""

    job_id: JobId
    attempt: int
    node_id: NodeId
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class NodeRejected:
    job_id: JobId
    attempt: int
    node_id: NodeId
    code: str
    retry_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class AssignFailed:
    """`SendAssign` did not reach the node: its connection is gone or full."""

    job_id: JobId
    attempt: int
    node_id: NodeId
    is_unsent: bool = False
    """Whoever owned the job before placed the attempt and never sent it: the node is not to blame."""
    may_have_arrived: bool = False
    """Nobody knows: the way there did not answer."""


@dataclass(frozen=True, slots=True)
class JobGone:
    """The node had the attempt, and is not at work on it any more."""

    job_id: JobId
    attempt: int
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class NodePartial:
    job_id: JobId
    node_id: NodeId
    text: str
    is_final: bool
    stable_chars: int | None = None


@dataclass(frozen=True, slots=True)
class ResultArrived:
    """`node_id` is the node whose connection brought it, not what the message claims."""

    result: JobResult
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class FinishReplied:
    """The answer to `FinishJob`: `OK`, `REPEAT`, or the word of the refusal."""

    job_id: JobId
    attempt: int
    word: str


@dataclass(frozen=True, slots=True)
class RequeueReplied:
    job_id: JobId
    attempt: int
    word: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node's socket closed, or it stopped answering: all that it had of this session needs a new attempt."""

    node_id: NodeId
    cause: Literal["closed", "suspect", "lost", "replaced"]
    epoch: int | None = None
    """The connection that was lost; jobs given to a newer one are untouched. None: any."""


@dataclass(frozen=True, slots=True)
class AudioContinued:
    """The client sent audio beyond the last utterance: a next job will come, and can say what a node carries.

    Wanted while `JobsMachine.awaits_audio`; without it a tail that nobody follows is unknown to be one.
    """


@dataclass(frozen=True, slots=True)
class CancelRequested:
    job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """No result is wanted any more: every open job is cancelled."""


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


JobEvent = (
    JobRequested
    | JobAdopted
    | TailAdopted
    | AudioRestored
    | PlacementReplied
    | StoreFailed
    | SlotOffered
    | NodeAccepted
    | NodeStarted
    | NodeHeld
    | NodeRejected
    | AssignFailed
    | JobGone
    | NodePartial
    | ResultArrived
    | FinishReplied
    | RequeueReplied
    | NodeLost
    | AudioContinued
    | CancelRequested
    | SessionEnded
    | TimeReached
)

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class SelectNode:
    """Ask the store; answer with `PlacementReplied` or `StoreFailed`."""

    request: SelectRequest


@dataclass(frozen=True, slots=True)
class SendAssign:
    """Send `assign` with `audio` (as the client sent it; `assign.audio` is empty) to the node."""

    node: NodeTraits
    assign: JobAssign
    audio: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendCancel:
    node: NodeTraits
    job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Close the job in the store, fenced by attempt and node; answer with `FinishReplied` or `StoreFailed`.

    `hold` says what the session's affinity is afterwards: which kind of audio the node may still keep.
    """

    job_id: JobId
    attempt: int
    node_id: NodeId | None
    status: FinalStatus
    hold: Literal["none", "timeout", "max_duration"] = "none"
    cause: str = ""
    """Why it failed, for its story. Never a word of what was said."""


@dataclass(frozen=True, slots=True)
class RequeueJob:
    """Take the slot back from `node_id` and open the next attempt; answer with `RequeueReplied` or `StoreFailed`."""

    job_id: JobId
    attempt: int
    node_id: NodeId
    cause: str


@dataclass(frozen=True, slots=True)
class RenewLease:
    job_id: JobId
    attempt: int
    node_id: NodeId
    lease_ms: int


@dataclass(frozen=True, slots=True)
class LeaveQueue:
    """The job no longer waits for a slot."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class MarkUnavailable:
    """The node said MODEL_NOT_AVAILABLE: pass it over for this service for a while."""

    node_id: NodeId
    service: str


@dataclass(frozen=True, slots=True)
class CountNodeOutcome:
    """For the node's health: whether it did what a healthy node does. Poison and clients' faults are not counted."""

    node_id: NodeId
    is_good: bool


@dataclass(frozen=True, slots=True)
class Conclude:
    """The one outcome of a job, for the session. Given once per job."""

    job_id: JobId
    index: int
    tgt_lang: Language
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class FreeAudio:
    """No attempt and no carry needs the audio of utterance `index` any more. Given once per utterance."""

    index: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Worth a `ui_event` to the client."""

    job_id: JobId
    index: int
    event: UiEventName
    code: ErrorCode | None = None
    shortage: str = ""
    """Why there was no node (`core/shortage`), where that is the fault."""


@dataclass(frozen=True, slots=True)
class ForwardPartial:
    job_id: JobId
    index: int
    text: str
    is_final: bool
    stable_chars: int | None = None


@dataclass(frozen=True, slots=True)
class RefuseReport:
    """A stranger, a stale attempt or a repeat spoke of a job: counted and logged, nothing else."""

    job_id: JobId
    node_id: NodeId
    why: Literal["stranger", "stale_attempt", "repeat", "unknown_job"]


JobEffect = (
    SelectNode
    | SendAssign
    | SendCancel
    | FinishJob
    | RequeueJob
    | RenewLease
    | LeaveQueue
    | MarkUnavailable
    | CountNodeOutcome
    | Conclude
    | FreeAudio
    | Progress
    | ForwardPartial
    | RefuseReport
)
