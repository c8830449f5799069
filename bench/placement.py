"""Cost of placing a job: time in Redis for one select-and-reserve, and selections per second through the Python API.

`python -m bench.placement` prints tables for `bench/RESULTS.md`. Redis's own count (`INFO commandstats`) is taken over
batches of 50 calls; the best, the median and the 90th percentile of the batches are shown, because what other programs
on the machine cost makes single batches dearer. `--quick` for a look.

The floor is a script that takes the same arguments, makes the same commands on keys as cold as those of the real one,
and decides nothing: what any placement by a script would cost. Its batches alternate with the real ones.
"""

import argparse
import asyncio
import random
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import redis.asyncio as redis_py

from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration
from lingua_scheduler.core.placement import Selected, SelectRequest
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.protocol.node import Hardware, LanguageCapabilities, NodeRegister
from lingua_scheduler.runtime import loop
from lingua_scheduler.store.embedded import EmbeddedRedis, ServerBinary, find_servers
from lingua_scheduler.store.jobs import SELECT, request_words
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


@dataclass(frozen=True, slots=True)
class Sizes:
    nodes: tuple[int, ...]
    batches: int
    selections: int


FULL = Sizes(nodes=(0, 1000, 10_000), batches=80, selections=20_000)
QUICK = Sizes(nodes=(0, 1000), batches=10, selections=5000)


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


def spread(figures: Sequence[float]) -> str:
    ordered = sorted(figures)
    return f"{ordered[0]:.0f} · {statistics.median(ordered):.0f} · {ordered[int(len(ordered) * 0.9)]:.0f}"


async def redis_table(binary: ServerBinary, sizes: Sizes) -> None:
    """Script time by number of nodes and how full they are; a batch of jobs ends before the next is placed."""
    for nodes in sizes.nodes:
        async with EmbeddedRedis.start(binary=binary, memory_mb=2048) as server, Store.open(server.url) as store:
            load = Load(store)
            await load.add_nodes(nodes)
            for share in (0.1, 0.5) if nodes else (0.0,):
                await load.fill(share, nodes)
                selects: list[float] = []
                floors: list[float] = []
                finishes: list[float] = []
                await load.select(BATCH)
                await load.finish(BATCH)
                looks = round(await commands_per_script(store, "zrange", partial(load.select, BATCH)))
                for _ in range(sizes.batches):
                    finishes.append(await script_us(store, partial(load.finish, BATCH)))
                    selects.append(await script_us(store, partial(load.select, BATCH)))
                    if nodes:
                        floors.append(await script_us(store, partial(load.floor, BATCH, looks)))
                cells = (spread(selects), spread(floors), ratio(selects, floors), spread(finishes)) if nodes else ()
                full = f"{share:.0%}" if nodes else "–"
                row(server.description, f"{nodes:,}", full, *(cells or (spread(selects), "–", "–", "–")))


def ratio(figures: Sequence[float], floors: Sequence[float]) -> str:
    return f"{min(figures) / min(floors):.2f} · {statistics.median(figures) / statistics.median(floors):.2f}"


def row(*cells: object) -> None:
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


async def rate(calls: int, tasks: int, call: Callable[[], Awaitable[object]]) -> float:
    """Calls per second with so many tasks asking one after the other."""

    async def asker() -> None:
        for _ in range(calls // tasks):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(asker() for _ in range(tasks)))
    return calls / (time.perf_counter() - began)


async def api_table(binary: ServerBinary, sizes: Sizes) -> None:
    """Selections per second at 1,000 nodes, each followed by its finish outside of the clock."""
    async with EmbeddedRedis.start(binary=binary, memory_mb=2048) as server, Store.open(server.url) as store:
        load = Load(store)
        await load.add_nodes(1000)
        pool = redis_py.Redis.from_url(server.url, max_connections=64)
        keys = (store.keys.v1, store.keys.session_area, store.keys.presence_area)

        async def through_store() -> None:
            request = load.request()
            reply = await store.jobs.select(request)
            assert isinstance(reply, Selected)
            load.running.append((request.job_id, reply.node_id))

        async def through_redis_py() -> None:
            request = load.request()
            words = ("", random.randint(1, 2**31 - 2), "", *request_words(request))
            reply = await pool.evalsha(SELECT.sha, 3, *keys, *words)
            load.running.append((request.job_id, NodeId(reply[1].decode())))

        ways = [("the store, one connection", through_store), ("redis-py, a connection each", through_redis_py)]
        for tasks in (1, 16, 64, 256):
            for name, call in ways:
                if call is through_redis_py and tasks > 64:
                    continue
                rates: list[float] = []
                for _ in range(5):
                    rates.append(await rate(sizes.selections // 5, tasks, call))
                    while load.running:
                        await load.finish(500)
                ordered = sorted(rates)
                figures = f"{ordered[0]:,.0f} · {ordered[2]:,.0f} · {ordered[4]:,.0f}"
                row(server.description, name, tasks, figures)
        await pool.aclose()


async def main(sizes: Sizes) -> int:
    row(
        "server",
        "nodes",
        "slots taken",
        "select, µs (best · median · p90)",
        "floor, µs",
        "ratio (best · median)",
        "finish",
    )
    row(*["---"] * 7)
    for binary in find_servers():
        await redis_table(binary, sizes)
    print(f"\n{loop.loop_name()}\n")
    row("server", "through", "tasks", "selections/s (worst · median · best)")
    row(*["---"] * 4)
    for binary in find_servers():
        await api_table(binary, sizes)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    raise SystemExit(loop.run(main(QUICK if parser.parse_args().quick else FULL)))
