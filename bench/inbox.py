"""How long a message between two instances takes through an inbox, and what an idle instance costs Redis.

    python -m bench.inbox --messages 2000 --idle-s 60

Two processes, each with its inbox on one Redis. One sends a message, the other answers as soon as it has read it; half
of that round trip is one message. Then one real instance without nodes or clients is left alone, and Redis counts the
commands, those inside scripts too.
"""

import argparse
import asyncio
import re
import statistics
import sys
import time
from pathlib import Path

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.config import Config, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.streams import Inbox

ROOT = Path(__file__).parents[1]
ASKER, ANSWERER = InstanceId("asker"), InstanceId("answerer")
SIZES = {"a report": 400, "an assignment with 3 s of Opus": 12_000, "an assignment with 10 s of PCM16": 320_000}
WARM_UP = 50


async def answer(url: str) -> None:
    """The other process."""
    async with RedisClient.open(url) as client, Inbox.open(url, Keys(), client, ANSWERER) as inbox:
        await inbox.create()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            for entry in await inbox.read():
                await inbox.publish(ASKER, entry.payload)
                await inbox.done([entry])


async def round_trips(inbox: Inbox, size: int, count: int) -> list[float]:
    """In milliseconds."""
    took: list[float] = []
    payload = bytes(size)
    for _ in range(WARM_UP + count):
        started = time.perf_counter()
        await inbox.publish(ANSWERER, payload)
        while not (entries := await inbox.read()):
            pass
        took.append((time.perf_counter() - started) * 1000)
        await inbox.done(entries)
    return took[WARM_UP:]


async def latency(url: str, count: int) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.inbox", "--answer", url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        await child.stdout.readline()
        async with RedisClient.open(url) as client, Inbox.open(url, Keys(), client, ASKER) as inbox:
            await inbox.create()
            for name, size in SIZES.items():
                halves = sorted(took / 2 for took in await round_trips(inbox, size, count))
                p95, p99 = (halves[int(len(halves) * share)] for share in (0.95, 0.99))
                print(f"{name:34} p50 {statistics.median(halves):.2f} ms  p95 {p95:.2f}  p99 {p99:.2f}")
    finally:
        child.terminate()
        await child.wait()


async def idle(url: str, seconds: float) -> None:
    async with (
        Scheduler.start(Config(server=ServerConfig(port=0)), url),
        RedisClient.open(url) as client,
    ):
        await asyncio.sleep(2)
        await client.call("CONFIG", "RESETSTAT")
        await asyncio.sleep(seconds)
        stats = str(await client.call("INFO", "commandstats"))
    counts = {name: int(calls) for name, calls in re.findall(r"cmdstat_(\w+)[^:]*:calls=(\d+)", stats)}
    counts.pop("config", None)
    print(f"an idle instance: {sum(counts.values()) / seconds:.2f} commands a second {counts}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--answer", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        await answer(args.answer)
        return
    async with EmbeddedRedis.start() as redis:
        print(redis.description)
        await latency(redis.url, args.messages)
        async with RedisClient.open(redis.url) as client:
            await client.call("FLUSHALL")
        await idle(redis.url, args.idle_s)


if __name__ == "__main__":
    asyncio.run(main())
