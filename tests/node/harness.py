"""The scheduler's side of `/ws/node` for tests of a node: a real WebSocket server that says what it is told to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from aiohttp import web

from lingua_scheduler.protocol.codec import decode_node, encode, encode_assign
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import ErrorMessage, Pipeline, Wire
from lingua_scheduler.protocol.node import (
    JobAssign,
    JobCancel,
    JobPreview,
    JobResult,
    NodeControl,
    NodeMessage,
    NodeRegister,
    NodeRegisterAck,
)
from lingua_scheduler.runtime.library_sockets import LibrarySocket
from lingua_scheduler.runtime.sockets import Pong

M = TypeVar("M", bound=NodeMessage)
DEADLINE_S = 30


@dataclass(slots=True)
class Peer:
    """One connection of a node, with everything it said, in order; pongs are among it."""

    socket: LibrarySocket
    http: web.Request
    said: list[NodeMessage | Pong] = field(default_factory=list[NodeMessage | Pong])
    binary: bool = False
    closed: bool = False
    close_code: int | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def send(self, message: Wire) -> None:
        assert self.socket.send_text_nowait(encode(message))

    def assign(self, job: JobAssign | JobPreview, audio: bytes) -> None:
        frame = encode_assign(job, audio, binary=self.binary)
        sent = (
            self.socket.send_binary_nowait(frame)
            if isinstance(frame, bytes)
            else self.socket.send_text_nowait(frame.encode())
        )
        assert sent

    def cancel(self, job_id: str, reason: str = "test") -> None:
        self.send(JobCancel(job_id=job_id, trace_id="t", reason=reason))

    def control(self, command: Any) -> None:
        self.send(NodeControl(command=command, reason="test"))

    def ping(self) -> None:
        assert self.socket.ping_nowait()

    def all(self, kind: type[M]) -> list[M]:
        return [message for message in self.said if isinstance(message, kind)]

    def count(self, kind: type[NodeMessage | Pong]) -> int:
        return sum(isinstance(message, kind) for message in self.said)

    async def wait(self, kind: type[M], which: Callable[[M], bool] = lambda _m: True, *, nth: int = 1) -> M:
        """The `nth` message of this kind for which `which` holds, from the beginning of the connection."""

        def found() -> M | None:
            matching = [message for message in self.all(kind) if which(message)]
            return matching[nth - 1] if len(matching) >= nth else None

        await self.wait_for(lambda: found() is not None, f"{kind.__name__} number {nth}")
        message = found()
        assert message is not None
        return message

    async def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S), self._news:
                await self._news.wait_for(lambda: condition() or self.closed)
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE_S} s for {what}; the node said {self._summary()}") from None
        assert condition(), f"the node left ({self.close_code}) before {what}; it said {self._summary()}"

    async def wait_closed(self) -> None:
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(lambda: self.closed)

    async def result(self, job_id: str) -> JobResult:
        return await self.wait(JobResult, lambda m: m.job_id == job_id)

    async def note(self, message: NodeMessage | Pong | None) -> None:
        async with self._news:
            if message is None:
                self.closed = True
            else:
                self.said.append(message)
            self._news.notify_all()

    def _summary(self) -> str:
        return ", ".join(type(message).__name__ for message in self.said)


class FakeScheduler:
    """Listens on a port of 127.0.0.1 that it keeps across `stop` and `start`. Registrations are answered by `admit`."""

    def __init__(self) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self.admit: Callable[[Peer, NodeRegister], None] = admit_all
        self.http_status: int | None = None
        self._runner: web.AppRunner | None = None
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/node"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/ws/node", self._serve)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        address: tuple[str, int] = self._runner.addresses[0]
        self.port = address[1]

    async def stop(self) -> None:
        """Cut every connection without a farewell and stop listening."""
        for peer in self.peers:
            if (transport := peer.http.transport) is not None:
                transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def peer(self, number: int = 1) -> Peer:
        """The n-th connection since the beginning, once the node has registered on it."""
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self.peers) >= number)
        peer = self.peers[number - 1]
        await peer.wait(NodeRegister)
        return peer

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.http_status is not None:
            return web.Response(status=self.http_status)
        ws = web.WebSocketResponse(max_msg_size=16 << 20, autoping=False, compress=False)
        await ws.prepare(request)
        peer = Peer(LibrarySocket(ws), request)
        async with self._arrived:
            self.peers.append(peer)
            self._arrived.notify_all()
        try:
            while (frame := await peer.socket.receive()) is not None:
                message = frame if isinstance(frame, Pong) else decode_node(frame)
                if isinstance(message, NodeRegister):
                    peer.binary = bool(message.binary_audio)
                    self.admit(peer, message)
                await peer.note(message)
        finally:
            peer.close_code = ws.close_code
            await peer.note(None)
            await peer.socket.wait_closed()
        return ws


def admit_all(peer: Peer, message: NodeRegister) -> None:
    peer.send(NodeRegisterAck(node_id=message.node_id or "node-given", message="welcome", status="ready"))


def refuse_with(code: ErrorCode, message: str, close: int) -> Callable[[Peer, NodeRegister], None]:
    def refuse(peer: Peer, _message: NodeRegister) -> None:
        peer.send(ErrorMessage(code=code, message=message))
        peer.socket.close_nowait(close, code)

    return refuse


def job(index: int = 0, **fields: Any) -> JobAssign:
    """A manual job from English to Portuguese; `fields` replace what it says."""
    usual = JobAssign(
        job_id=f"job-{index}",
        attempt_id=1,
        session_id="s-1",
        utterance_index=index,
        src_lang="en",
        tgt_lang="pt",
        pipeline=Pipeline(),
        audio="",
        audio_format="pcm16",
        sample_rate=16_000,
        enable_streaming_asr=False,
        partial_update_interval_ms=1000,
        trace_id="t-1",
        is_manual_cut=True,
    )
    return msgspec.structs.replace(usual, **fields)
