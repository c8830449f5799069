"""Scenario `failover`: how long a sentence waits for its second attempt when its node dies; is any lost or doubled?

Each trial: a node in a process of its own takes the job of a real session, then is killed with SIGKILL (its socket
closes) or stopped with SIGSTOP (it hangs with its socket open). Measured is the time from that signal until the second
attempt is at another node. The other node answers; the client must have got exactly one result for the sentence.

The floor, for a node that is killed: the same trials with the relay, which notices the end of a socket and sends the
job again at once. A hanging node is noticed by waiting, for which there is none.
"""

import asyncio
import signal
import string
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from itertools import product

from aiohttp import ClientSession

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.machine import clock_s
from lingua_scheduler.bench.peers import ClientAgent, NodeAgent, Pair
from lingua_scheduler.bench.report import Report, latency
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Server, Stand
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult
from lingua_scheduler.protocol.node import JobAssign

AUDIO = bytes(16_000)
"""Half a second of PCM16 at 16 kHz."""
AT_ONCE = 8
Outcomes = AsyncGenerator[TranslationResult | MissingResult]
Jobs = AsyncGenerator[JobAssign]
TARGETS_MS = {signal.SIGKILL: 500.0, signal.SIGSTOP: 3500.0}
NAMES = {signal.SIGKILL: "node killed", signal.SIGSTOP: "node hangs"}


@dataclass
class Tally:
    """What the trials of one signal came to."""

    second_attempt: Histogram = field(default_factory=Histogram)
    lost: int = 0
    doubled: int = 0


async def trial(server: Server, http: ClientSession, pair: Pair, name: signal.Signals, tally: Tally) -> None:
    victim_id, rescuer_id = (f"{who}-{pair[0]}{pair[1]}-{name.name}" for who in ("victim", "rescuer"))
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lingua_scheduler.bench.peers", server.url, victim_id, ":".join(pair),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert victim.stdout is not None
    try:
        await victim.stdout.readline()
        await server.serves(pair, victim_id)
        client = await ClientAgent.open(http, server.url, pair)
        outcomes = client.outcomes()
        await client.speak(AUDIO)
        await victim.stdout.readline()
        async with NodeAgent.connected(server.url, rescuer_id, [pair], 4) as rescuer:
            jobs = rescuer.jobs()
            await server.serves(pair, rescuer_id)
            at = clock_s()
            victim.send_signal(name)
            job = await anext(jobs)
            tally.second_attempt.add_s(clock_s() - at)
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


async def run(settings: Settings) -> Report:
    report = Report(scenario="failover", settings=settings.told("trials"))
    async with Stand.open() as stand, stand.redis() as redis, ClientSession() as http:
        report.machine["redis"] = redis.description
        async with stand.scheduler(redis) as scheduler:
            tallies = {name: await _trials(scheduler, http, name, settings.trials) for name in TARGETS_MS}
        async with stand.floor() as floor:
            relayed = await _trials(floor, http, signal.SIGKILL, settings.trials)
    for name, tally in tallies.items():
        report.latencies.append(latency(NAMES[name], tally.second_attempt, {"p99": TARGETS_MS[name]}))
        told = {f"{NAMES[name]}: lost": tally.lost, f"{NAMES[name]}: doubled": tally.doubled}
        report.add_errors({what: count for what, count in told.items() if count})
    report.latencies[0].floor = relayed.second_attempt.summary_ms()
    return report


async def _trials(server: Server, http: ClientSession, name: signal.Signals, count: int) -> Tally:
    """So many, each with a pair of languages of its own, some at a time."""
    tally, gate = Tally(), asyncio.Semaphore(AT_ONCE)
    codes = ["".join(letters) for letters in product(string.ascii_lowercase, repeat=2)]

    async def one(i: int) -> None:
        async with gate:
            await trial(server, http, (codes[i], codes[-1 - i]), name, tally)

    async with asyncio.TaskGroup() as group:
        for i in range(count):
            group.create_task(one(i))
    return tally
