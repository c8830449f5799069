"""How long a client waits for its session when its instance is killed, and whether a sentence is lost or doubled.

    python -m bench.resume --sessions 200

Two instances in processes of their own, one node at the second. Each session has one result that it has not
acknowledged and one sentence in flight when the first instance is killed with SIGKILL. All clients then come to the
second at once. Measured for each, from its call to connect: `resumed`, the time until `session_resume_ack` and the
replayed result are read, and `whole`, until the audio of the sentence in flight is sent again and its result is read
(the node answers as soon as the client has resumed). Clients, node and both instances share the machine.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector

from lingua_scheduler.bench.peers import NodeAgent
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.node import JobAssign
from lingua_scheduler.store.embedded import EmbeddedRedis

AUDIO = codec.encode_audio(bytes(16_000))
"""Half a second of PCM16 at 16 kHz."""
PAIR = ("en", "pt")
RESUMED_P99_MS = 1000
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
        started = perf_counter()
        ws = await http.ws_connect(f"{url}/ws/session", max_msg_size=0)
        resume = wire.SessionResume(session_id=self.session_id, resume_token=self.token, last_result_seq=0)
        await _send(ws, resume)
        ack = await self._read(ws, wire.SessionResumeAck)
        for _ in range(ack.replayed):
            await self._read(ws, wire.TranslationResult)
        self.resumed_ms = (perf_counter() - started) * 1000
        for seq in range(ack.next_seq, 2):
            await self._speak(ws, seq)
        node.release(self.session_id)
        while len(self.results) < 2:
            await self._read(ws, wire.TranslationResult)
        self.whole_ms = (perf_counter() - started) * 1000
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


class Answers:
    """The node's side: first sentences are answered at once, second ones when their client has come back."""

    def __init__(self, node: NodeAgent) -> None:
        self._node = node
        self._held: dict[str, JobAssign] = {}
        self._released: set[str] = set()
        self.held = asyncio.Condition()
        self.tasks: set[asyncio.Task[None]] = set()

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
            task = asyncio.create_task(self._node.answer(job, "text"))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)


async def _send(ws: ClientWebSocketResponse, message: wire.Wire) -> None:
    await ws.send_str(codec.encode(message).decode())


@asynccontextmanager
async def instance(redis_url: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """A `lingua serve` and its address."""
    program = str(Path(sys.executable).with_name("lingua"))
    process = await asyncio.create_subprocess_exec(
        program, "serve", "--port", "0", "--redis", redis_url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        while b"listening on" not in (line := await process.stdout.readline()):
            assert line, "the instance did not start"
        yield process, line.decode().split()[-1].replace("http", "ws", 1)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(sessions: int) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(EmbeddedRedis.start())
        victim, at_victim = await stack.enter_async_context(instance(redis.url))
        _, at_other = await stack.enter_async_context(instance(redis.url))
        http = await stack.enter_async_context(ClientSession(connector=TCPConnector(limit=0)))
        agent = NodeAgent.connected(at_other, "bench-node", [PAIR], 2 * sessions)
        node = Answers(await stack.enter_async_context(agent))
        answering = asyncio.create_task(node.run())
        callers = [Caller() for _ in range(sessions)]
        for caller in callers:
            await caller.begin(http, at_victim)
        async with node.held:
            await node.held.wait_for(lambda: node.count == sessions)
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        await asyncio.gather(*(caller.come_back(http, at_other, node) for caller in callers))
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    return summary(callers)


def summary(callers: list[Caller]) -> dict[str, float]:
    report: dict[str, float] = {"sessions": len(callers)}
    for name in ("resumed", "whole"):
        times = sorted(getattr(caller, f"{name}_ms") for caller in callers)
        for word, share in (("p50", 0.5), ("p99", 0.99)):
            report[f"{name}_{word}_ms"] = round(times[min(len(times) - 1, int(len(times) * share))], 1)
        report[f"{name}_max_ms"] = round(times[-1], 1)
    report["lost_or_doubled"] = sum(sorted(caller.results) != [(1, 0), (2, 1)] for caller in callers)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=200, help="that lose their instance at once (default 200)")
    report = asyncio.run(run(parser.parse_args().sessions))
    print(f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    print(json.dumps(report, indent=1))
    if report["resumed_p99_ms"] > RESUMED_P99_MS or report["lost_or_doubled"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
