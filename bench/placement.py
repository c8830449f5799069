"""Selections a second through the Python API at 1,000 nodes, beside redis-py: `python -m bench.placement`.

What a selection costs Redis tells `lingua bench placement --nodes 1000`. `--quick` for a look.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import redis.asyncio as redis_py

from lingua_scheduler.bench.placement import Load
from lingua_scheduler.core.placement import Selected
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.runtime import loop
from lingua_scheduler.store.embedded import EmbeddedRedis, ServerBinary, find_servers
from lingua_scheduler.store.jobs import SELECT, request_words
from lingua_scheduler.store.store import Store


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


async def api_table(binary: ServerBinary, selections: int) -> None:
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
                    rates.append(await rate(selections // 5, tasks, call))
                    while load.running:
                        await load.finish(500)
                ordered = sorted(rates)
                figures = f"{ordered[0]:,.0f} · {ordered[2]:,.0f} · {ordered[4]:,.0f}"
                row(server.description, name, tasks, figures)
        await pool.aclose()


async def main(selections: int) -> int:
    print(f"{loop.loop_name()}\n")
    row("server", "through", "tasks", "selections/s (worst · median · best)")
    row(*["---"] * 4)
    for binary in find_servers():
        await api_table(binary, selections)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    raise SystemExit(loop.run(main(5000 if parser.parse_args().quick else 20_000)))
