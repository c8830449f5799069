"""The relay on bare sockets: what no scheduler on the same socket library can be cheaper than.

`python -m lingua_scheduler.bench.floor own|aiohttp` prints its port and serves until its standard input closes: on our
own endpoint, behind no more than its handshake, or on aiohttp's.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

from lingua_scheduler.bench.relay import Client, Node, Relay, Said
from lingua_scheduler.protocol.handshake import Upgrade, Verdict, accepted, read_upgrade
from lingua_scheduler.runtime import loop
from lingua_scheduler.runtime.endpoint import Endpoint, new_buffer
from lingua_scheduler.runtime.sockets import MAX_FRAME_BYTES, Frame

_CLIENTS, _NODES = "/ws/session", "/ws/node"
_BACKLOG = 1024


class _Own:
    """On our own endpoint."""

    def __init__(self) -> None:
        self.relay: Relay[Endpoint] = Relay()
        self.buffer = new_buffer()
        self.serving: set[asyncio.Task[None]] = set()

    async def serve(self, transport: asyncio.Transport, upgrade: Upgrade, rest: bytes) -> None:
        relay = self.relay
        endpoint = Endpoint(transport, self.buffer, MAX_FRAME_BYTES)
        endpoint.begin(rest)
        if upgrade.path == _CLIENTS:
            client = Client(endpoint)
            await endpoint.serve(_handler(lambda data: relay.client_said(client, data)))
        else:
            node = Node(endpoint)
            await endpoint.serve(_handler(lambda data: relay.node_said(node, data)))
            _put(relay.node_left(node))
        await endpoint.wait_closed()


class _Door(asyncio.Protocol):
    """A connection until its handshake is over."""

    def __init__(self, floor: _Own) -> None:
        self._floor = floor
        self._head = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's is none by its classes

    def data_received(self, data: bytes) -> None:
        self._head += data
        found = read_upgrade(self._head, (_CLIENTS, _NODES))
        if found is Verdict.MORE:
            return
        assert isinstance(found, Upgrade), self._head
        self._transport.pause_reading()
        self._transport.write(accepted(found, None))
        serving = self._floor.serving
        task = asyncio.get_running_loop().create_task(
            self._floor.serve(self._transport, found, self._head[found.length :])
        )
        serving.add(task)
        task.add_done_callback(serving.discard)


def _handler(take: Callable[[str | bytes], Sequence[Said[Endpoint]]]) -> Callable[[Frame], None]:
    def handle(frame: Frame) -> None:
        if isinstance(frame, str | bytes):
            _put(take(frame))

    return handle


def _put(said: Sequence[Said[Endpoint]]) -> None:
    for endpoint, data, is_binary in said:
        (endpoint.send_binary_nowait if is_binary else endpoint.send_text_nowait)(data)


@asynccontextmanager
async def _on_our_endpoint() -> AsyncGenerator[int]:
    floor = _Own()
    server = await asyncio.get_running_loop().create_server(lambda: _Door(floor), "127.0.0.1", 0, backlog=_BACKLOG)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in [*floor.serving]:
        task.cancel()
    await asyncio.gather(*floor.serving, return_exceptions=True)


class _Library:
    """On aiohttp."""

    def __init__(self) -> None:
        self._relay: Relay[web.WebSocketResponse] = Relay()

    async def client(self, request: web.Request) -> web.StreamResponse:
        ws = await _upgraded(request)
        client = Client(ws)
        async for frame in ws:
            if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await _send(self._relay.client_said(client, frame.data))
        return ws

    async def node(self, request: web.Request) -> web.StreamResponse:
        ws = await _upgraded(request)
        node = Node(ws)
        async for frame in ws:
            if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                await _send(self._relay.node_said(node, frame.data))
        await _send(self._relay.node_left(node))
        return ws


async def _upgraded(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES, compress=False)
    await ws.prepare(request)
    return ws


async def _send(said: Sequence[Said[web.WebSocketResponse]]) -> None:
    for ws, data, is_binary in said:
        await ws.send_frame(data, WSMsgType.BINARY if is_binary else WSMsgType.TEXT)


@asynccontextmanager
async def _on_aiohttp() -> AsyncGenerator[int]:
    floor = _Library()
    app = web.Application()
    app.router.add_get(_CLIENTS, floor.client)
    app.router.add_get(_NODES, floor.node)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def serve(library: str) -> int:
    async with _on_our_endpoint() if library == "own" else _on_aiohttp() as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
    return 0


if __name__ == "__main__":
    sys.exit(loop.run(serve(sys.argv[1])))
