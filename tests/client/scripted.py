"""A scheduler that does what a test says, on a real port: one script for each connection, in turn."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from aiohttp import WSMsgType, web

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from tests.client.model import init_ack


class Visitor:
    """One connection of a client, seen from the scheduler."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self.ws = ws

    async def send(self, *messages: wire.Wire) -> None:
        for message in messages:
            await self.ws.send_str(codec.encode(message).decode())

    async def next(self) -> wire.ClientMessage | codec.BinaryChunk | codec.BinaryPing:
        message = await self.ws.receive(timeout=15)
        assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), f"the client went away: {message}"
        return codec.decode_client(message.data)

    async def open(self, ack: wire.SessionInitAck | None = None) -> wire.SessionInit:
        init = await self.next()
        assert isinstance(init, wire.SessionInit)
        await self.send(ack or init_ack())
        return init

    async def listen(self) -> bytes:
        """All audio up to the next final or close; `close` tells which it was."""
        heard = b""
        while True:
            match await self.next():
                case codec.BinaryChunk() as chunk:
                    heard += chunk.audio
                    if chunk.is_final:
                        return heard
                case wire.SessionClose():
                    return heard
                case _:
                    continue

    async def wait_for(self, kind: type[wire.Wire]) -> wire.Wire:
        while not isinstance(message := await self.next(), kind):
            pass
        return message

    async def drop(self) -> None:
        """Cut the connection without a word."""
        assert self.ws._req is not None
        transport = self.ws._req.transport
        assert transport is not None
        transport.abort()


Script = Callable[[Visitor], Awaitable[None]]


class Scripted:
    """What happened: faults of the scripts, and how many connections came."""

    url = ""

    def __init__(self, scripts: tuple[Script, ...]) -> None:
        self._scripts = list(scripts)
        self.faults: list[BaseException] = []
        self.visits = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.visits += 1
        if not self._scripts:
            return web.Response(status=503)
        script = self._scripts.pop(0)
        ws = web.WebSocketResponse(max_msg_size=1 << 20)
        await ws.prepare(request)
        try:
            await script(Visitor(ws))
        except AssertionError as fault:
            self.faults.append(fault)
        await ws.close()
        return ws


@contextlib.asynccontextmanager
async def scripted(*scripts: Script) -> AsyncGenerator[Scripted]:
    """A scheduler on a free port of 127.0.0.1. Past its last script it answers 503. Faults of scripts fail the test."""
    made = Scripted(scripts)
    app = web.Application()
    app.router.add_get("/ws/session", made.serve)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
    assert not made.faults, made.faults
