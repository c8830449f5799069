"""What `/api/v1` answers, as structs: each answer is built as one, and the OpenAPI document is made from them."""

import msgspec
from msgspec import UNSET, UnsetType

from lingua_scheduler.core.node.events import StoredStatus
from lingua_scheduler.protocol.node import Hardware, InstalledModel, InstalledService
from lingua_scheduler.scheduler.history import Event, Sample
from lingua_scheduler.scheduler.reports import SessionRow
from lingua_scheduler.scheduler.tally import RecentJob


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of them, and of their parts."""


class Picture(Answer, frozen=True, kw_only=True):
    """The fleet, or a part of it, as it was at one moment: made anew every two seconds."""

    age_ms: int | UnsetType = UNSET
    """How old the picture is. Absent in the feed, whose `tick` says it."""


# --- stats ---


class LanguageCount(Answer, frozen=True, kw_only=True):
    language: str
    count: int
    """Sessions that speak it or want it."""


class LanguageUse(Answer, frozen=True, kw_only=True):
    as_source: int
    """Sessions that speak it."""
    as_target: int
    """Sessions that want it."""
    total: int


class WebClients(Answer, frozen=True, kw_only=True):
    active_users: int
    """Sessions of the fleet."""
    top_languages: list[LanguageCount]
    """The ten that are used most."""
    language_usage: dict[str, LanguageUse]
    """By language code."""


class ComputePower(Answer, frozen=True, kw_only=True):
    """All nodes together; percentages are means of those that report them, null where none does."""

    slots: int
    slots_taken: int
    cpu_cores: int
    memory_gb: float
    gpus: int
    gpu_memory_gb: float
    gpu_models: dict[str, int]
    """How many of each."""
    cpu_percent: float | None
    mem_percent: float | None
    gpu_percent: float | None
    gpu_mem_percent: float | None


class NodeStats(Answer, frozen=True, kw_only=True):
    connected_nodes: int
    type_node_counts: dict[str, int]
    """By service type (`asr`, `nmt`, `tts` …), how many nodes offer it."""
    available_services: list[str]
    total_services: int
    type_in_use_counts: dict[str, int]
    """The same of nodes that have a job at this moment."""
    compute_power: ComputePower


class Stats(Picture, frozen=True, kw_only=True):
    """The fleet in a few numbers."""

    web_clients: WebClients
    nodes: NodeStats


# --- nodes and pools ---


class Loads(Answer, frozen=True, kw_only=True):
    """What a node's last heartbeat said of its machine; null where it did not say."""

    reported: float = 0.0
    """How full the node is as placement sees it, 0–1."""
    running_jobs: int = 0
    queue_length: int = 0
    cpu_percent: float | None = None
    mem_percent: float | None = None
    gpu_percent: float | None = None
    gpu_mem_percent: float | None = None


class NodeHead(Answer, frozen=True, kw_only=True):
    """What is told of a node wherever it stands."""

    node_id: str
    status: StoredStatus
    """Only `ready` and `degraded` get jobs; `suspect` has not answered a ping for three seconds."""
    instance_id: str
    """Where it is connected."""
    protocol: int
    """1 or 2: what it speaks on `/ws/node`."""
    zone: str
    loads: Loads
    current_jobs: int
    """Slots taken."""
    max_concurrent_jobs: int
    last_heartbeat: int
    """Unix time in milliseconds; so is every time here."""
    registered_at: int
    capabilities: tuple[str, ...]
    """Service types that were ready when it said so last."""
    unavailable_until: dict[str, int]
    """Services that failed for want of a model, with the end of the pause."""
    hardware: Hardware
    version: str
    platform: str


class NodeRow(NodeHead, frozen=True, kw_only=True):
    """A node with all that it said of itself."""

    asr_languages: tuple[str, ...]
    tts_languages: tuple[str, ...]
    pairs: list[str]
    """The pools it is in, each `src:tgt`."""
    services: list[InstalledService]
    models: list[InstalledModel]


class NodeBrief(NodeHead, frozen=True, kw_only=True):
    """A node in the feed: the long lists counted, or left to other parts."""

    pairs: int


class NodeList(Picture, frozen=True, kw_only=True):
    """Every registered node."""

    nodes: list[NodeRow]


class BriefNodes(Picture, frozen=True, kw_only=True):
    """At most 500 nodes, those that need attention first."""

    nodes: list[NodeBrief]
    total: int


class PoolRow(Answer, frozen=True, kw_only=True):
    """One directed pair of languages."""

    src: str
    tgt: str
    nodes: int
    waiting: int
    """Jobs that wait for a slot."""


class PoolList(Picture, frozen=True, kw_only=True):
    """What can be translated."""

    pools: list[PoolRow]


class BriefPools(PoolList, frozen=True, kw_only=True):
    """At most 4096 pools."""

    total: int


class ModelRow(Answer, frozen=True, kw_only=True):
    kind: str
    model_id: str
    src: str
    tgt: str
    version: str
    nodes: int
    """How many have it."""


