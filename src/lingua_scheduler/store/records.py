"""What the store answers and shows, as plain values. The question and answers of placement are in `core/placement`."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from lingua_scheduler.core.jobs.events import FinalStatus
from lingua_scheduler.core.node.events import StoredStatus
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId

JobStatus = Literal["pending", "assigned", "accepted", "running", "held"] | FinalStatus
OpenStatus = Literal["accepted", "running", "held"]
"""What a lease renewal may report beside `assigned`."""
Hold = Literal["none", "timeout", "max_duration"]
"""Which kind of a session's audio its last node may still keep."""
OwnedKind = Literal["nodes", "sessions"]


class Word(StrEnum):
    """The first item of a script's reply, where it is not one of placement's."""

    OK = "OK"
    REPEAT = "REPEAT"
    """This very call was made before, and what it did stands: treat as `OK`."""
    STALE_ATTEMPT = "STALE_ATTEMPT"
    """The job is at another attempt."""
    NOT_ASSIGNED = "NOT_ASSIGNED"
    """The job is not with that node now (it waits, or another node has it)."""
    ALREADY_FINAL = "ALREADY_FINAL"
    """The job ended otherwise before."""
    UNKNOWN_JOB = "UNKNOWN_JOB"
    NODE_NOT_REGISTERED = "NODE_NOT_REGISTERED"
    STALE_EPOCH = "STALE_EPOCH"
    """A newer connection, or a newer owner, has taken over."""
    NO_LANGUAGES = "NO_LANGUAGES"
    """One of the three language lists is empty."""
    TOO_MANY_PAIRS = "TOO_MANY_PAIRS"
    """The node would serve more language pairs than `PAIRS_MAX`: it must list `supported_language_pairs`."""
    POOL_FULL = "POOL_FULL"
    """A language pair has no room for one more node (1,000 shards of 99)."""
    TOO_MANY_MARKS = "TOO_MANY_MARKS"
    UNKNOWN_ENTRY = "UNKNOWN_ENTRY"
    """The inbox holds no such entry (any more)."""
    NOT_EMPTY = "NOT_EMPTY"
    """The inbox holds entries that nobody has dealt with."""
    HELD = "HELD"
    """Somebody else owns it."""
    LOST = "LOST"
    """The caller does not own it (any more)."""
    ROOM_NOT_FOUND = "ROOM_NOT_FOUND"
    ROOM_FULL = "ROOM_FULL"
    ALREADY_IN_ROOM = "ALREADY_IN_ROOM"
    """The session is a member of a room: of this one or another."""
    NOT_A_MEMBER = "NOT_A_MEMBER"
    NO_CODE = "NO_CODE"
    """Each of the codes is another room's."""
    RATE_LIMITED = "RATE_LIMITED"
    EXPIRED = "EXPIRED"
    """Nobody has spoken in the room for long: it is removed."""
    REFUSED = "REFUSED"
    """Another resume token than the session's."""
    UNKNOWN_SESSION = "UNKNOWN_SESSION"


@dataclass(frozen=True, slots=True)
class Fence:
    """The owner of a session that can be resumed speaks: it is refused where a newer one has taken over."""

    session_id: SessionId
    epoch: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A slot is kept for this waiting job for `OFFER_HOLD_MS`: its owner should ask `jobs.select` again now."""

    job_id: JobId
    owner: InstanceId


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that a node had when its registration ended or its lease ran out: its owner should requeue it."""

    job_id: JobId
    attempt: int
    session_id: SessionId
    owner: InstanceId
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class NodeReply:
    """The answer to everything that is said about one node."""

    word: Word
    epoch: int = 0
    """Of the node's present registration; 0 where there is none."""
    jobs: tuple[HeldJob, ...] = ()
    """Jobs that lost their slot by this call."""
    offers: tuple[Offer, ...] = ()

    @property
    def is_ok(self) -> bool:
        return self.word is Word.OK


@dataclass(frozen=True, slots=True)
class JobReply:
    """The answer to a fenced transition of a job."""

    word: Word
    attempt: int = 0
    """The job's attempt as stored; 0 where the job is unknown."""
    status: JobStatus | None = None
    """The job's status after the call."""
    offers: tuple[Offer, ...] = ()

    @property
    def is_ok(self) -> bool:
        """Whether the transition stands, by this call or by an earlier one like it."""
        return self.word in {Word.OK, Word.REPEAT}


