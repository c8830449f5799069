"""Our own endpoint byte by byte, on both event loops, with and without TLS; and what others make of it."""

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession, WSMsgType
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosedError

from lingua_scheduler.runtime import endpoint, sockets
from tests.protocol.frames import binary, close, frame, pieces, text
from tests.support import wait_until
from tests.support.certificates import Authority
from tests.support.endpoints import port_of, serving_sockets

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
RECEIVE_S = 15


@dataclass
class Line:
    """A raw connection to the endpoint."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def upgrade(self, behind: bytes = b"", *more: bytes) -> bytes:
        """Ask for a WebSocket, with `more` header lines and `behind` in the same packet; the head of the answer."""
        self.writer.write(HEAD + b"".join(line + b"\r\n" for line in more) + b"\r\n" + behind)
        return await self.reader.readuntil(b"\r\n\r\n")

    async def next(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame, which must not be masked."""
        first, length = await self.reader.readexactly(2)
        if length >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        return first, await self.reader.readexactly(length)

    async def ended(self) -> tuple[int, bytes]:
        """Code and reason of the close frame, which must be the last that comes."""
        first, payload = await self.next()
        assert first == 0x88, payload
        self.writer.write(close(None))
        assert await self.reader.read() == b""
        return int.from_bytes(payload[:2], "big"), payload[2:]


class Port:
    """Runs a scenario against an endpoint on one kind of loop, with TLS or without."""

    def __init__(self, loop: str, authority: Authority | None) -> None:
        self._loop = loop
        self._server, self._client = None, None
        if authority is not None:
            self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.load_cert_chain(*authority.issue("localhost"))
            self._client = ssl.create_default_context(cafile=str(authority.ca_file))
        self.url = ""

    def run(self, scenario: Callable[[], Coroutine[Any, Any, None]], each: "Each | None" = None) -> None:
        async def limited() -> None:
            async with asyncio.timeout(60), serving_sockets(each or echo, "own", self._server) as self.url:
                await scenario()

        with asyncio.Runner(loop_factory=LOOPS[self._loop]) as runner:
            runner.run(limited())

    @asynccontextmanager
    async def dial(self) -> AsyncGenerator[Line]:
        host = "localhost" if self._client else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(self.url), ssl=self._client, server_hostname=host
        )
        try:
            async with asyncio.timeout(RECEIVE_S):
                yield Line(reader, writer)
        finally:
            writer.transport.abort()


Each = Callable[[sockets.Socket], Awaitable[None]]


async def echo(socket: sockets.Socket) -> None:
    def answer(sent: sockets.Frame) -> None:
        if isinstance(sent, str):
            socket.send_text_nowait(sent.encode())
        elif isinstance(sent, bytes):
            socket.send_binary_nowait(sent)

    await socket.serve(answer)


