"""What a frame costs between the socket and the end of its handling, in ratio to decoding and collecting it.

No socket and no kernel are in it, which make up most of a frame's cost and of its noise: a microsecond more in codec,
rates, driver or machine shows here. Processor time of alternating batches in one process, the best of each.
"""

import time
from collections.abc import Iterator
from typing import cast

import pytest

from lingua_scheduler.bench.plan import FrameKind
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.audio import join_packets
from lingua_scheduler.runtime.config import Config, ServerConfig
from lingua_scheduler.runtime.sockets import Handle, Socket
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.clients import ClientConnection
from lingua_scheduler.store.embedded import EmbeddedRedis

FRAMES = 80
ROUNDS = 25
BOUNDS: dict[FrameKind, float] = {"json": 3.2, "opus": 9.0}
"""Half above what was measured. Three microseconds more are noticed in Opus, where the floor is lowest."""
AUDIO: dict[FrameKind, bytes] = {
    "json": b"\1\2" * 1600,
    "opus": join_packets([bytes([9 << 3]) + bytes(60)] * 5),
}


class Scripted:
    """A socket that has all its frames already."""

    is_closed = False
    queued_bytes = 0

    def __init__(self) -> None:
        self.frames: Iterator[str | bytes] = iter(())
        self.sent: list[bytes] = []

    async def serve(self, handle: Handle) -> None:
        for frame in self.frames:
            if (work := handle(frame)) is not None:
                await work

    def send_text_nowait(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    async def wait_closed(self) -> None:
        return


def frames(kind: FrameKind, session_id: str) -> list[str | bytes]:
    audio = AUDIO[kind]
    if kind == "json":
        payload = codec.encode_audio(audio)
        chunks = [
            wire.AudioChunk(session_id=session_id, seq=seq, is_final=False, payload=payload) for seq in range(FRAMES)
        ]
        return [codec.encode(chunk).decode() for chunk in chunks]
    return [codec.encode_chunk(codec.BinaryChunk(session_id, seq, 0, False, audio)) for seq in range(FRAMES)]


async def costs_s(scheduler: Scheduler, kind: FrameKind) -> tuple[float, float]:
    """Of one new session's frames: handled, and merely decoded and collected."""
    socket = Scripted()
    connection = ClientConnection(scheduler.context, scheduler.sessions, cast("Socket", socket))
    opening = wire.SessionInit(
        client_version="t", platform="t", src_lang="en", tgt_lang="pt", protocol_version="1.1",
        audio_format="opus" if kind == "opus" else "pcm16", binary=kind != "json",
    )  # fmt: skip
    work = connection._take(codec.encode(opening).decode())
    assert work is not None
    await work
    ack = codec.decode_server(socket.sent[0].decode())
    assert isinstance(ack, wire.SessionInitAck)
    said = frames(kind, ack.session_id)
    socket.frames = iter(said)
    began = time.process_time()
    await connection.run()
    ours_s = time.process_time() - began
    heard = bytearray()
    began = time.process_time()
    for frame in said:
        chunk = codec.decode_client(frame)
        assert isinstance(chunk, wire.AudioChunk | codec.BinaryChunk)
        heard += codec.chunk_audio(chunk)
    return ours_s, time.process_time() - began


@pytest.mark.parametrize("kind", ["json", "opus"])
async def test_a_frame_costs_little_beside_its_decoding(kind: FrameKind):
    async with EmbeddedRedis.start() as redis, Scheduler.start(Config(server=ServerConfig(port=0)), redis.url) as run:
        rounds = [await costs_s(run, kind) for _ in range(ROUNDS)]

    # The best of each: what disturbs a round is not the code's.
    ours_s, floor_s = (min(costs) for costs in zip(*rounds, strict=True))
    assert ours_s / floor_s <= BOUNDS[kind], rounds