@dataclass(frozen=True, slots=True)
class OwnerReply:
    """The answer to a claim, renewal or release. With `HELD` and `LOST` it names the present owner, if there is one."""

    word: Word
    owner: InstanceId | None = None
    epoch: int = 0

    @property
    def is_ok(self) -> bool:
        return self.word is Word.OK


@dataclass(frozen=True, slots=True)
class KeptResult:
    """What a job came to, as the owner of its session wrote it down."""

    order: int
    """Grows with each that was kept: the order of finishing."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to the claim of a session. What follows the word is there with `OK` alone."""

    word: Word
    epoch: int = 0
    previous: InstanceId = InstanceId("")
    """Who owned it before: perhaps the claimer itself."""
    fields: dict[str, str] = field(default_factory=dict[str, str])
    outbox: dict[JobId, KeptResult] = field(default_factory=dict[JobId, KeptResult])
    """In the order of finishing."""


@dataclass(frozen=True, slots=True)
class AdoptedJob:
    """Where a job stands that its session's new owner took over. `status` is None where it was never placed."""

    job_id: JobId
    status: JobStatus | None
    attempt: int
    revoked: int
    """The attempt that was taken back last: `attempt` itself where the next one is to be opened."""
    node_id: NodeId | None = None
    lease_ms: int = 0
    """What is left of it."""
    instance_id: InstanceId = InstanceId("")
    """Where the node is connected; "" where it is gone."""
    protocol: int = 0
    epoch: int = 0
    """Of the node's registration."""


@dataclass(frozen=True, slots=True)
class JobStory:
    """Where a job stands and how it came there, for `/api/v1/jobs/{id}`."""

    job_id: JobId
    status: JobStatus
    attempt: int
    node_id: NodeId | None
    owner: InstanceId
    session_id: SessionId
    tenant_id: TenantId
    utterance_index: int
    pairs: tuple[tuple[Language, Language], ...]
    trace_id: TraceId
    times_ms: dict[str, int]
    """Server wall time of what happened: `created`, `queued`, `assigned`, `finished`, `lease_deadline`."""
    choices: dict[int, str] = field(default_factory=dict[int, str])
    """By attempt, why that node: the rule, the chosen one and the others weighed, each with its load in thousandths."""
    causes: dict[int, str] = field(default_factory=dict[int, str])
    """By attempt, why it did not succeed."""
    waits_behind: int | None = None
    """While it waits in a line: how many jobs will be served before it, tenants in turn."""
    estimated_wait_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """A node as the store knows it."""

    node_id: NodeId
    status: StoredStatus
    epoch: int
    instance_id: InstanceId
    protocol: int
    zone: str
    capacity: int
    reserved: int
    """Slots taken."""
    load: float
    """As the node reported it, 0.0–1.0."""
    last_heartbeat_ms: int
    """Server wall time."""
    registered_ms: int
    asr: tuple[Language, ...]
    semantic: tuple[Language, ...]
    tts: tuple[Language, ...]
    pairs: tuple[tuple[Language, Language], ...]
    """Pools it is in: empty before the first heartbeat."""
    services: tuple[str, ...]
    unavailable_until_ms: dict[str, int]
    """Services marked unavailable, with the end of the mark."""
    details: str
    """JSON of what it said of itself when it registered (hardware, models, platform)."""
    usage: str
    """JSON of the load in its last heartbeat."""


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """One directed language pair."""

    src: Language
    tgt: Language
    nodes: int
    waiting: int
    """Jobs in the pair's queue."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A live scheduler instance."""

    instance_id: InstanceId
    started_at_ms: int
    hostname: str
    pid: int
    version: str
    address: str


@dataclass(frozen=True, slots=True)
class ReapReply:
    """What a round of clearing found."""

    jobs: tuple[HeldJob, ...] = ()
    """Leases that ran out with nobody to requeue them: each is `pending` again, without owner, one attempt poorer."""
    nodes: tuple[NodeId, ...] = ()
    """Nodes that stopped their heartbeat without a word."""
    offers: tuple[Offer, ...] = ()
    is_more_due: bool = False
    """The round was full: call again at once."""
