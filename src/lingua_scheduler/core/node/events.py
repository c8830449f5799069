"""What happens on one node's connection, and what the scheduler wants done about it: the node machine's vocabulary.

One machine per connection, from accept to close. Everything that leaves it carries the connection's `epoch`, which the
store hands out at registration: whatever an older connection of the same node still does is fenced by it.
"""

from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.protocol.ids import Language, NodeId, TenantId
from lingua_scheduler.protocol.node import (
    JobAck,
    JobHeld,
    JobReject,
    JobResult,
    JobStarted,
    NodeAsrPartial,
    NodeError,
    NodeHeartbeat,
    NodeMessage,
    NodeRegister,
    SchedulerMessage,
)

StoredStatus = Literal["registering", "ready", "degraded", "draining", "suspect", "offline"]
"""The node's status as the store keeps it: the wire's words and `suspect`. Only `ready` and `degraded` get jobs."""

JobReport = JobAck | JobStarted | NodeAsrPartial | JobResult | JobHeld | JobReject
LostCause = Literal["closed", "suspect", "lost", "replaced"]
Refusal = Literal["malformed", "not_registered", "foreign_node_id", "overflow", "registration"]


@dataclass(frozen=True, slots=True)
class Languages:
    """What a node recognises, repairs and speaks, validated, in lower case, without repeats."""

    asr: tuple[Language, ...]
    semantic: tuple[Language, ...]
    tts: tuple[Language, ...]
    pairs: tuple[tuple[Language, Language], ...] | None = None
    """Directed pairs served; None: every `asr` into every `tts`."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration without fault."""

    node_id: NodeId
    protocol: Literal[1, 2]
    capacity: int
    languages: Languages
    services: tuple[str, ...]
    """Service types that are ready now: a pipeline that needs another must go elsewhere."""
    accept_public_jobs: bool
    binary_audio: bool
    zone: str
    """Empty where the node named none."""
    message: NodeRegister
    """As it came, for the pages that show nodes and for `active_jobs`."""
    tenants: tuple[TenantId, ...] | None = None
    """Whose jobs alone it takes; None: everybody's."""


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a heartbeat says of the machine's load; percentages 0–100, None where not reported."""

    running_jobs: int = 0
    queue_length: int = 0
    cpu_percent: float | None = None
    mem_percent: float | None = None
    gpu_percent: float | None = None
    gpu_mem_percent: float | None = None


# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class MessageArrived:
    message: NodeMessage


@dataclass(frozen=True, slots=True)
class FrameRefused:
    """A frame could not be decoded. `detail` names the field (`Object missing required field … - at $.hardware`)."""

    detail: str
    is_registration: bool
    """Whether the frame called itself `node_register`."""


@dataclass(frozen=True, slots=True)
class PongArrived:
    """An answer to a ping of the WebSocket layer."""


@dataclass(frozen=True, slots=True)
class RegisterReplied:
    """The answer to `RegisterNode`: `OK` with the epoch, `NODE_ID_CONFLICT`, or another word that refuses it."""

    word: str
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatReplied:
    """The answer to `HeartbeatNode`: `OK`, `NODE_NOT_REGISTERED` (the key is gone) or `STALE_EPOCH` (a newer one)."""

    word: str


@dataclass(frozen=True, slots=True)
class OfflineReplied:
    """The answer to `MarkOffline`, whatever its word."""

    word: str


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store could not answer; what was asked may or may not have happened. Every request is safe to repeat."""

    operation: Literal["register", "heartbeat", "status", "offline"]


@dataclass(frozen=True, slots=True)
class StoreReturned:
    """The store is reachable again after it was not, and may have come back empty."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer connection of the same node registered, here or on another instance."""


@dataclass(frozen=True, slots=True)
class JobOutcomeCounted:
    """A job of this node ended in a way that speaks of its health."""

    is_good: bool


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """An operator, or this instance's own drain, wants no new jobs on the node."""

    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """The opposite of `DrainRequested`."""

    reason: str


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The connection is gone, whoever closed it."""


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


NodeEvent = (
    MessageArrived
    | FrameRefused
    | PongArrived
    | RegisterReplied
    | HeartbeatReplied
    | OfflineReplied
    | StoreFailed
    | StoreReturned
    | Superseded
    | JobOutcomeCounted
    | DrainRequested
    | ResumeRequested
    | SocketClosed
    | TimeReached
)

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class RegisterNode:
    """Write the node to the store under a new epoch; answer with `RegisterReplied` or `StoreFailed("register")`."""

    registration: Registration
    is_again: bool = False
    """The connection stands, and the node does not say anew what it works on: that is what is known to be with it."""


@dataclass(frozen=True, slots=True)
class HeartbeatNode:
    """Renew the node's key, load, status and pools; answer with `HeartbeatReplied` or `StoreFailed("heartbeat")`."""

    node_id: NodeId
    epoch: int
    status: StoredStatus
    load: NodeLoad
    services: tuple[str, ...]
    languages: Languages | None
    """Given where they changed since the store last took them; None: as they were."""
    heartbeat: NodeHeartbeat | None
    """As it came, for the pages; None where the scheduler renews the key by itself."""
    is_again: bool = False
    """The store was away and may have lost who has which slot: what is known to be with the node is said with it."""


@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write the status between heartbeats, fenced by epoch. No answer but, where it failed, `StoreFailed("status")`."""

    node_id: NodeId
    epoch: int
    status: StoredStatus


@dataclass(frozen=True, slots=True)
class MarkOffline:
    """Take the node out of the store, fenced by epoch; answer with `OfflineReplied` or `StoreFailed("offline")`."""

    node_id: NodeId
    epoch: int


@dataclass(frozen=True, slots=True)
class AnnounceRegistered:
    """The node is this connection's from now on: put it in the instance's registry, hand `Superseded` to whichever
    connection was there before *first*, and give it `NodeTraits` with this epoch. Given again where the same
    connection registers again.
    """

    registration: Registration
    epoch: int


@dataclass(frozen=True, slots=True)
class AnnounceLost:
    """Every session with a job on this node, given under `epoch` or an older one, hears `NodeLost`. After any cause but
    `suspect` the node leaves the instance's registry, if the entry is still this connection's.
    """

    node_id: NodeId
    epoch: int
    cause: LostCause


@dataclass(frozen=True, slots=True)
class ForwardReport:
    """A report about a job, from a registered connection and in its own name: the owner of the job judges the rest."""

    node_id: NodeId
    epoch: int
    report: JobReport


@dataclass(frozen=True, slots=True)
class RecordNodeError:
    """The node reported a fault of its own: counted, logged and shown."""

    node_id: NodeId
    error: NodeError


@dataclass(frozen=True, slots=True)
class RefuseMessage:
    """Something that this connection may not say: counted and logged, nothing else."""

    why: Refusal


@dataclass(frozen=True, slots=True)
class Send:
    message: SchedulerMessage


@dataclass(frozen=True, slots=True)
class SendPing:
    """A ping of the WebSocket layer; the pong comes back as `PongArrived`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket: 4001 register again, 4002 a newer connection took over, 4003 not allowed. `SocketClosed` may
    follow or not; the machine counts the connection as gone.
    """

    code: int
    reason: str


NodeEffect = (
    RegisterNode
    | HeartbeatNode
    | SetStatus
    | MarkOffline
    | AnnounceRegistered
    | AnnounceLost
    | ForwardReport
    | RecordNodeError
    | RefuseMessage
    | Send
    | SendPing
    | Close
)
