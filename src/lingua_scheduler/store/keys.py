"""Every key in Redis: one table, and the functions that spell the names. `docs/redis.md` is generated from it.

The prefix `lingua` gives the names of the table. Any other prefix P stands at the front of *every* key (`P:v1:…`,
`P:scheduler:session:…`, `P:streams:…`), so two prefixes on one Redis never meet. In Redis Cluster the prefix is a hash
tag (`{P}:v1:…`, `{P}:session:…`): all keys of a fleet live in one slot and every script stays atomic.

Scripts are given area prefixes (`Keys.v1`, `Keys.session_area`, `Keys.presence_area`) as their KEYS and spell the rest
themselves; the tidy test holds their spelling against the table.
"""

import re
from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, RoomId, SessionId
from lingua_scheduler.store.records import OwnedKind

DEFAULT_PREFIX = "lingua"
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")

NODE_TTL_MS = 45_000
JOB_TTL_MS = 3_600_000
JOB_KEY_TTL_MS = 300_000
SESSION_TTL_MS = 300_000
QUEUE_TTL_MS = 3_600_000
PRESENCE_TTL_MS = 30_000
OWNER_TTL_MS = 45_000
LEAVING_TTL_MS = 10_000
"""As long as a sentence waits for a slot (`pending_timeout_ms`)."""
DLQ_TTL_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Key:
    """One family of keys. `pattern` is spelled with the default prefix; `<…>` stands for a value."""

    pattern: str
    type: Literal["hash", "set", "zset", "string", "stream"]
    ttl: str
    owner: str
    """Who writes it, and who removes it."""
    purpose: str


