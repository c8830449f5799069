"""Frames over a real WebSocket, by either endpoint: order, bounds, slow and rude peers."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

import pytest
from aiohttp import ClientSession, WSMsgType

from lingua_scheduler.runtime import sockets
from tests.support.endpoints import port_of, serving_sockets

Serve = Callable[[sockets.Socket], Awaitable[None]]
Serving = Callable[[Serve], AbstractAsyncContextManager[str]]


@pytest.fixture(params=["own", "aiohttp"])
def serving(request: pytest.FixtureRequest) -> Serving:
    """A server that hands each socket to what is given: under its URL."""
    which: Literal["own", "aiohttp"] = request.param

    @asynccontextmanager
    async def serve(each: Serve) -> AsyncGenerator[str]:
        async with serving_sockets(each, which) as url:
            yield url

    return serve


def ignore(_: sockets.Frame) -> None:
    """Somebody who listens to nothing."""


async def test_frames_go_both_ways_in_order_and_keep_their_kind(serving: Serving):
    async def echo(socket: sockets.Socket) -> None:
        def answer(frame: sockets.Frame) -> None:
            match frame:
                case str():
                    socket.send_text_nowait(frame.encode())
                case bytes():
                    socket.send_binary_nowait(frame)
                case _:
                    raise AssertionError(frame)

        await socket.serve(answer)

    async with serving(echo) as url, ClientSession() as http, http.ws_connect(url) as ws:
        for i in range(50):
            await ws.send_str(f"語{i}")
            await ws.send_bytes(bytes([i]))
        for i in range(50):
            assert await ws.receive_str() == f"語{i}"
            assert await ws.receive_bytes() == bytes([i])


async def test_a_ping_is_answered_and_a_pong_is_told(serving: Serving):
    seen: list[sockets.Frame] = []

    async def ping(socket: sockets.Socket) -> None:
        socket.ping_nowait()
        await socket.serve(seen.append)

    async with serving(ping) as url, ClientSession() as http, http.ws_connect(url, autoping=False) as ws:
        message = await ws.receive()
        assert message.type is WSMsgType.PING
        await ws.pong(message.data)
        await ws.ping(b"mine")
        answer = await ws.receive()
        assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"mine")
        await ws.close()
    assert seen == [sockets.Pong(), sockets.Extra()]


async def test_a_frame_over_the_limit_closes_with_1009(serving: Serving):
    async def read(socket: sockets.Socket) -> None:
        await socket.serve(ignore)

    async with serving(read) as url, ClientSession() as http, http.ws_connect(url) as ws:
        await ws.send_bytes(bytes(sockets.MAX_FRAME_BYTES + 1))
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert message.data == 1009


async def test_compression_is_never_negotiated(serving: Serving):
    async def wait(socket: sockets.Socket) -> None:
        await socket.serve(ignore)

    async with serving(wait) as url, ClientSession() as http, http.ws_connect(url, compress=15) as ws:
        assert ws.compress == 0


async def test_a_reader_that_takes_nothing_is_closed_and_the_queue_is_bounded(serving: Serving):
    refused = asyncio.Event()

    async def flood(socket: sockets.Socket) -> None:
        block = bytes(64 << 10)
        while socket.send_binary_nowait(block):
            assert socket.queued_bytes <= sockets.QUEUE_BYTES_MAX
            await asyncio.sleep(0)
        refused.set()
        await socket.serve(ignore)

    async with serving(flood) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await writer.drain()
        async with asyncio.timeout(20):
            await refused.wait()
        writer.close()
        assert reader is not None


async def test_what_was_queued_before_a_close_still_arrives(serving: Serving):
    async def farewell(socket: sockets.Socket) -> None:
        for i in range(100):
            socket.send_text_nowait(str(i).encode())
        socket.close_nowait(4001, "register again")
        assert not socket.send_text_nowait(b"late")
        await socket.serve(ignore)

    async with serving(farewell) as url, ClientSession() as http, http.ws_connect(url) as ws:
        assert [await ws.receive_str() for _ in range(100)] == [str(i) for i in range(100)]
        end = await ws.receive()
        assert (end.type, end.data, end.extra) == (WSMsgType.CLOSE, 4001, "register again")
