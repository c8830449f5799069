"""Peers for benchmarks: a node that takes jobs and a client that speaks, as small as they can be.

As a program (`python -m lingua_scheduler.bench.peers URL NODE_ID SRC:TGT`) it is a node in a process of its own that
takes jobs, prints `job` for each and never answers: something to kill or stop.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire

Pair = tuple[str, str]
M = TypeVar("M")


def registration(
    node_id: str, pairs: list[Pair], capacity: int, *, binary_audio: bool | None = None
) -> node_wire.NodeRegister:
    """A node of protocol 2 that serves just `pairs`."""
    sources, targets = sorted({src for src, _ in pairs}), sorted({tgt for _, tgt in pairs})
    return node_wire.NodeRegister(
        version="bench",
        platform="linux",
        hardware=node_wire.Hardware(cpu_cores=1, memory_gb=1.0),
        installed_models=[],
        capability_by_type=[node_wire.Capability(type=kind, ready=True) for kind in ("asr", "nmt", "tts")],
        features_supported={},
        accept_public_jobs=True,
        language_capabilities=node_wire.LanguageCapabilities(
            asr_languages=sources,
            semantic_languages=sources,
            tts_languages=targets,
            supported_language_pairs=[node_wire.LanguagePair(src=src, tgt=tgt) for src, tgt in pairs],
        ),
        node_id=node_id,
        protocol_version="2",
        capacity=capacity,
        binary_audio=binary_audio,
    )


class NodeAgent:
    """A registered node; the caller reads its jobs."""

    def __init__(self, ws: ClientWebSocketResponse, node_id: str) -> None:
        self.ws = ws
        self.node_id = node_id

    @staticmethod
    @asynccontextmanager
    async def connected(url: str, node_id: str, pairs: list[Pair], capacity: int) -> AsyncGenerator["NodeAgent"]:
        async with ClientSession() as http, http.ws_connect(f"{url}/ws/node", max_msg_size=0) as ws:
            agent = NodeAgent(ws, node_id)
            await agent._send(registration(node_id, pairs, capacity))
            await ws.receive()
            await agent._send(
                node_wire.NodeHeartbeat(node_id=node_id, timestamp=0, resource_usage=node_wire.ResourceUsage())
            )
            yield agent

    async def jobs(self) -> AsyncGenerator[node_wire.JobAssign]:
        """Jobs as they come, until the socket ends."""
        async for frame in self.ws:
            if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                message, _ = codec.decode_scheduler(frame.data)
                if isinstance(message, node_wire.JobAssign):
                    yield message

    async def answer(self, job: node_wire.JobAssign, text: str) -> None:
        await self._send(
            node_wire.JobResult(
                job_id=job.job_id,
                attempt_id=job.attempt_id,
                node_id=self.node_id,
                session_id=job.session_id,
                utterance_index=job.utterance_index,
                success=True,
                trace_id=job.trace_id,
                text_asr=text,
                text_translated=text,
            )
        )

    async def _send(self, message: wire.Wire) -> None:
        await self.ws.send_str(codec.encode(message).decode())


class ClientAgent:
    """An open session of protocol 1.1 with PCM16."""

    def __init__(self, ws: ClientWebSocketResponse, session_id: str) -> None:
        self.ws = ws
        self.session_id = session_id
        self._seq = 0

    @staticmethod
    async def open(http: ClientSession, url: str, pair: Pair) -> "ClientAgent":
        ws = await http.ws_connect(f"{url}/ws/session", max_msg_size=0)
        opening = wire.SessionInit(
            client_version="bench",
            platform="bench",
            src_lang=pair[0],
            tgt_lang=pair[1],
            protocol_version="1.1",
            audio_format="pcm16",
        )
        await ws.send_str(codec.encode(opening).decode())
        ack = codec.decode_server(await ws.receive_str())
        assert isinstance(ack, wire.SessionInitAck), ack
        return ClientAgent(ws, ack.session_id)

    async def speak(self, audio: bytes) -> None:
        """One utterance in one chunk, with its final."""
        self._seq += 1
        chunk = wire.AudioChunk(
            session_id=self.session_id, seq=self._seq, is_final=True, payload=codec.encode_audio(audio)
        )
        await self.ws.send_str(codec.encode(chunk).decode())

    async def say(self, message: wire.Wire) -> None:
        await self.ws.send_str(codec.encode(message).decode())

    async def read(self, kind: type[M]) -> M:
        """The next message of this kind; what comes before it is dropped."""
        while True:
            message = codec.decode_server(await self.ws.receive_str())
            if isinstance(message, kind):
                return message

    async def outcomes(self) -> AsyncGenerator[wire.TranslationResult | wire.MissingResult]:
        """Results and announced gaps as they come."""
        async for frame in self.ws:
            message = codec.decode_server(frame.data)
            if isinstance(message, wire.TranslationResult | wire.MissingResult):
                yield message


async def _take_and_never_answer(url: str, node_id: str, pair: Pair) -> None:
    async with NodeAgent.connected(url, node_id, [pair], capacity=1) as node:
        _say("ready")
        async for _ in node.jobs():
            _say("job")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    source, _, target = sys.argv[3].partition(":")
    asyncio.run(_take_and_never_answer(sys.argv[1], sys.argv[2], (source, target)))
