"""Scenario `memory`: what a session keeps resident in the server, idle and while somebody speaks.

All sessions connect; then all speak without coming to an end, so that their audio has to be kept. The floor is a bare
connection on the same socket library (and on aiohttp's), with the same audio in one buffer.
"""

from lingua_scheduler.bench.plan import TICK_MS
from lingua_scheduler.bench.report import Report, figure
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Measured, Server, Stand

SPOKEN_S = 4.0
IDLE_KB = 40.0
ACTIVE_SHARE = 1.25
_BYTES = {"json": 3200, "binary": 3200, "opus": 310}
"""Of audio in a chunk, as it is kept."""


async def run(settings: Settings) -> Report:
    report = Report(scenario="memory", settings=settings.told("sessions", "frames"))
    ours: list[Measured] = []
    floors: list[Measured] = []
    by_aiohttp: list[Measured] = []
    async with Stand.open() as stand, stand.redis() as redis:
        report.machine["redis"] = redis.description
        for _ in range(max(1, settings.rounds)):
            async with stand.scheduler(redis) as server:
                ours.append(await _measured(stand, server, settings))
            await redis.client.call("FLUSHALL")
            async with stand.floor() as floor:
                floors.append(await _measured(stand, floor, settings))
            async with stand.floor("aiohttp") as floor:
                by_aiohttp.append(await _measured(stand, floor, settings))
    audio_bytes = _BYTES[settings.frames] * (SPOKEN_S * 1000 / TICK_MS + 1)
    for suffix, beside in (("", floors), (", beside aiohttp's", by_aiohttp)):
        idle = figure(f"RSS of an idle session{suffix}", "KB", _idle_kb(ours, settings), _idle_kb(beside, settings))
        idle.target = IDLE_KB
        active = figure(
            f"RSS of an active one / its audio{suffix}", "",
            _active_share(ours, settings, audio_bytes), _active_share(beside, settings, audio_bytes),
        )  # fmt: skip
        active.target = ACTIVE_SHARE
        report.figures += [idle, active]
    report.notes.append(
        f"{audio_bytes / 1000:.0f} KB of audio in each active session; what it has idle is not in the ratio"
    )
    for one in (*ours, *floors, *by_aiohttp):
        report.add_errors(one.outcome.errors)
    return report


async def _measured(stand: Stand, server: Server, settings: Settings) -> Measured:
    plan = settings.plan(server, sentence_ticks=0, nodes=0, warm_s=0.0, seconds=SPOKEN_S)
    return await stand.load(server, plan)


def _idle_kb(rounds: list[Measured], settings: Settings) -> list[float]:
    return [
        (connected - before) / settings.sessions / 1000
        for before, connected, _, _ in (r.resident_bytes for r in rounds)
    ]


def _active_share(rounds: list[Measured], settings: Settings, audio_bytes: float) -> list[float]:
    return [
        (ended - connected) / settings.sessions / audio_bytes
        for _, connected, _, ended in (r.resident_bytes for r in rounds)
    ]