@pytest.fixture(params=["asyncio", "asyncio-tls", "uvloop", "uvloop-tls"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Port:
    loop, _, tls = str(request.param).partition("-")
    return Port(loop, Authority(tmp_path) if tls else None)


@pytest.fixture(params=LOOPS)
def bare(request: pytest.FixtureRequest) -> Port:
    return Port(request.param, None)


@pytest.fixture
def plain() -> Port:
    return Port("uvloop", None)


# ------------------------------------------------------------------------------------------- a conversation


def test_a_conversation(port: Port):
    async def scenario() -> None:
        async with port.dial() as line:
            answer = await line.upgrade(b"", b"Sec-WebSocket-Extensions: permessage-deflate")
            assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
            assert b"Extensions" not in answer, "no compression"
            line.writer.write(text("語") + frame(0x89, b"ping") + pieces(b"abc", 1, 1, kind=2))
            assert await line.next() == (0x81, "語".encode())
            assert await line.next() == (0x8A, b"ping")
            assert await line.next() == (0x82, b"abc")
            line.writer.write(close(4321, b"bye"))
            assert await line.next() == (0x88, struct.pack(">H", 4321))
            assert await line.reader.read() == b"", "the server closes first"

    port.run(scenario)


@pytest.mark.parametrize("size", [125, 126, 65_535, 65_536, 300_000, 1 << 20])
def test_messages_of_all_sizes_come_back(port: Port, size: int):
    async def scenario() -> None:
        async with port.dial() as line:
            await line.upgrade()
            line.writer.write(binary(b"\xa7" * size))
            assert await line.next() == (0x82, b"\xa7" * size)

    port.run(scenario)


def test_bytes_that_come_one_by_one(port: Port):
    async def scenario() -> None:
        async with port.dial() as line:
            for byte in HEAD + b"\r\n" + text("语音") + frame(0x89, b"p"):
                line.writer.write(bytes((byte,)))
                await line.writer.drain()
            await line.reader.readuntil(b"\r\n\r\n")
            assert await line.next() == (0x81, "语音".encode())
            assert await line.next() == (0x8A, b"p")

    port.run(scenario)


def test_frames_behind_the_head_in_one_packet(port: Port):
    async def scenario() -> None:
        async with port.dial() as line:
            await line.upgrade(text("early") + text("bird")[:4])
            line.writer.write(text("bird")[4:])
            assert await line.next() == (0x81, b"early")
            assert await line.next() == (0x81, b"bird")

    port.run(scenario)


def test_what_is_no_websocket_is_answered_by_the_library_on_the_same_port(port: Port):
    async def scenario() -> None:
        async with port.dial() as line:
            for said in (b"GET /page HTTP/1.1\r\nHo", b"st: x\r\n\r\n", b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"):
                line.writer.write(said)
                await line.writer.drain()
            for _ in range(2):
                assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
                assert await line.reader.readexactly(6) == b"a page"
            # A WebSocket behind a page on one connection is the library's too.
            await line.upgrade()
            line.writer.write(text("late"))
            assert await line.next() == (0x81, b"late")
        async with port.dial() as line:
            line.writer.write(HEAD.replace(b"Key: dGhl", b"Key: ") + b"\r\n")
            assert b" 400 " in await line.reader.readline()

    port.run(scenario)


# ------------------------------------------------------------------------------------------- rules and limits


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(0x81, b"x", key=None), 1002),
        (b"\x82\xff" + struct.pack(">Q", 1 << 40) + b"mask", 1009),
        (frame(0x01, b"\xff"), 1007),
        (frame(0xC1, b"deflated"), 1002),
        (frame(0x83), 1002),
        (frame(0x80), 1002),
        (close(1005), 1002),
    ],
    ids=["not masked", "too big", "not UTF-8", "reserved bit", "opcode", "continuation", "close code"],
)
def test_a_violation_ends_the_socket_behind_what_was_good(plain: Port, said: bytes, code: int):
    async def scenario() -> None:
        async with plain.dial() as line:
            await line.upgrade()
            line.writer.write(text("good") + said + text("never seen"))
            assert await line.next() == (0x81, b"good")
            assert (await line.ended())[0] == code

    plain.run(scenario)


def test_the_close_frame_arrives_though_the_peer_goes_on_sending(port: Port):
    """Closing with unread bytes resets a connection, and a reset takes with it what the peer has not read."""

    async def scenario() -> None:
        async with port.dial() as line:
            await line.upgrade()
            line.writer.write(binary(bytes((1 << 20) + 1)))
            for _ in range(32):
                line.writer.write(bytes(64 << 10))
            await line.writer.drain()
            assert await line.next() == (0x88, b"\x03\xf1message too big")

    port.run(scenario)


def test_a_peer_that_leaves_without_a_word_is_noticed(port: Port):
    ended: list[str] = []

    async def listen(socket: sockets.Socket) -> None:
        await socket.serve(lambda _: None)
        ended.append("served")
        assert not socket.send_text_nowait(b"nobody")

    async def scenario() -> None:
        for way in ("eof", "reset"):
            async with port.dial() as line:
                await line.upgrade(text("x"))
                if way == "eof":
                    line.writer.close()
                else:
                    line.writer.transport.abort()
        await wait_until(lambda: len(ended) == 2, "both to be noticed")

    port.run(scenario, listen)


def test_a_peer_that_does_not_answer_a_close_is_let_go(plain: Port):
    async def leave(socket: sockets.Socket) -> None:
        socket.close_nowait(4001, "enough")
        await socket.serve(lambda _: None)

    async def scenario() -> None:
        async with plain.dial() as line:
            await line.upgrade()
            assert await line.next() == (0x88, b"\x0f\xa1enough")
            assert await line.reader.read() == b"", "after two seconds"

    plain.run(scenario, leave)


# ------------------------------------------------------------------------------------------- handlers


def test_frames_wait_while_one_is_at_work_and_the_peer_is_held_up(bare: Port):
    """Order holds, and no more waits in this process than the inbox may have beside one reading."""
    seen: list[str] = []
    go_on = asyncio.Event()

    async def slow(socket: sockets.Socket) -> None:
        assert isinstance(socket, endpoint.Endpoint)

        def take(sent: sockets.Frame) -> sockets.Work | None:
            assert isinstance(sent, str)
            seen.append(sent[:4])
            return work() if len(seen) % 50 == 1 else None

        async def work() -> None:
            await go_on.wait()
            bound = endpoint.INBOX_BYTES_MAX + endpoint.BUFFER_BYTES + (64 << 10)
            assert socket._inbox_bytes <= bound

        await socket.serve(take)
        socket.close_nowait(1000, "")

    async def scenario() -> None:
        go_on.clear()
        async with bare.dial() as line:
            await line.upgrade()
            sent = [f"{i:04}" + "x" * 60_000 for i in range(300)]
            for one in sent:
                line.writer.write(text(one))
            await wait_until(lambda: seen, "the first frame")
            await wait_until(stuck(line), "the peer to be held up")
            go_on.set()
            line.writer.write(close())
            await line.reader.read()
            assert seen == [one[:4] for one in sent]

    bare.run(scenario, slow)


