"""A port that hands every WebSocket on it to a test, by either endpoint, and answers everything else by aiohttp."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from aiohttp import web

from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.runtime import sockets
from lingua_scheduler.runtime.doorman import Doorman, Lodge
from lingua_scheduler.runtime.library_sockets import LibraryCaller

Each = Callable[[sockets.Socket], Awaitable[None]]


class _Reception:
    """What `Lodge` is told."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner

    def came(self, doorman: Doorman) -> bool:
        return True

    def heard(self, doorman: Doorman) -> None: ...

    def left(self, doorman: Doorman) -> None: ...

    def elsewhere(self, doorman: Doorman) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    def origin(self, peer: str, forwarded_for: Sequence[str]) -> str:
        return peer


@asynccontextmanager
async def serving_sockets(
    each: Each, which: Literal["own", "aiohttp"] = "own", tls: ssl.SSLContext | None = None
) -> AsyncGenerator[str]:
    """Its URL. What a socket's handler raises is raised at the end."""
    failures: list[BaseException] = []

    async def serve(caller: sockets.Caller) -> Denial | None:
        socket = await caller.accept()
        try:
            await each(socket)
        finally:
            await socket.wait_closed()
        return None

    async def by_library(request: web.Request) -> web.StreamResponse:
        caller = LibraryCaller(request)
        await serve(caller)
        assert caller.response is not None
        return caller.response

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="a page")

    app = web.Application()
    app.router.add_get("/ws", by_library)
    app.router.add_get("/page", page)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    lodge = Lodge({"/ws": serve}, _Reception(runner), {}, lambda _name, error: failures.append(error))
    factory = runner.server if which == "aiohttp" else lambda: Doorman(lodge)
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/ws"
    finally:
        server.close()
        await lodge.close(1)
        await runner.cleanup()
    assert not lodge.connections, "every connection is accounted for"
    if failures:
        raise failures[0]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