class ServiceRow(Answer, frozen=True, kw_only=True):
    type: str
    service_id: str
    device: str
    version: str
    status: str
    nodes: int
    """How many have it."""


class ModelList(Picture, frozen=True, kw_only=True):
    """What is installed in the fleet, each once; at most 500 of each kind, empty text where a node did not say."""

    models: list[ModelRow]
    services: list[ServiceRow]


# --- the cluster ---


class InstanceRow(Answer, frozen=True, kw_only=True):
    """A scheduler instance. Of one that is gone (`is_online` false) only its inbox or dead letters are left."""

    instance_id: str
    hostname: str = ""
    pid: int = 0
    version: str = ""
    address: str = ""
    started_at_ms: int = 0
    uptime_seconds: int = 0
    is_online: bool = False
    is_draining: bool = False
    inbox_length: int
    """Messages from other instances that it has not dealt with."""
    inbox_pending: int
    """Of those, the ones that were handed out and not yet acknowledged."""
    dlq_length: int
    """Dead letters."""
    nodes_owned: int
    sessions_owned: int = 0
    jobs_open: int = 0


class Totals(Answer, frozen=True, kw_only=True):
    instances: int
    """That are alive."""
    nodes: int
    sessions: int
    slots: int
    slots_taken: int
    inbox_length: int
    inbox_pending: int
    dlq_length: int


class BriefCluster(Picture, frozen=True, kw_only=True):
    """The instances."""

    instances: list[InstanceRow]
    totals: Totals


class Cluster(BriefCluster, frozen=True, kw_only=True):
    """The instances and the nodes."""

    nodes: list[NodeRow]


# --- sessions, jobs, counts ---


class SessionList(Picture, frozen=True, kw_only=True):
    """The newest sessions, at most 500 of the fleet."""

    sessions: list[SessionRow]
    total: int


class JobList(Picture, frozen=True, kw_only=True):
    """The jobs that were concluded last, newest first, at most 200 of the fleet."""

    jobs: list[RecentJob]


class StageTimes(Answer, frozen=True, kw_only=True):
    count: int
    p50_ms: int | None
    p95_ms: int | None


class Counts(Picture, frozen=True, kw_only=True):
    """Levels of this moment, and counts since the instances started. For Prometheus there is `/metrics`."""

    sessions_open: int
    clients_connected: int
    jobs_open: int
    nodes_connected: int
    slots: int
    slots_taken: int
    jobs_waiting: int
    outcomes: dict[str, int]
    """Concluded jobs: `translated`, or the reason of the `missing_result`."""
    retries: dict[str, int]
    """Further attempts, by cause."""
    stages: dict[str, StageTimes]
    """`total`, `scheduler`, `node`, `asr`, `nmt`, `tts`."""


class Pictures(Answer, frozen=True, kw_only=True):
    """The fleet at one moment: `/api/v1/{field}` answers each."""

    stats: Stats
    cluster: Cluster
    nodes: NodeList
    sessions: SessionList
    pools: PoolList
    metrics: Counts
    jobs: JobList
    models: ModelList


class FeedParts(Answer, frozen=True, kw_only=True):
    """The same for the pages, bounded and nothing twice: the feed sends each field as an event of its name."""

    stats: Stats
    cluster: BriefCluster
    nodes: BriefNodes
    pools: BriefPools
    sessions: SessionList
    jobs: JobList
    models: ModelList
    metrics: Counts


class Tick(Answer, frozen=True, kw_only=True):
    """A sign of life, at least every five seconds; the first event of each round."""

    at_ms: int
    age_ms: int
    """How old the parts that came last are."""
    instance_id: str
    is_store_up: bool
    is_draining: bool
    may_control: bool
    """Whether the viewer may drain nodes and act on dead letters."""


class FeedEvents(FeedParts, frozen=True, kw_only=True):
    """Every event of the feed, by name."""

    tick: Tick
    samples: list[Sample]
    """Points of the charts: ten minutes at first, then what is new."""
    events: list[Event]
    """What came and went last, at most 100, whenever there is news."""


# --- acts, and answers of one thing ---


class Readiness(Answer, frozen=True, kw_only=True):
    ready: bool
    reasons: list[str]
    """Why no client should be sent here; empty when ready."""


class Refusal(Answer, frozen=True, kw_only=True):
    """Why there is no answer."""

    error: str


class InstanceDraining(Answer, frozen=True, kw_only=True):
    draining: str
    """The instance's id."""


class NodeTold(Answer, frozen=True, kw_only=True):
    node_id: str
    instance_id: str
    """Where the node is connected."""


class LetterRow(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """A message between instances that could not be dealt with: what it is about, never what was said in it."""

    letter_id: str
    given_up_at_ms: int
    written_at_ms: int
    reason: str
    kind: str
    """The type of the message; `unreadable` where it cannot be told."""
    bytes: int
    node_id: str = ""
    job_id: str = ""


class LetterList(Answer, frozen=True, kw_only=True):
    """The newest 25."""

    dead_letters: list[LetterRow]


class LetterMoved(Answer, frozen=True, kw_only=True):
    letter_id: str
