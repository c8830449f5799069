"""Scenario `sessions`: speakers at their own pace, all the time or by turns.

First frames alone, in rounds that alternate between the scheduler, the floors and the limit: everybody speaks and
nobody comes to an end. Then speech as it is, sentences with finals that nodes answer: what dispatch costs beside the
frames. With `--find` speech alone, from as many sessions as can speak with dispatch in time: a search of few steps.
"""

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.plan import FrameKind
from lingua_scheduler.bench.report import Report, figure, latency
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Measured, Redis, Server, Stand

FRAMES_S = 4.0
"""Of a round of frames alone: no utterance reaches its greatest length."""
RATIO_TARGETS: dict[FrameKind, float] = {"json": 2.0, "binary": 2.5, "opus": 2.5}
DISPATCH_P99_MS = 15.0
MOST_TARGETS: dict[FrameKind, float] = {"json": 3000, "binary": 5000, "opus": 5000}
FIND_STEPS = 7
_CLOSE = 1.1
"""Between the most sessions that were in time and the fewest that were not, the search ends."""


async def run(settings: Settings) -> Report:
    report = Report(scenario="sessions", settings=settings.told("sessions", "frames", "sentence_s", "duty", "workers"))
    async with Stand.open(settings.workers) as stand, stand.redis() as redis:
        report.machine["redis"] = redis.description
        if settings.find:
            await _find(stand, redis, settings, report)
            return report
        if settings.rounds:
            await _frames_alone(stand, redis, settings, report)
        if settings.seconds:
            await _speech(stand, redis, settings, report)
    return report


async def frame_rounds(
    stand: Stand, redis: Redis, settings: Settings, *, with_all: bool = True
) -> dict[str, list[Measured]]:
    """Everybody speaks, nobody comes to an end; by server. Each round begins with another one.

    A server serves one round only: a scheduler whose clients have gone has work with what they left.
    """
    starts: dict[str, Callable[[], AbstractAsyncContextManager[Server | None]]] = {
        "scheduler": lambda: stand.scheduler(redis),
        "floor": stand.floor,
    }
    if with_all:
        starts |= {"aiohttp": lambda: stand.floor("aiohttp"), "limit": stand.limit}
    measured: dict[str, list[Measured]] = {name: [] for name in starts}
    for number in range(settings.rounds):
        turn = number % len(starts)
        for name in [*starts][turn:] + [*starts][:turn]:
            async with starts[name]() as server:
                if server is not None:
                    plan = settings.plan(server, sentence_ticks=0, nodes=0, seconds=FRAMES_S)
                    measured[name].append(await stand.load(server, plan))
        await redis.client.call("FLUSHALL")
    return measured


async def _frames_alone(stand: Stand, redis: Redis, settings: Settings, report: Report) -> None:
    rounds = await frame_rounds(stand, redis, settings)
    costs = {name: [one.cpu_us_per_frame for one in measured] for name, measured in rounds.items()}
    path = figure("CPU of a frame", "µs", costs["scheduler"], costs["floor"])
    path.ratio_target = RATIO_TARGETS[settings.frames]
    report.figures.append(path)
    report.figures += [
        figure("… beside aiohttp's floor", "µs", costs["scheduler"], costs["aiohttp"]),
        figure("floor (own, decode, append)", "µs", costs["floor"], costs["limit"]),
        figure("floor (aiohttp, decode, append)", "µs", costs["aiohttp"], costs["limit"]),
    ]
    if costs["limit"]:
        report.figures.append(figure("limit (epoll loop in C)", "µs", costs["limit"]))
    for measured in rounds.values():
        for one in measured:
            report.add_errors(one.outcome.errors)


async def _find(stand: Stand, redis: Redis, settings: Settings, report: Report) -> None:
    async def is_in_time(count: int) -> bool:
        async with stand.scheduler(redis, settings.workers) as scheduler:
            measured = await stand.load(scheduler, replace(settings, sessions=count).plan(scheduler), redis)
        await redis.client.call("FLUSHALL")
        outcome = measured.outcome
        p99_ms, late_ms = (Histogram.load(one).summary_ms()["p99"] for one in (outcome.dispatch, outcome.late))
        report.notes.append(
            f"{count:,} sessions: dispatch p99 {p99_ms:.1f} ms (the load's own lateness {late_ms:.1f}), "
            f"{measured.server_load:.2f} cores, load {measured.load_load:.2f}, errors: {outcome.errors or 'none'}"
        )
        return p99_ms <= DISPATCH_P99_MS and not outcome.errors

    most, first_late = await search(settings.sessions, is_in_time)
    found = figure("most sessions at p99 ≤ 15 ms", "", [most])
    found.target, found.at_least, found.high = MOST_TARGETS[settings.frames], True, first_late or most
    report.figures.append(found)


async def search(count: int, is_in_time: Callable[[int], Awaitable[bool]]) -> tuple[int, int]:
    """The most that were in time and the fewest that were not, 0 where there was none; at most `FIND_STEPS` tries.

    Doubled or halved until there is one of each, then the mean between them.
    """
    most = first_late = 0
    for _ in range(FIND_STEPS):
        if await is_in_time(count):
            most = count
        else:
            first_late = count
        if most and first_late:
            if first_late <= max(most * _CLOSE, most + 1):
                break
            count = max(most + 1, math.isqrt(most * first_late))
        else:
            count = most * 2 or max(1, first_late // 2)
    return most, first_late


async def _speech(stand: Stand, redis: Redis, settings: Settings, report: Report) -> None:
    async with stand.scheduler(redis, settings.workers) as scheduler:
        measured = await stand.load(scheduler, settings.plan(scheduler), redis)
    outcome = measured.outcome
    report.add_errors(outcome.errors)
    _tell_speech(report, measured)
    report.latencies.append(
        latency("dispatch: end of speech → node", Histogram.load(outcome.dispatch), {"p99": DISPATCH_P99_MS})
    )


def _tell_speech(report: Report, measured: Measured) -> None:
    outcome = measured.outcome
    count = max(1, outcome.utterances)
    report.figures += [
        figure("cores used by the server", "", [measured.server_load]),
        figure("CPU, all of it, per frame", "µs", [measured.cpu_us_per_frame]),
        figure("CPU, all of it, per utterance", "µs", [measured.cpu_us_per_utterance]),
        figure("CPU of Redis per utterance", "µs", [measured.redis.cpu_s / count * 1e6]),
        figure("Redis round trips per utterance", "", [measured.redis.reads / count]),
    ]
    report.notes.append(
        f"{outcome.frames:,} frames and {outcome.utterances:,} utterances in {outcome.seconds:g} s; "
        f"the load used {measured.load_load:.2f} cores and connected in {outcome.connect_s:.1f} s"
    )
    report.latencies.append(latency("result: node → client", Histogram.load(outcome.result)))
    report.latencies.append(latency("(the load's own lateness)", Histogram.load(outcome.late)))
