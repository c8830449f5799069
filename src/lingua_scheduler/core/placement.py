"""The question a scheduler puts to the placement script, and its possible answers.

The decision itself is atomic and therefore lives in `store/scripts/select_node.lua`; these values are its vocabulary,
shared by the job machine (which asks) and the store (which answers).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId

Why = Literal["affinity", "only", "two_choices", "offered", "excluded", "repeat"]


@dataclass(frozen=True, slots=True)
class SelectRequest:
    """Find a node for one attempt of a job and reserve a slot on it."""

    job_id: JobId
    job_key: str
    """Idempotency key `tenant:session:index:translation:tgt_lang:features_hash`."""
    attempt: int
    """The attempt being asked for, 1 for the first. A request for an attempt already placed repeats its answer."""
    session_id: SessionId
    tenant_id: TenantId
    utterance_index: int
    pairs: tuple[tuple[Language, Language], ...]
    """Directed pairs the node must serve *all* of: one in one-way mode, both directions in two-way mode."""
    services: tuple[str, ...]
    """Service types the pipeline needs (`asr`, `nmt`, `tts` …): a node marked unavailable for one is passed over."""
    lease_ms: int
    wait_ms: int
    """How long the job may still wait in the queue; 0 refuses to queue."""
    trace_id: TraceId
    preferred_instance: InstanceId
    exclude: frozenset[NodeId] = frozenset()
    """Nodes that failed this job: taken only when no other can and `exclude_is_soft`."""
    exclude_is_soft: bool = True
    affinity_node: NodeId | None = None
    """Where audio of this session is kept: this node or, within `affinity_wait_ms`, none."""
    affinity_wait_ms: int = 0
    """Counted by the store from the first request that names it: repeats need not lower it."""
    bind: Literal["timeout", "max_duration"] | None = None
    """The node will keep audio of this job: write it into the session as that kind of affinity."""
    session_epoch: int | None = None
    """Of the asking owner, where the session can be resumed elsewhere: a newer one makes the answer `StaleOwner`."""


class NoNodeReason(StrEnum):
    """Why no node was found: the one word told to the client; the counts beside it tell the rest."""

    NO_NODES = "no_nodes"
    NONE_FOR_PAIR = "none_for_pair"
    ALL_FULL = "all_full"
    ALL_DEGRADED = "all_degraded"
    ALL_DRAINING = "all_draining"
    ALL_EXCLUDED = "all_excluded"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that was weighed, with the load that decided (0.0 idle – 1.0 full)."""

    node_id: NodeId
    load: float


@dataclass(frozen=True, slots=True)
class Selected:
    """A slot on `node_id` is reserved and the lease runs."""

    node_id: NodeId
    instance_id: InstanceId
    attempt: int
    why: Why
    """`only`: no second candidate was met; `offered`: the slot was kept for this job while it waited; `excluded`: a
    node that failed the job before, for want of any other.
    """
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """Every node that could is full: the job stands in the fair queue. `position` counts from 1.

    Ask again when a slot is offered, and in any case after `retry_ms`: an offer may get lost with the instance that
    carried it, and an affinity that did not come free must be given up.
    """

    position: int
    estimated_wait_ms: int
    retry_ms: int = 1000


@dataclass(frozen=True, slots=True)
class Unplaced:
    """No node and no place in the queue."""

    reason: NoNodeReason
    counts: dict[str, int]
    """Nodes passed over, by reason: `full`, `degraded` (and full), `suspect`, `draining`, `excluded`, `unavailable`
    (marked), `unsupported` (lacks a service or pair), `kept` (its free slots are kept for waiting jobs), `dead`.
    """


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The job is in a final state, or belongs to another job id under the same key: nothing was reserved."""

    job_id: JobId
    status: str


@dataclass(frozen=True, slots=True)
class StaleAttempt:
    """A newer attempt than the one asked for exists."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StaleOwner:
    """The session was resumed on another instance: whoever asked has no say any more."""

    epoch: int


SelectReply = Selected | Queued | Unplaced | AlreadyDone | StaleAttempt | StaleOwner
