"""Scenario `dispatch`: short sentences at a stated rate; what one costs from its end to the node and back.

The relay beside it does the same on the same sockets and decides nothing: its latency and processor time are the floor
of ours. Redis has its own floor: the same scripts, asked for by a bare client. With `--sessions` and `--nodes` the rate
stays as it is, so that what an utterance costs can be compared over sizes of the fleet.
"""

import asyncio

from lingua_scheduler.bench.histogram import Histogram, merged
from lingua_scheduler.bench.placement import Load
from lingua_scheduler.bench.report import Figure, Report, figure, latency
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Measured, Redis, Stand
from lingua_scheduler.store.store import Store

TARGETS_MS = {"p50": 3.0, "p99": 15.0}
REDIS_US = 120.0
BARE_S = 3.0
_SPEECH_MS = 1000


async def run(settings: Settings) -> Report:
    report = Report(scenario="dispatch", settings=settings.told("sessions", "nodes", "rate", "service_ms", "frames"))
    async with Stand.open() as stand, stand.redis() as redis:
        report.machine["redis"] = redis.description
        ours: list[Measured] = []
        relayed: list[Measured] = []
        by_aiohttp: list[Measured] = []
        bare_us: list[float] = []
        for _ in range(max(1, settings.rounds)):
            async with stand.scheduler(redis) as server:
                ours.append(await stand.load(server, settings.utterance_plan(server, _SPEECH_MS), redis))
            bare_us.append(await _bare_scripts_us(redis, settings))
            async with stand.floor() as floor:
                relayed.append(await stand.load(floor, settings.utterance_plan(floor, _SPEECH_MS)))
            async with stand.floor("aiohttp") as floor:
                by_aiohttp.append(await stand.load(floor, settings.utterance_plan(floor, _SPEECH_MS)))
    _tell(report, ours, relayed, bare_us)
    report.figures.insert(1, _utterance("… beside aiohttp's relay", ours, by_aiohttp))
    report.latencies.append(latency("dispatch by aiohttp's relay", _merged(by_aiohttp, "dispatch")))
    return report


def _tell(report: Report, ours: list[Measured], relayed: list[Measured], bare_us: list[float]) -> None:
    counts = [max(1, one.outcome.utterances) for one in ours]
    redis_us = [one.redis.cpu_s / count * 1e6 for one, count in zip(ours, counts, strict=True)]
    reads = [one.redis.reads / count for one, count in zip(ours, counts, strict=True)]
    report.figures += [
        _utterance("CPU of an utterance", ours, relayed),
        figure("CPU of Redis per utterance", "µs", redis_us, bare_us),
        figure("Redis round trips per utterance", "", reads),
        figure("cores used by the server", "", [one.server_load for one in ours]),
    ]  # fmt: skip
    report.figures[1].target = REDIS_US
    for name in ("dispatch", "result"):
        told = latency(_NAMES[name], _merged(ours, name), TARGETS_MS if name == "dispatch" else None)
        told.floor = _merged(relayed, name).summary_ms()
        report.latencies.append(told)
    for one in (*ours, *relayed):
        report.add_errors(one.outcome.errors)


def _utterance(name: str, ours: list[Measured], relayed: list[Measured]) -> Figure:
    return figure(name, "µs", [one.cpu_us_per_utterance for one in ours], [one.cpu_us_per_utterance for one in relayed])


def _merged(rounds: list[Measured], name: str) -> Histogram:
    return merged(Histogram.load(getattr(one.outcome, name)) for one in rounds)


_NAMES = {"dispatch": "dispatch: end of speech → node", "result": "result: node → client"}


async def _bare_scripts_us(redis: Redis, settings: Settings) -> float:
    """Redis's processor time for one selection and its finish, asked for by a bare client at the same rate.

    At the same rate, as a script that runs now and then finds nothing of its own in the processor's caches. On as many
    nodes. The session's record, which our scheduler writes with the selection, is not among what it takes to place a
    job.
    """
    await redis.client.call("FLUSHALL")
    count = max(1, round(BARE_S * settings.rate))
    async with Store.open(redis.url) as store:
        load = Load(store)
        await load.add_nodes(settings.nodes)
        await load.select(1)
        await load.finish(1)
        before = await redis.usage()
        for _ in range(count):
            await load.select(1)
            await asyncio.sleep(0.5 / settings.rate)
            await load.finish(1)
            await asyncio.sleep(0.5 / settings.rate)
        used = (await redis.usage()).since(before)
    await redis.client.call("FLUSHALL")
    return used.cpu_s / count * 1e6