@pytest.mark.parametrize("is_at_once", [True, False])
def test_a_bug_of_the_handler_ends_the_socket_and_is_told(plain: Port, is_at_once: bool):
    async def broken(socket: sockets.Socket) -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        def take(_: sockets.Frame) -> sockets.Work | None:
            if is_at_once:
                raise ZeroDivisionError
            return fail()

        await socket.serve(take)

    async def scenario() -> None:
        async with plain.dial() as line:
            await line.upgrade()
            line.writer.write(text("x") + text("y"))
            assert (await line.ended())[0] == sockets.INTERNAL_ERROR

    with pytest.raises(ZeroDivisionError):
        plain.run(scenario, broken)


def stuck(line: Line) -> Callable[[], bool]:
    """Whether nothing of what it sends has been taken for a while."""
    left = deque[int](maxlen=15)

    def look() -> bool:
        left.append(line.writer.transport.get_write_buffer_size())
        return len(left) == left.maxlen and left[0] == left[-1] > 0

    return look


# ------------------------------------------------------------------------------------------- slow readers


def test_a_slow_reader_finds_the_close_behind_what_the_transport_held(port: Port):
    """What waits for it is bounded and thrown away at the bound; the frames before it are whole and in order."""
    block = bytes(64 << 10)
    refused_at: list[int] = []

    async def flood(socket: sockets.Socket) -> None:
        count = 0
        while socket.send_binary_nowait(count.to_bytes(4, "big") + block):
            assert socket.queued_bytes <= sockets.QUEUE_BYTES_MAX
            count += 1
        refused_at.append(count)
        assert socket.queued_bytes == 0
        await socket.serve(lambda _: None)

    async def scenario() -> None:
        async with port.dial() as line:
            await line.upgrade()
            await wait_until(lambda: refused_at, "the bound")
            numbers: list[int] = []
            while (got := await line.next())[0] == 0x82:
                numbers.append(int.from_bytes(got[1][:4], "big"))
            assert got == (0x88, b"\x03\xf5reader too slow")
            assert numbers == list(range(len(numbers)))
            assert len(numbers) < refused_at[0]

    port.run(scenario, flood)


def test_what_is_queued_goes_out_in_order_when_the_reader_comes_back(port: Port):
    async def speak(socket: sockets.Socket) -> None:
        for i in range(100):
            assert socket.send_binary_nowait(i.to_bytes(4, "big") + bytes(50_000))
        assert socket.queued_bytes > 0
        socket.close_nowait(1000, "done")
        await socket.serve(lambda _: None)

    async def scenario() -> None:
        async with port.dial() as line:
            await line.upgrade()
            assert [int.from_bytes((await line.next())[1][:4], "big") for _ in range(100)] == list(range(100))
            assert await line.ended() == (1000, b"done")

    port.run(scenario, speak)


# ------------------------------------------------------------------------------------------- other implementations


def test_the_client_of_websockets_gets_along(plain: Port):
    async def scenario() -> None:
        url = plain.url.replace("http", "ws")
        async with websockets_connect(url, max_size=None) as ws:  # offers permessage-deflate
            assert not ws.protocol.extensions
            for sent in ("", "語" * 100_000, b"", bytes(70_000)):
                await ws.send(sent)
                assert await ws.recv() == sent
            await ws.send(["in ", "frag", "ments"])
            assert await ws.recv() == "in fragments"
            await (await ws.ping(b"mine"))
        assert (ws.close_code, ws.close_reason) == (1000, "")
        async with websockets_connect(url) as ws:
            await ws.send(bytes(sockets.MAX_FRAME_BYTES + 1))
            with pytest.raises(ConnectionClosedError) as ended:
                await ws.recv()
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1009

    plain.run(scenario)


def test_the_client_of_aiohttp_gets_along(plain: Port):
    async def scenario() -> None:
        async with ClientSession() as http, http.ws_connect(plain.url, compress=15, max_msg_size=0) as ws:
            assert ws.compress == 0
            for sent in ("", "語" * 100_000):
                await ws.send_str(sent)
                assert await ws.receive_str() == sent
            await ws.send_bytes(bytes(70_000))
            assert await ws.receive_bytes() == bytes(70_000)
            await ws.close(code=4009, message=b"bye")
            assert ws.close_code == 4009
            assert (await ws.receive()).type is WSMsgType.CLOSED

    plain.run(scenario)
