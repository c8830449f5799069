"""Runs the store on a real Redis and its model side by side, and compares replies and state after every call.

Time is stated to both: scripts are given it instead of the server's clock. A TTL is taken off each key as soon as a
script has set it, noted, and acted on when the stated time passes it; so hours pass in milliseconds and nothing depends
on how fast the machine is.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from lingua_scheduler.core.placement import Candidate, Selected, SelectReply, SelectRequest
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId
from lingua_scheduler.store.model import StoreModel
from lingua_scheduler.store.model.lines import Line
from lingua_scheduler.store.records import JobStory, NodeSnapshot
from lingua_scheduler.store.store import Store
from tests.store.dump import Stored, dump, row_of

T = TypeVar("T")
PATIENT_MS = 30_000
START_MS = 1_800_000_000_000
TTL_GRAIN_MS = 5000
"""Every TTL is a multiple of this: what is read back a moment later is rounded up to it."""
Seen = tuple[dict[str, Stored], list[NodeSnapshot], dict[JobId, JobStory | None], dict[SessionId, dict[str, str]]]


class LockStep:
    """Both stores, one stated time. `close` it."""

    def __init__(self, url: str) -> None:
        self.now = START_MS
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._ends: dict[str, int] = {}
        self._drawn: Sequence[NodeId] | None = None
        store = Store.open(url, timeout_ms=PATIENT_MS, rng=random.Random(7), now_ms=lambda: self.now)
        self.real = self._run(self._stack.enter_async_context(store))
        self._run(self.real.client.call("FLUSHALL"))
        self.model = StoreModel(lambda: self.now, self._choose)
        self.jobs: set[JobId] = set()
        self.sessions: set[SessionId] = set()

    def close(self) -> None:
        self._run(self._stack.aclose())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    # ------------------------------------------------------------------------------- calls

    def call(self, real: Callable[..., Coroutine[Any, Any, T]], model: Callable[..., T], *args: Any, **named: Any) -> T:
        """One call on both; their replies must be equal, and so must everything that can be seen afterwards."""
        got = self._run(real(*args, **named))
        wanted = model(*args, **named)
        assert got == wanted, f"scripts: {got}\n  model: {wanted}"
        self.compare()
        return got

    def select(self, request: SelectRequest) -> SelectReply:
        """The model is told which candidates the script drew: it checks that they could be, and decides among them."""
        self.jobs.add(request.job_id)
        self.sessions.add(request.session_id)
        got = self._run(self.real.jobs.select(request))
        self._drawn = [one.node_id for one in got.candidates] if isinstance(got, Selected) else None
        wanted = self.model.jobs.select(request)
        assert got == wanted, f"scripts: {got}\n  model: {wanted}"
        self.compare()
        return got

    def _choose(self, free: Sequence[Candidate], request: SelectRequest) -> Sequence[NodeId]:
        assert self._drawn, f"no node was drawn for {request.job_id}, free are {free}"
        return self._drawn

    def advance(self, by_ms: int) -> None:
        """Time passes; keys end."""
        self.now += by_ms
        ended = [name for name, end in self._ends.items() if end <= self.now]
        if ended:
            self._run(self.real.client.call("DEL", *ended))
            for name in ended:
                del self._ends[name]

    # ------------------------------------------------------------------------------- what can be seen

    def compare(self) -> None:
        """Everything that is stored is what the model says, by the store's own eyes and by Redis's."""
        keys, snapshot, stories, sessions = self._run(self._look())
        self._note_ends(keys)
        assert snapshot == self.model.nodes.snapshot()
        for job, story in stories.items():
            assert story == self.model.jobs.story(job)
        for session, fields in sessions.items():
            assert fields == self.model.sessions.read(session)
        values = {name: stored.value for name, stored in keys.items()}
        self._compare_keys(values)
        self._compare_lanes(values)

    async def _look(self) -> Seen:
        jobs, sessions = sorted(self.jobs), sorted(self.sessions)
        keys, snapshot, stories, hashes = await asyncio.gather(
            dump(self.real.client),
            self.real.nodes.snapshot(),
            asyncio.gather(*(self.real.jobs.story(job) for job in jobs)),
            asyncio.gather(*(self.real.sessions.read(session) for session in sessions)),
        )
        return keys, snapshot, dict(zip(jobs, stories, strict=True)), dict(zip(sessions, hashes, strict=True))

    def _note_ends(self, keys: dict[str, Stored]) -> None:
        for name, stored in keys.items():
            row = row_of(name)
            assert stored.type == row.type, f"{name} is a {stored.type}"
            if stored.ttl_ms >= 0:
                assert row.ttl != "none", f"{name} has a TTL"
                self._ends[name] = self.now + -(-stored.ttl_ms // TTL_GRAIN_MS) * TTL_GRAIN_MS
            else:
                assert row.ttl == "none" or name in self._ends, f"{name} has no TTL"
        if named := [name for name, stored in keys.items() if stored.ttl_ms >= 0]:
            self._run(self.real.client.pipeline([("PERSIST", name) for name in named]))
        for name in set(self._ends) - set(keys):
            del self._ends[name]

    def _compare_keys(self, keys: dict[str, Any]) -> None:
        world, v1 = self.model.world, "lingua:v1:"
        assert keys.get(f"{v1}nodes:all", set()) == world.all_nodes
        assert keys.get(f"{v1}deadlines", {}) == world.deadlines
        for node_id, trail in world.trails.items():
            assert keys.get(f"{v1}node:{node_id}:jobs", {}) == trail.jobs
            assert keys.get(f"{v1}node:{node_id}:guests", {}) == trail.guests
        for job_id, job in world.jobs.items():
            assert keys.get(f"{v1}job:{job_id}:node") == job.bound
        for key, (job_id, until) in world.job_keys.items():
            assert keys.get(f"scheduler:job_key:{key}") == (job_id if until > self.now else None)
        queues = {name.removeprefix(f"{v1}queue:") for name in keys if name.startswith(f"{v1}queue:")}
        for name in {queue.removesuffix(":turns") for queue in queues} | set(world.lines):
            line = world.lines.get(name, Line())
            assert keys.get(f"{v1}queue:{name}", {}) == line.turns
            self._compare_turns(keys.get(f"{v1}queue:{name}:turns", {}), line)

    def _compare_turns(self, stored: dict[str, str], line: Line) -> None:
        tenants = {name.removeprefix("tenant:"): int(turn) for name, turn in stored.items() if name[:7] == "tenant:"}
        assert tenants == line.tenants
        numbers = [int(stored.get(name, 0)) for name in ("virtual", "arrivals")]
        assert numbers == [line.virtual, line.arrivals]
        assert stored.get("gap_ms", "1000") == str(line.gap_ms)
        assert stored.get("served_at_ms") == (None if line.served_at_ms is None else str(line.served_at_ms))

    def _compare_lanes(self, keys: dict[str, Any]) -> None:
        """What makes selection fast is true to the nodes: membership exact, never more pessimistic than the truth."""
        world, v1 = self.model.world, "lingua:v1:"
        lanes = {lane for node_id in world.trails for lane in world.lanes(node_id)}
        stored = {name.removeprefix(f"{v1}lane:") for name in keys if name.startswith(f"{v1}lane:") and "@" not in name}
        assert stored == lanes
        for lane in lanes:
            scores = keys[f"{v1}lane:{lane}"]
            for instance in ("here", "there"):
                home = {node_id for node_id in scores if keys[f"{v1}node:{node_id}:home"] == instance}
                part = {node_id: score for node_id, score in scores.items() if node_id in home}
                assert keys.get(f"{v1}lane:{lane}@{instance}", {}) == part
            assert set(scores) == set(world.members(lane))
            waiting = f"{v1}queue:{lane}" in keys or f"{v1}queue:{lane}!" in keys
            for node_id, score in scores.items():
                recorded, truth = score, self._class_of(NodeId(node_id))
                watched = lane in keys.get(f"{v1}node:{node_id}:watched", set())
                assert recorded <= truth, f"{lane} hides {node_id}: {recorded} instead of {truth}"
                assert watched or recorded == 0, f"{node_id} is set aside in {lane} and nobody watches it"
                assert watched or not waiting, f"jobs wait in {lane} and {node_id} does not watch"
        self._compare_shards(keys)

    def _class_of(self, node_id: NodeId) -> int:
        node = self.model.world.node(node_id)
        if node is None:
            return 9
        is_full = self.model.world.free_slots(node_id) <= 0
        by_status = {"ready": 2 if is_full else 0, "degraded": 3 if is_full else 1, "draining": 5}
        return by_status.get(node.status, 4)

    def _compare_shards(self, keys: dict[str, Any]) -> None:
        """Each node is in exactly one shard of each of its pairs, the one that it says; shards have members."""
        shards: dict[str, dict[str, set[str]]] = {}
        for name, members in keys.items():
            if name.startswith("lingua:v1:pool:") and name.endswith(":nodes"):
                src, tgt, pool = name.split(":")[3:6]
                shards.setdefault(f"{src}:{tgt}", {})[pool] = members
                assert 0 < len(members) <= 100
        for pair, pools in shards.items():
            assert keys[f"lingua:v1:pool:{pair}:shards"] == set(pools)
        said = {
            (pair, pool, node_id)
            for node_id in self.model.world.trails
            for pair, pool in keys.get(f"lingua:v1:node:{node_id}:pools", {}).items()
        }
        kept = {(pair, pool, node) for pair, pools in shards.items() for pool, nodes in pools.items() for node in nodes}
        assert said == kept