KEY_TABLE: tuple[Key, ...] = (
    Key(
        "lingua:v1:node:<node>",
        "hash",
        "45 s, renewed by heartbeat",
        "the instance the node is connected to",
        "asr_langs, semantic_langs, tts_langs, pairs (JSON arrays), last_heartbeat_ts, epoch, status, capacity, "
        "instance, "
        "zone, protocol, load, private (the tenants served, where not all), "
        "services, service:<type> (0, or the end of its unavailability), details, usage",
    ),
    Key(
        "lingua:v1:node:<node>:pools",
        "hash",
        "none",
        "heartbeat; removed with the node by its instance or the reaper",
        "<src>:<tgt> → pool id: the pools the node is in",
    ),
    Key(
        "lingua:v1:node:<node>:jobs",
        "zset",
        "none",
        "select; each entry goes with its job's end or requeue",
        "job id → lease deadline: the slots that are taken",
    ),
    Key(
        "lingua:v1:node:<node>:watched",
        "set",
        "none",
        "select; removed with the node",
        "lanes that set the node aside or have jobs waiting: looked at when a slot opens",
    ),
    Key(
        "lingua:v1:node:<node>:home",
        "string",
        "none",
        "register; removed with the node",
        "the instance under which the node stands in its lanes: known when the node's hash has expired",
    ),
    Key(
        "lingua:v1:node:<node>:guests",
        "zset",
        "1 min after the last entry",
        "select and whatever opens a slot; purged by both",
        "job id → deadline: waiting jobs for which the node's next slots are kept (affinity, offers)",
    ),
    Key(
        "lingua:v1:nodes:all",
        "set",
        "none",
        "register; removed with the node",
        "every registered node id",
    ),
    Key(
        "lingua:v1:pool:<src>:<tgt>:<pool>:nodes",
        "set",
        "none",
        "heartbeat; members go with the node, empty sets vanish",
        "node ids of one shard, fewer than 100; shard ids 0–999",
    ),
    Key(
        "lingua:v1:pool:<src>:<tgt>:shards",
        "set",
        "none",
        "heartbeat; goes with its last shard",
        "the shard ids that are not empty",
    ),
    Key(
        "lingua:v1:lane:<lane>",
        "zset",
        "none",
        "heartbeat; members go with the node, empty lanes vanish",
        "what selection draws from: node id → class. A lane is a pair <src>:<tgt>, or <a>~<b> for both directions. "
        "Classes: 0 free, 1 free but degraded, 2 full, 3 full and degraded, 4 suspect, 5 draining",
    ),
    Key(
        "lingua:v1:lane:<lane>@<instance>",
        "zset",
        "none",
        "as its lane",
        "the members of the lane that are connected to one instance, in the same classes",
    ),
    Key(
        "lingua:v1:queue:<line>",
        "zset",
        "1 h after the last entry",
        "select; entries go with an offer or their wait",
        "waiting jobs of a lane → turn × 2^21 + arrival. <lane>! holds those that could not use what was free",
    ),
    Key(
        "lingua:v1:queue:<line>:turns",
        "hash",
        "1 h after the last entry",
        "select; removed with the queue",
        "fair queueing: virtual (turn being served), arrivals, tenant:<id> (its last turn), gap_ms and served_at_ms",
    ),
    Key(
        "lingua:v1:job:<job>",
        "hash",
        "1 h from its last placement or wait",
        "the instance of the session; expires",
        "status, attempt, revoked, node, owner, session, tenant, index, pairs, trace, times, why each node was chosen; "
        "no audio, no text",
    ),
    Key(
        "lingua:v1:job:<job>:node",
        "string",
        "1 h",
        "select; expires",
        "the node the job is, or was last, bound to",
    ),
    Key(
        "lingua:v1:deadlines",
        "zset",
        "none",
        "select, heartbeat; entries go with what they guard, the reaper clears the rest",
        "job:<id> → lease deadline, node:<id> → end of its heartbeat",
    ),
    Key(
        "lingua:v1:room:<room>",
        "hash",
        "1 min after its expiry, renewed by speech",
        "the instances of its members; removed when it expires",
        "code, version, spoken_ms, member:<session> (instance and facts), "
        "voice:<listener>:<speaker> (1 accepted, 0 not)",
    ),
    Key(
        "lingua:v1:room:<room>:lines",
        "hash",
        "with its room",
        "the instances of its members; removed with the room",
        "number → the last concluded lines, text only, for who comes late; count",
    ),
    Key(
        "lingua:v1:room_code:<code>",
        "string",
        "with its room",
        "who creates the room; removed with it",
        "room id: what the six digits stand for",
    ),
    Key(
        "lingua:v1:room_of:<session>",
        "string",
        "with its room",
        "join; removed when the session leaves",
        "room id: the one room that a session is in",
    ),
    Key(
        "lingua:v1:room_guesses:<who>",
        "string",
        "60 s",
        "join; expires",
        "codes that a session, or a hashed address, guessed wrong",
    ),
    Key(
        "lingua:v1:share:<tenant>",
        "hash",
        "2 days after its last use",
        "the instances where a tenant with a quota has sessions; expires",
        "jobs_ms and audio_ms (until when what was used is paid for), and for each instance alive, sessions, round",
    ),
    Key(
        "lingua:v1:allowance:<token>",
        "hash",
        "2 days after the token's end",
        "the instances where sessions of a token with audio minutes are; expires",
        "used_ms of audio, and for each instance the round that it told last",
    ),
    Key(
        "scheduler:session:<session>",
        "hash",
        "300 s after last use; of protocol 1.1 the resume window and 30 s, renewed",
        "the session's owner instance; removed when the session ends",
        "timeout_node_id, max_duration_node_id; of protocol 1.1 also owner, epoch, token and used (hashes of resume "
        "tokens), opening, state (where it stands), finished (results so far), ttl_ms",
    ),
    Key(
        "scheduler:session:<session>:outbox",
        "hash",
        "with the session",
        "finish; results go when the client has acknowledged them, the rest when the session ends",
        "job id → <order of finishing>:<result>, audio in binary: what a client of protocol 1.1 may still lack",
    ),
    Key(
        "scheduler:job_key:<key>",
        "string",
        "300 s",
        "select; expires",
        "job id: the job that was created for this utterance and target",
    ),
    Key(
        "lingua:schedulers:presence:<instance>",
        "string",
        "30 s, renewed every 15 s",
        "the instance; removed at its stop",
        "JSON started_at_ms, hostname, pid, version, address",
    ),
    Key(
        "lingua:schedulers:report:<instance>",
        "string",
        "30 s, renewed every 2 s",
        "the instance; removed at its stop",
        "JSON for the pages: counts, durations in buckets, the heads of its sessions and last jobs; no audio, no text",
    ),
    Key(
        "lingua:schedulers:all",
        "set",
        "none",
        "each instance; entries without presence are removed by whoever lists them",
        "instance ids, also of those that are gone and left an inbox or dead letters, so that listing needs no scan",
    ),
    Key(
        "lingua:schedulers:leaving",
        "string",
        "10 s",
        "an instance that leaves and had nodes; expires",
        "1: nodes are moving, so a pair that has none may have one in a moment",
    ),
    Key(
        "lingua:nodes:owner:{node:<node>}",
        "string",
        "45 s, renewed",
        "the instance the node is connected to",
        "<instance>:<epoch>, compare-and-set",
    ),
    Key(
        "lingua:sessions:owner:{session:<session>}",
        "string",
        "45 s, renewed",
        "the session's instance",
        "<instance>:<epoch>, compare-and-set",
    ),
    Key(
        "lingua:streams:{instance:<instance>}:inbox",
        "stream",
        "trimmed to about 10,000; removed after the instance",
        "written by peers, read and emptied by the instance",
        "messages between instances",
    ),
    Key(
        "lingua:streams:{instance:<instance>}:dlq",
        "stream",
        "trimmed to about 10,000; a day from the removal of the inbox",
        "whoever gave up an entry",
        "inbox entries that could not be processed, with the reason",
    ),
)


