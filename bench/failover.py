"""How long a sentence waits for its second attempt when its node dies, and whether any sentence is lost or doubled.

    python -m bench.failover --trials 200

Each trial: a node in a process of its own takes the job of a real session, then is killed with SIGKILL (its socket
closes) or stopped with SIGSTOP (it hangs with its socket open). Measured is the time from that signal until the second
attempt is at another node. The other node answers; the client must have got exactly one result for the sentence.
"""

import argparse
import asyncio
import json
import platform
import signal
import string
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from aiohttp import ClientSession

from lingua_scheduler.bench.peers import ClientAgent, NodeAgent, Pair
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult
from lingua_scheduler.protocol.node import JobAssign
from lingua_scheduler.runtime.config import Config, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis

ROOT = Path(__file__).parents[1]
AUDIO = bytes(16_000)
"""Half a second of PCM16 at 16 kHz."""
Outcomes = AsyncGenerator[TranslationResult | MissingResult]
Jobs = AsyncGenerator[JobAssign]
TARGETS_MS = {"SIGKILL": 500, "SIGSTOP": 3500}


@dataclass
class Tally:
    """What the trials of one signal came to."""

    second_attempt_ms: list[float] = field(default_factory=list[float])
    lost: int = 0
    doubled: int = 0


async def trial(url: str, http: ClientSession, pair: Pair, name: signal.Signals, tally: Tally) -> None:
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lingua_scheduler.bench.peers", url, f"victim-{pair[0]}{pair[1]}-{name.name}",
        ":".join(pair), cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert victim.stdout is not None
    try:
        await victim.stdout.readline()
        client = await ClientAgent.open(http, url, pair)
        outcomes = client.outcomes()
        await client.speak(AUDIO)
        await victim.stdout.readline()
        async with NodeAgent.connected(url, f"rescuer-{pair[0]}{pair[1]}-{name.name}", [pair], 4) as rescuer:
            jobs = rescuer.jobs()
            await asyncio.sleep(0.2)  # the rescuer's heartbeat is to be in the store before the signal
            clock = asyncio.get_running_loop().time
            at = clock()
            victim.send_signal(name)
            job = await anext(jobs)
            tally.second_attempt_ms.append((clock() - at) * 1000)
            assert job.attempt_id == 2, job
            await rescuer.answer(job, "rescued")
            await count_results(client, rescuer, outcomes, jobs, tally)
    finally:
        if victim.returncode is None:
            victim.kill()
        await victim.wait()


async def count_results(client: ClientAgent, rescuer: NodeAgent, outcomes: Outcomes, jobs: Jobs, tally: Tally) -> None:
    """A second utterance marks the end: everything before its result belongs to the first."""
    await client.speak(AUDIO)
    await rescuer.answer(await anext(jobs), "marker")
    results = 0
    async for outcome in outcomes:
        if outcome.utterance_index == 1:
            break
        results += isinstance(outcome, TranslationResult)
    tally.lost += results == 0
    tally.doubled += results > 1
    await client.ws.close()


async def run(trials: int, at_once: int) -> dict[str, dict[str, float]]:
    codes = ["".join(letters) for letters in product(string.ascii_lowercase, repeat=2)]
    tallies = {name: Tally() for name in (signal.SIGKILL, signal.SIGSTOP)}
    async with (
        EmbeddedRedis.start() as redis,
        Scheduler.start(Config(server=ServerConfig(port=0)), redis.url) as scheduler,
        ClientSession() as http,
    ):
        for name, tally in tallies.items():
            gate = asyncio.Semaphore(at_once)

            async def one(
                i: int, name: signal.Signals = name, tally: Tally = tally, gate: asyncio.Semaphore = gate
            ) -> None:
                async with gate:
                    pair = (codes[i], codes[i + trials])
                    await trial(scheduler.url, http, pair, name, tally)

            async with asyncio.TaskGroup() as group:
                for i in range(trials):
                    group.create_task(one(i))
    return {name.name: summary(tally) for name, tally in tallies.items()}


def summary(tally: Tally) -> dict[str, float]:
    times = sorted(tally.second_attempt_ms)

    def at(share: float) -> float:
        return round(times[min(len(times) - 1, int(len(times) * share))], 1)

    return {
        "trials": len(times), "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": round(times[-1], 1),
        "lost": tally.lost, "doubled": tally.doubled,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="of each signal (default 200)")
    parser.add_argument("--at-once", type=int, default=8, help="trials side by side (default 8)")
    arguments = parser.parse_args()
    report = asyncio.run(run(arguments.trials, arguments.at_once))
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(json.dumps(report, indent=1))
    if any(
        report[name]["p99_ms"] > limit or report[name]["lost"] or report[name]["doubled"]
        for name, limit in TARGETS_MS.items()
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
