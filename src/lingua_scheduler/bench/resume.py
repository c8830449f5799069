"""Scenario `resume`: how long a client waits for its session when its instance is killed; is any sentence lost?

Two instances in processes of their own, one node at the second. Each session has one result that it has not
acknowledged and one sentence in flight when the first instance is killed with SIGKILL. All clients then come to the
second at once. Measured for each, from its call to connect: `resumed`, the time until `session_resume_ack` and the
replayed result are read, and `whole`, until the audio of the sentence in flight is sent again and its result is read
(the node answers as soon as the client has resumed). Clients and node share the load's cores.

The floor: the same clients come to a relay all at once, which answers whoever resumes with as many bytes from memory.
"""

import asyncio
import os
import signal
from dataclasses import dataclass, field
from typing import TypeVar

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.machine import clock_s
from lingua_scheduler.bench.peers import NodeAgent
from lingua_scheduler.bench.plan import PAIR
from lingua_scheduler.bench.report import Report, latency
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.bench.stand import Redis, Stand
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.node import JobAssign

AUDIO = codec.encode_audio(bytes(16_000))
"""Half a second of PCM16 at 16 kHz."""
RESUMED_P99_MS = 1000.0
M = TypeVar("M")


@dataclass
class Caller:
    """One client and what it measured."""

    session_id: str = ""
    token: str = ""
    resumed_ms: float = 0.0
    whole_ms: float = 0.0
    results: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(result_seq, utterance_index), repetitions of a number left out as clients do."""

    async def begin(self, http: ClientSession, url: str) -> ClientWebSocketResponse:
        """Open, say a sentence, read its result, say another."""
        ws = await http.ws_connect(f"{url}/ws/session", max_msg_size=0)
        opening = wire.SessionInit(
            client_version="bench", platform="bench", src_lang=PAIR[0], tgt_lang=PAIR[1], protocol_version="1.1",
            audio_format="pcm16",
        )  # fmt: skip
        await _send(ws, opening)
        ack = await self._read(ws, wire.SessionInitAck)
        self.session_id, self.token = ack.session_id, ack.resume_token or ""
        await self._speak(ws, 0)
        await self._read(ws, wire.TranslationResult)
        self.results.clear()  # as if it had not arrived: it is to be replayed
        await self._speak(ws, 1)
        return ws

    async def come_back(self, http: ClientSession, url: str, node: "Answers") -> None:
        started = clock_s()
        ws = await http.ws_connect(f"{url}/ws/session", max_msg_size=0)
        resume = wire.SessionResume(session_id=self.session_id, resume_token=self.token, last_result_seq=0)
        await _send(ws, resume)
        ack = await self._read(ws, wire.SessionResumeAck)
        for _ in range(ack.replayed):
            await self._read(ws, wire.TranslationResult)
        self.resumed_ms = (clock_s() - started) * 1000
        for seq in range(ack.next_seq, 2):
            await self._speak(ws, seq)
        node.release(self.session_id)
        while len(self.results) < 2:
            await self._read(ws, wire.TranslationResult)
        self.whole_ms = (clock_s() - started) * 1000
        await ws.close()

    async def _speak(self, ws: ClientWebSocketResponse, seq: int) -> None:
        await _send(ws, wire.AudioChunk(session_id=self.session_id, seq=seq, is_final=True, payload=AUDIO))

    async def _read(self, ws: ClientWebSocketResponse, kind: type[M]) -> M:
        while True:
            message = codec.decode_server(await ws.receive_str())
            if isinstance(message, wire.TranslationResult):
                told = (message.result_seq or 0, message.utterance_index)
                if told[0] not in {number for number, _ in self.results}:
                    self.results.append(told)
            if isinstance(message, kind):
                return message
            if isinstance(message, wire.MissingResult) and message.reason != "gap_timeout":
                raise RuntimeError(f"no result: {message}")  # none is to come: waiting would have no end


class Answers:
    """The node's side: first sentences are answered at once, second ones when their client has come back."""

    def __init__(self, node: NodeAgent, group: asyncio.TaskGroup) -> None:
        self._node = node
        self._group = group
        self._held: dict[str, JobAssign] = {}
        self._released: set[str] = set()
        self.held = asyncio.Condition()

    @property
    def count(self) -> int:
        return len(self._held)

    async def run(self) -> None:
        async for job in self._node.jobs():
            if job.utterance_index == 0 or job.session_id in self._released:
                await self._node.answer(job, "text")
                continue
            self._held[job.session_id] = job
            async with self.held:
                self.held.notify_all()

    def release(self, session_id: str) -> None:
        self._released.add(session_id)
        if (job := self._held.pop(session_id, None)) is not None:
            self._group.create_task(self._node.answer(job, "text"))


async def _send(ws: ClientWebSocketResponse, message: wire.Wire) -> None:
    await ws.send_str(codec.encode(message).decode())


async def run(settings: Settings) -> Report:
    report = Report(scenario="resume", settings=settings.told("sessions"))
    async with Stand.open() as stand:
        async with stand.redis() as redis:
            report.machine["redis"] = redis.description
            callers = await _come_back(stand, redis, settings)
        _tell(report, callers, await _come_to_floor(stand, settings.sessions))
    return report


async def _come_back(stand: Stand, redis: Redis, settings: Settings) -> list[Caller]:
    async with (
        stand.scheduler(redis) as victim,
        stand.scheduler(redis) as other,
        ClientSession(connector=TCPConnector(limit=0)) as http,
        NodeAgent.connected(other.url, "bench-node", [PAIR], 2 * settings.sessions) as agent,
        asyncio.TaskGroup() as group,
    ):
        await other.serves(PAIR, agent.node_id)
        node = Answers(agent, group)
        answering = group.create_task(node.run())
        callers = [Caller() for _ in range(settings.sessions)]
        for caller in callers:
            await caller.begin(http, victim.url)
        async with node.held:
            await node.held.wait_for(lambda: node.count == len(callers))
        os.kill(victim.pids[0], signal.SIGKILL)
        await asyncio.gather(*(caller.come_back(http, other.url, node) for caller in callers))
        answering.cancel()
    return callers


async def _come_to_floor(stand: Stand, count: int) -> list[Caller]:
    async with (
        stand.floor() as floor,
        ClientSession(connector=TCPConnector(limit=0)) as http,
        NodeAgent.connected(floor.url, "bench-node", [PAIR], 2 * count) as agent,
        asyncio.TaskGroup() as group,
    ):
        node = Answers(agent, group)
        answering = group.create_task(node.run())
        callers = [Caller(session_id=f"session-{number:032x}") for number in range(count)]
        await asyncio.gather(*(caller.come_back(http, floor.url, node) for caller in callers))
        answering.cancel()
    return callers


def _tell(report: Report, callers: list[Caller], on_floor: list[Caller]) -> None:
    resumed = latency("resumed", _merged(callers, "resumed_ms"), {"p99": RESUMED_P99_MS})
    resumed.floor = _merged(on_floor, "resumed_ms").summary_ms()
    whole = latency("whole", _merged(callers, "whole_ms"))
    whole.floor = _merged(on_floor, "whole_ms").summary_ms()
    report.latencies += [resumed, whole]
    wrong = sum(sorted(caller.results) != [(1, 0), (2, 1)] for caller in (*callers, *on_floor))
    if wrong:
        report.add_errors({"lost or doubled": wrong})


def _merged(callers: list[Caller], name: str) -> Histogram:
    merged = Histogram()
    for caller in callers:
        merged.add_s(getattr(caller, name) / 1000)
    return merged
