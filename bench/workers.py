"""What a second worker brings on two cores: `python -m bench.workers`.

In turns one instance with N sessions and two with N each, each instance on a core of its own, and the load, its nodes
and Redis on both. Both instances are then busy at the same time, and half of the sentences go to a node at the other. A
worker has so much capacity as its frames are cheap, all that speech costs included: two have 2 × (cost with one) /
(cost with two) of one. The load must not have been late, or the machine was full.
"""

import argparse
import asyncio
import statistics
from dataclasses import replace

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Measured, Stand


async def measure(settings: Settings) -> Measured:
    async with Stand.open() as stand:
        cores = sorted({*stand.server_cores, *stand.load_cores})
        stand.server_cores = stand.load_cores = cores
        async with stand.redis() as redis, stand.scheduler(redis, settings.workers) as server:
            return await stand.load(server, settings.plan(server), redis)


def told(name: str, measured: Measured) -> str:
    outcome = measured.outcome
    p99_ms = {one: Histogram.load(getattr(outcome, one)).summary_ms()["p99"] for one in ("dispatch", "late")}
    return (
        f"| {name} | {measured.cpu_us_per_frame:.1f} | {measured.server_load:.2f} | {measured.load_load:.2f} "
        f"| {p99_ms['dispatch']:.1f} | {p99_ms['late']:.1f} | {outcome.errors or 'none'} |"
    )


async def compare(settings: Settings, rounds: int) -> None:
    print("| workers | µs a frame, all of it | cores | load's cores | dispatch p99, ms | load late p99, ms | errors |")
    gains: list[float] = []
    for _ in range(rounds):
        one = await measure(settings)
        print(told("1", one), flush=True)
        two = await measure(replace(settings, workers=2, sessions=settings.sessions * 2))
        print(told("2", two), flush=True)
        gains.append(2 * one.cpu_us_per_frame / two.cpu_us_per_frame)
    print(f"two are {statistics.median(gains):.2f} × one ({min(gains):.2f}-{max(gains):.2f} in {rounds} rounds)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=400, help="of each worker")
    parser.add_argument("--frames", choices=("json", "binary", "opus"), default="opus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    settings = Settings(sessions=args.sessions, frames=args.frames, seconds=args.seconds)
    asyncio.run(compare(settings, args.rounds))


if __name__ == "__main__":
    main()
