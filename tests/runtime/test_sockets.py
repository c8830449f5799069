"""Frames over a real WebSocket: order, bounds, slow and rude peers."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import ClientSession, WSMsgType, web

from lingua_scheduler.runtime import sockets

Serve = Callable[[sockets.Socket], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncGenerator[str]:
    """A server whose one route hands its socket to `serve`."""

    async def handler(request: web.Request) -> web.StreamResponse:
        socket = await sockets.accept(request)
        await serve(socket)
        await socket.wait_closed()
        return socket.response

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()


async def test_frames_go_both_ways_in_order_and_keep_their_kind():
    async def echo(socket: sockets.Socket) -> None:
        while (frame := await socket.receive()) is not None:
            match frame:
                case str():
                    socket.send_text_nowait(frame.encode())
                case bytes():
                    socket.send_binary_nowait(frame)
                case _:
                    raise AssertionError(frame)

    async with serving(echo) as url, ClientSession() as http, http.ws_connect(url) as ws:
        for i in range(50):
            await ws.send_str(f"語{i}")
            await ws.send_bytes(bytes([i]))
        for i in range(50):
            assert await ws.receive_str() == f"語{i}"
            assert await ws.receive_bytes() == bytes([i])


async def test_a_ping_is_answered_and_a_pong_is_told():
    seen: list[sockets.Frame] = []

    async def ping(socket: sockets.Socket) -> None:
        socket.ping_nowait()
        while (frame := await socket.receive()) is not None:
            seen.append(frame)

    async with serving(ping) as url, ClientSession() as http, http.ws_connect(url, autoping=False) as ws:
        message = await ws.receive()
        assert message.type is WSMsgType.PING
        await ws.pong(message.data)
        await ws.ping(b"mine")
        answer = await ws.receive()
        assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"mine")
        await ws.close()
    assert seen == [sockets.Pong()]


async def test_a_frame_over_the_limit_closes_with_1009():
    async def read(socket: sockets.Socket) -> None:
        while await socket.receive() is not None:
            pass

    async with serving(read) as url, ClientSession() as http, http.ws_connect(url) as ws:
        await ws.send_bytes(bytes(sockets.MAX_FRAME_BYTES + 1))
        message = await ws.receive()
        assert message.type is WSMsgType.CLOSE
        assert message.data == 1009


async def test_compression_is_never_negotiated():
    async def wait(socket: sockets.Socket) -> None:
        await socket.receive()

    async with serving(wait) as url, ClientSession() as http, http.ws_connect(url, compress=15) as ws:
        assert ws.compress == 0


async def test_a_reader_that_takes_nothing_is_closed_and_the_queue_is_bounded():
    refused = asyncio.Event()

    async def flood(socket: sockets.Socket) -> None:
        block = bytes(64 << 10)
        while socket.send_binary_nowait(block):
            assert socket.queued_bytes <= sockets.QUEUE_BYTES_MAX
            await asyncio.sleep(0)
        refused.set()
        await socket.receive()

    async with serving(flood) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")))
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await writer.drain()
        async with asyncio.timeout(20):
            await refused.wait()
        writer.close()
        assert reader is not None


async def test_what_was_queued_before_a_close_still_arrives():
    async def farewell(socket: sockets.Socket) -> None:
        for i in range(100):
            socket.send_text_nowait(str(i).encode())
        socket.close_nowait(4001, "register again")
        assert not socket.send_text_nowait(b"late")
        await socket.receive()

    async with serving(farewell) as url, ClientSession() as http, http.ws_connect(url) as ws:
        assert [await ws.receive_str() for _ in range(100)] == [str(i) for i in range(100)]
        end = await ws.receive()
        assert (end.type, end.data, end.extra) == (WSMsgType.CLOSE, 4001, "register again")