class Keys:
    """Names under one prefix. Raises ValueError for a prefix that could break out of it (braces, spaces, emptiness)."""

    def __init__(self, prefix: str = DEFAULT_PREFIX, *, is_cluster: bool = False) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(f"not a key prefix (1–64 of A-Za-z0-9._:-, a letter or digit first): {prefix!r}")
        self.prefix = prefix
        self._root = f"{{{prefix}}}:" if is_cluster else f"{prefix}:"
        self.v1 = f"{self._root}v1:"
        """Area of nodes, pools, queues and jobs."""
        if is_cluster:
            self.session_area = self._root
        else:
            self.session_area = "scheduler:" if prefix == DEFAULT_PREFIX else f"{prefix}:scheduler:"
        self.presence_area = f"{self._root}schedulers:presence:"
        self.instances = f"{self._root}schedulers:all"
        self.leaving = f"{self._root}schedulers:leaving"
        self.nodes = f"{self.v1}nodes:all"

    def node(self, node_id: NodeId) -> str:
        return f"{self.v1}node:{node_id}"

    def node_pools(self, node_id: NodeId) -> str:
        return f"{self.v1}node:{node_id}:pools"

    def node_jobs(self, node_id: NodeId) -> str:
        return f"{self.v1}node:{node_id}:jobs"

    def lane(self, lane: str) -> str:
        return f"{self.v1}lane:{lane}"

    def queue(self, line: str) -> str:
        return f"{self.v1}queue:{line}"

    def job(self, job_id: JobId) -> str:
        return f"{self.v1}job:{job_id}"

    def room_lines(self, room_id: RoomId) -> str:
        return f"{self.v1}room:{room_id}:lines"

    def room_of(self, session_id: SessionId) -> str:
        return f"{self.v1}room_of:{session_id}"

    def session(self, session_id: SessionId) -> str:
        return f"{self.session_area}session:{session_id}"

    def session_outbox(self, session_id: SessionId) -> str:
        return f"{self.session(session_id)}:outbox"

    def presence(self, instance_id: InstanceId) -> str:
        return f"{self.presence_area}{instance_id}"

    def report(self, instance_id: InstanceId) -> str:
        return f"{self._root}schedulers:report:{instance_id}"

    def owner(self, kind: OwnedKind, owned_id: str) -> str:
        return f"{self._root}{kind}:owner:{{{kind.removesuffix('s')}:{owned_id}}}"

    def inbox(self, instance_id: InstanceId) -> str:
        return f"{self._root}streams:{{instance:{instance_id}}}:inbox"

    def dlq(self, instance_id: InstanceId) -> str:
        return f"{self._root}streams:{{instance:{instance_id}}}:dlq"


def lane_of(pairs: tuple[tuple[Language, Language], ...]) -> str:
    """The lane of jobs that need `pairs`: `zh:en`, or `en~zh` where both directions are needed.

    Other combinations draw from their first pair's lane, and the script looks for the rest on each node it meets.
    """
    if len(pairs) == 2 and pairs[0] == pairs[1][::-1]:
        return "~".join(sorted(pairs[0]))
    src, tgt = pairs[0]
    return f"{src}:{tgt}"


def key_table_markdown() -> str:
    """The table of `docs/redis.md`."""
    rows = [f"| `{key.pattern}` | {key.type} | {key.ttl} | {key.owner} | {key.purpose} |" for key in KEY_TABLE]
    return "\n".join(["| key | type | TTL | who writes, who removes | content |", "|---|---|---|---|---|", *rows])
