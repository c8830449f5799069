"""What no scheduler on these libraries can be cheaper than: receive, decode, collect; hand on, and nothing else.

`python -m lingua_scheduler.bench.floor` prints its port and serves until its standard input closes. It speaks as much
of both protocols as the load does. A chunk is decoded by the scheduler's own codec and appended; a final sends what was
collected to a node, and a node's result goes to the client: no machine, no order, no fence, no Redis, no metrics.
"""

import asyncio
import itertools
import sys
from typing import Any

from aiohttp import WSMsgType, web

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.runtime import loop
from lingua_scheduler.runtime.sockets import MAX_FRAME_BYTES

_PIPELINE = wire.Pipeline()


class Floor:
    """One process of it."""

    def __init__(self) -> None:
        self._clients: dict[str, web.WebSocketResponse] = {}
        self._nodes: list[web.WebSocketResponse] = []
        self._turn = itertools.count()

    async def client(self, request: web.Request) -> web.StreamResponse:
        ws = await _accepted(request)
        session_id = f"session-{len(self._clients):032x}"
        self._clients[session_id] = ws
        audio, index = bytearray(), 0
        async for frame in ws:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            message = codec.decode_client(frame.data)
            if isinstance(message, wire.AudioChunk | codec.BinaryChunk):
                audio += codec.chunk_audio(message)
                if message.is_final:
                    await self._assign(session_id, index, bytes(audio))
                    audio, index = bytearray(), index + 1
            elif isinstance(message, wire.SessionInit):
                await _send(ws, _ack(session_id, message))
        return ws

    async def node(self, request: web.Request) -> web.StreamResponse:
        ws = await _accepted(request)
        async for frame in ws:
            if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            message = codec.decode_node(frame.data)
            if isinstance(message, node_wire.JobResult):
                await self._tell(message)
            elif isinstance(message, node_wire.NodeRegister):
                self._nodes.append(ws)
                await _send(ws, node_wire.NodeRegisterAck(node_id=message.node_id or "", message="", status="ready"))
        return ws

    async def _assign(self, session_id: str, index: int, audio: bytes) -> None:
        if not self._nodes:
            return
        assign = node_wire.JobAssign(
            job_id=f"job-{session_id}-{index}", attempt_id=1, session_id=session_id, utterance_index=index,
            src_lang="en", tgt_lang="pt", pipeline=_PIPELINE, audio="", audio_format="pcm16", sample_rate=16_000,
            enable_streaming_asr=False, partial_update_interval_ms=1000, trace_id="trace",
        )  # fmt: skip
        data = codec.encode_assign(assign, audio, binary=True)
        assert isinstance(data, bytes)
        await self._nodes[next(self._turn) % len(self._nodes)].send_bytes(data)

    async def _tell(self, result: node_wire.JobResult) -> None:
        told = wire.TranslationResult(
            session_id=result.session_id, utterance_index=result.utterance_index, job_id=result.job_id,
            text_asr=result.text_asr or "", text_translated=result.text_translated or "",
            tts_audio=result.tts_audio or "", tts_format=result.tts_format or "", trace_id=result.trace_id,
            scheduler_sent_at_ms=0, result_seq=result.utterance_index + 1,
        )  # fmt: skip
        await _send(self._clients[result.session_id], told)


async def _accepted(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, compress=False)
    await ws.prepare(request)
    return ws


async def _send(ws: web.WebSocketResponse, message: wire.Wire) -> None:
    await ws.send_frame(codec.encode(message), WSMsgType.TEXT)


def _ack(session_id: str, init: wire.SessionInit) -> wire.SessionInitAck:
    audio_format = init.audio_format or "opus"
    return wire.SessionInitAck(
        session_id=session_id, message="", trace_id="trace", protocol_version="1.1",
        use_binary_frame=bool(init.binary), negotiated_codec=audio_format, negotiated_audio_format=audio_format,
        negotiated_sample_rate=16_000, negotiated_channel_count=1,
    )  # fmt: skip


async def serve() -> int:
    floor = Floor()
    app = web.Application()
    app.router.add_get("/ws/session", floor.client)
    app.router.add_get("/ws/node", floor.node)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    address: Any = runner.addresses[0]
    sys.stdout.write(f"{address[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(loop.run(serve()))
