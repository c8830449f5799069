"""Scenario `placement`: Redis's processor time for one select-and-reserve, by the size of the fleet.

Redis's own count (`INFO commandstats`) is taken over batches of 50 calls: what other programs on the machine cost makes
single batches dearer. The floor is a script that takes the same arguments, makes the same commands on keys as cold as
those of the real one, and decides nothing: what any placement by a script would cost. Its batches alternate with the
real ones.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from functools import partial

from lingua_scheduler.bench.report import Report, figure
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Stand
from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration
from lingua_scheduler.core.placement import Selected, SelectRequest
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.protocol.node import Hardware, LanguageCapabilities, NodeRegister
from lingua_scheduler.store.jobs import request_words
from lingua_scheduler.store.store import Store

HEARS = tuple(Language(code) for code in ("en", "zh", "ja", "ko", "es"))
SPEAKS = tuple(Language(code) for code in ("en", "zh", "ja", "pt"))
PAIRS = tuple((src, tgt) for src in HEARS for tgt in SPEAKS)
INSTANCES = tuple(InstanceId(f"scheduler-{number}") for number in range(4))
SERVICES = ("asr", "nmt", "tts")
CAPACITY = 4
BATCH = 50
FLOOR = """
local v1, area, job = KEYS[1], KEYS[2], ARGV[4]
local lane, floor = v1 .. 'lane:' .. ARGV[10], v1 .. 'floor:'
redis.call('GET', area .. 'floor:' .. job)
redis.call('EXISTS', floor .. job, v1 .. 'queue:' .. ARGV[10])
local now = redis.call('TIME')[1]
local size, node = redis.call('ZCARD', lane .. '@' .. ARGV[17]), nil
local rank = tonumber(ARGV[2])
for look = 1, LOOKS do
  node = redis.call('ZRANGE', lane, rank * look % size, rank * look % size)[1]
  redis.call('HGET', v1 .. 'node:' .. node, 'brief')
  redis.call('ZCARD', v1 .. 'node:' .. node .. ':jobs')
end
redis.call('ZADD', floor .. 'node:' .. node, now, job)
redis.call('ZADD', floor .. 'deadlines', now, job)
redis.call('HSET', floor .. job, 'attempt', '1', 'owner', ARGV[17], 'session', ARGV[7], 'tenant', ARGV[8], 'index', '7',
  'pairs', ARGV[11], 'trace', ARGV[16], 'status', 'assigned', 'node', node, 'assigned_ms', now, 'choice:1', node)
