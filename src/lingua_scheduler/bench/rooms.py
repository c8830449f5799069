"""Scenario `rooms`: one speaks, many listen in several languages; how long until each of them has the sentence.

Measured is the time from a node's answer to the line at each listener of its language, and the server's processor time
for each line delivered. The floor is a relay that fans the same lines out.
"""

import asyncio

from aiohttp import ClientSession, TCPConnector

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.machine import clock_s
from lingua_scheduler.bench.peers import ClientAgent, NodeAgent
from lingua_scheduler.bench.report import Report, figure, latency
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import BenchError, Server, Stand
from lingua_scheduler.protocol import messages as wire

LANGUAGES = ("pt", "es", "fr", "de")
SENTENCES = 20
AUDIO = bytes(32_000)
MEMBERS = 16
"""Of a room, its speaker included."""
_PACE_S = 0.5
_PATIENCE_S = 20.0


class Hall:
    """All rooms of a run, and when nodes answered what."""

    def __init__(self) -> None:
        self.answered_s: dict[tuple[str, int, str], float] = {}
        self.heard = Histogram()
        self.lines = 0
        self.cpu_us = 0.0
        """Of the server, for a line."""

    async def answer(self, node: NodeAgent) -> None:
        async for job in node.jobs():
            self.answered_s[job.session_id, job.utterance_index, job.tgt_lang] = clock_s()
            await node.answer(job, "what was said, in another language")

    async def listen(self, listener: ClientAgent, language: str, lines: int) -> None:
        """Until so many lines have come."""
        async for outcome in listener.outcomes():
            answered = self.answered_s.get((outcome.session_id, outcome.utterance_index, language))
            if isinstance(outcome, wire.TranslationResult) and answered is not None:
                self.heard.add_s(clock_s() - answered)
                self.lines += 1
                lines -= 1
            if not lines:
                return


async def run(settings: Settings) -> Report:
    rooms = max(1, settings.sessions // MEMBERS)
    report = Report(scenario="rooms", settings={"rooms": rooms, "members": MEMBERS, "languages": len(LANGUAGES)})
    async with Stand.open() as stand:
        async with stand.redis() as redis, stand.scheduler(redis) as server:
            report.machine["redis"] = redis.description
            ours = await _talk(server, rooms)
        async with stand.floor() as floor:
            relayed = await _talk(floor, rooms)
    told = latency("line: node → listener", ours.heard)
    told.floor = relayed.heard.summary_ms()
    report.latencies.append(told)
    report.figures.append(figure("CPU of a line to a listener", "µs", [ours.cpu_us], [relayed.cpu_us]))
    for name, hall in (("lines not heard", ours), ("lines not heard of the relay", relayed)):
        if lost := rooms * (MEMBERS - 1) * SENTENCES - hall.lines:
            report.add_errors({name: lost})
    return report


async def _talk(server: Server, rooms: int) -> Hall:
    """All rooms at once, until every line was heard or patience ends."""
    hall = Hall()
    async with (
        ClientSession(connector=TCPConnector(limit=0)) as http,
        NodeAgent.connected(server.url, "bench-node", [("en", lang) for lang in LANGUAGES], 1000) as node,
        asyncio.TaskGroup() as group,
    ):
        for lang in LANGUAGES:
            await server.serves(("en", lang), node.node_id)
        answering = group.create_task(hall.answer(node))
        opened = [await _room(http, server) for _ in range(rooms)]
        used_s = server.cpu_s()
        listening = [
            group.create_task(hall.listen(listener, language, SENTENCES))
            for _, listeners in opened
            for listener, language in listeners
        ]
        await asyncio.gather(*(_speak(speaker, at / rooms) for at, (speaker, _) in enumerate(opened)))
        _, missing = await asyncio.wait(listening, timeout=_PATIENCE_S)
        hall.cpu_us = (server.cpu_s() - used_s) / max(1, hall.lines) * 1e6
        for task in (answering, *missing):
            task.cancel()
    return hall


async def _room(http: ClientSession, server: Server) -> tuple[ClientAgent, list[tuple[ClientAgent, str]]]:
    """A speaker, and listeners with the language that each wants."""
    speaker = await ClientAgent.open(http, server.url, ("en", LANGUAGES[0]))
    await speaker.say(wire.RoomCreate(client_ts=0))
    code = (await speaker.read(wire.RoomCreateAck)).room_code
    listeners: list[tuple[ClientAgent, str]] = []
    for number in range(MEMBERS - 1):
        language = LANGUAGES[number % len(LANGUAGES)]
        listener = await ClientAgent.open(http, server.url, ("en", language))
        await listener.say(wire.RoomJoin(room_code=code, preferred_lang=language))
        joined = await listener.read(wire.RoomMembers)
        if len(joined.members) != number + 2:
            raise BenchError(f"room {code} has {len(joined.members)} members, not {number + 2}")
        listeners.append((listener, language))
    return speaker, listeners


async def _speak(speaker: ClientAgent, turn: float) -> None:
    """Sentences at times that were fixed at the start."""
    began = clock_s() + turn * _PACE_S
    for number in range(SENTENCES):
        await asyncio.sleep(max(0.0, began + number * _PACE_S - clock_s()))
        await speaker.speak(AUDIO)