redis.call('PEXPIRE', floor .. job, '3600000')
redis.call('SET', area .. 'floor:' .. job, job, 'PX', '300000')
redis.call('SET', floor .. job .. ':node', node, 'PX', '3600000')
return { 'SELECTED', node, ARGV[17], 1, 'only', { node, 0 } }
"""
SELECT_US = 40.0
BATCHES = 16
"""Of a round."""


class Load:
    """Nodes and jobs on one store. Jobs come from all instances, for all pairs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rng = random.Random(1)
        self._count = 0
        self.running: list[tuple[JobId, NodeId]] = []

    async def add_nodes(self, count: int) -> None:
        for start in range(0, count, 200):
            await asyncio.gather(*(self._add_node(number) for number in range(start, min(start + 200, count))))

    async def _add_node(self, number: int) -> None:
        message = NodeRegister(
            version="1",
            platform="linux",
            hardware=Hardware(cpu_cores=8, memory_gb=32),
            installed_models=[],
            capability_by_type=[],
            features_supported={},
            accept_public_jobs=True,
            language_capabilities=LanguageCapabilities(),
        )
        node = Registration(
            node_id=NodeId(f"node-{number:016x}"),
            protocol=2,
            capacity=CAPACITY,
            languages=Languages(HEARS, HEARS, SPEAKS),
            services=SERVICES,
            accept_public_jobs=True,
            binary_audio=True,
            zone="",
            message=message,
        )
        registered = await self._store.nodes.register(node, INSTANCES[number % len(INSTANCES)])
        busy = NodeLoad(cpu_percent=self._rng.randrange(60))
        reply = await self._store.nodes.heartbeat(node.node_id, registered.epoch, "ready", busy, SERVICES)
        assert reply.is_ok

    def request(self, pair: tuple[Language, Language] | None = None) -> SelectRequest:
        self._count += 1
        name = f"{self._count:022x}"
        return SelectRequest(
            job_id=JobId(f"job-{name}"),
            job_key=f"tenant:{name}:7:translation:en:0123456789abcdef",
            attempt=1,
            session_id=SessionId(name),
            tenant_id=TenantId("tenant"),
            utterance_index=7,
            pairs=(pair or self._rng.choice(PAIRS),),
            services=SERVICES,
            lease_ms=60_000,
            wait_ms=0,
            trace_id=TraceId(f"trace-{name}"),
            preferred_instance=self._rng.choice(INSTANCES),
        )

    async def select(self, count: int) -> None:
        requests = [self.request() for _ in range(count)]
        replies = await asyncio.gather(*(self._store.jobs.select(request) for request in requests))
        for request, reply in zip(requests, replies, strict=True):
            if isinstance(reply, Selected):
                self.running.append((request.job_id, reply.node_id))

    async def floor(self, count: int, looks: int) -> None:
        """As many calls of the script that decides nothing."""
        client, keys = self._store.client, self._store.keys
        text = FLOOR.replace("LOOKS", str(looks))
        sha = str(await client.call("SCRIPT", "LOAD", text))
        areas = (keys.v1, keys.session_area, keys.presence_area)
        words = [("", self._rng.randrange(1, 2**31), "", *request_words(self.request())) for _ in range(count)]
        await asyncio.gather(*(client.call("EVALSHA", sha, 3, *areas, *one) for one in words))

    async def finish(self, count: int) -> None:
        """The longest running jobs end."""
        ended, self.running = self.running[:count], self.running[count:]
        finish = self._store.jobs.finish
        await asyncio.gather(*(finish(job, 1, node, "completed") for job, node in ended))

    async def fill(self, share: float, nodes: int) -> None:
        wanted = int(nodes * CAPACITY * share)
        while len(self.running) < wanted:
            await self.select(min(500, wanted - len(self.running)))


async def script_us(store: Store, work: Callable[[], Awaitable[None]]) -> float:
    """Microseconds of Redis per script call during `work`."""
    await store.client.call("CONFIG", "RESETSTAT")
    await work()
    stats = str(await store.client.call("INFO", "commandstats"))
    found = re.search(r"cmdstat_evalsha:calls=\d+,usec=\d+,usec_per_call=([\d.]+)", stats)
    return float(found[1]) if found else 0.0


async def commands_per_script(store: Store, command: str, work: Callable[[], Awaitable[None]]) -> float:
    """How often a script makes a command, on average."""
    await store.client.call("CONFIG", "RESETSTAT")
    await work()
    stats = str(await store.client.call("INFO", "commandstats"))
    calls = {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", stats)}
    return calls.get(command, 0) / calls["evalsha"]


async def run(settings: Settings) -> Report:
    report = Report(scenario="placement", settings=settings.told("nodes", "rounds"))
    for share in (0.1, 0.5):
        async with Stand.open() as stand, stand.redis() as redis, Store.open(redis.url) as store:
            report.machine["redis"] = redis.description
            load = Load(store)
            await load.add_nodes(settings.nodes)
            await load.fill(share, settings.nodes)
            selects, floors, finishes = await batches(store, load, BATCHES * max(1, settings.rounds))
            told = figure(f"select a node, {share:.0%} of slots taken", "µs", selects, floors)
            told.target = SELECT_US
            report.figures += [told, figure("finish its job", "µs", finishes)]
    return report


async def batches(store: Store, load: Load, count: int) -> tuple[list[float], list[float], list[float]]:
    """Microseconds of Redis for a selection, for the floor and for a finish, batch by batch."""
    selects: list[float] = []
    floors: list[float] = []
    finishes: list[float] = []
    await load.select(BATCH)
    await load.finish(BATCH)
    looks = round(await commands_per_script(store, "zrange", partial(load.select, BATCH)))
    for _ in range(count):
        finishes.append(await script_us(store, partial(load.finish, BATCH)))
        selects.append(await script_us(store, partial(load.select, BATCH)))
        floors.append(await script_us(store, partial(load.floor, BATCH, looks)))
    return selects, floors, finishes
