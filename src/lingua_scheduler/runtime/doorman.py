"""The first bytes of a connection: a WebSocket is served by us, everything else is given on to the HTTP library.

The doorman reads no further than it takes to tell the two apart, and gives on what it has read, so that the library
sees the connection from its first byte. Two programs never both answer one connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from lingua_scheduler.protocol.handshake import Denial, Upgrade, Verdict, accepted, read_upgrade, refused
from lingua_scheduler.runtime.endpoint import Endpoint, new_buffer
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.sockets import MAX_FRAME_BYTES, Caller

Serve = Callable[[Caller], Awaitable[Denial | None]]
"""Serves a WebSocket to its end, or says why the caller has none."""


class Reception(Protocol):
    """What is done about a connection around its first head."""

    def came(self, doorman: "Doorman") -> bool:
        """Whether it may stay: else it is one too many."""
        ...

    def heard(self, doorman: "Doorman") -> None:
        """Its head is complete, or it has gone."""
        ...

    def left(self, doorman: "Doorman") -> None:
        """The end of a connection that was not given on."""
        ...

    def elsewhere(self, doorman: "Doorman") -> asyncio.Protocol:
        """Makes the protocol of a connection that is none of ours."""
        ...

    def origin(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The address behind proxies, from that of the connection and from what they say."""
        ...


class Lodge:
    """What the doormen of one port share, and the connections that are theirs."""

    def __init__(
        self,
        routes: Mapping[str, Serve],
        reception: "Reception",
        headers: Mapping[str, str],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        """`routes`: who serves which path. `headers`: of refusals. `failed` hears what the serving raised."""
        self.routes = routes
        self.reception = reception
        self.headers = headers
        self.buffer = new_buffer()
        self.scope = Scope(failed)
        self.connections: set[Doorman] = set()

    def left(self, doorman: "Doorman") -> None:
        self.connections.discard(doorman)
        self.reception.left(doorman)

    async def close(self, within_s: float) -> None:
        """Nobody comes any more: let who is served leave, and cut off who has not in time."""
        for doorman in list(self.connections):
            if not doorman.is_serving:
                doorman.cut_off()
        try:
            async with asyncio.timeout(within_s):
                await self.scope.wait()
        except TimeoutError:
            for doorman in self.connections:
                doorman.cut_off()
            await self.scope.close()


class Doorman(asyncio.Protocol):
    """One connection: its first head, and who serves it if it is a WebSocket."""

    def __init__(self, lodge: Lodge) -> None:
        self.is_serving = False
        self._lodge = lodge
        self.transport: asyncio.Transport | None = None
        self._head = b""

    def cut_off(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's is none by its classes
        if self._lodge.reception.came(self):
            self._lodge.connections.add(self)
        else:
            self.cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.transport = None
        self._lodge.reception.heard(self)
        if not self.is_serving:
            self._lodge.left(self)

    def data_received(self, data: bytes) -> None:
        transport = self.transport
        assert transport is not None
        self._head += data
        found = read_upgrade(self._head, self._lodge.routes)
        if found is Verdict.MORE:
            return
        transport.pause_reading()
        if isinstance(found, Upgrade):
            self.is_serving = True
            self._lodge.reception.heard(self)
            self._lodge.scope.start(self._serve(_Guest(self._lodge, transport, found, self)), "websocket")
            return
        library = self._lodge.reception.elsewhere(self)
        self._lodge.connections.discard(self)
        transport.set_protocol(library)
        library.connection_made(transport)
        transport.resume_reading()
        library.data_received(self._head)

    def take_rest(self, length: int) -> bytes:
        """What came behind the head. ConnectionResetError where the connection has gone meanwhile."""
        if self.transport is None:
            raise ConnectionResetError("gone before it was served")
        rest, self._head = self._head[length:], b""
        return rest

    async def _serve(self, guest: "_Guest") -> None:
        try:
            refusal = await self._lodge.routes[guest.path](guest)
            if refusal is not None and self.transport is not None:
                self.transport.write(refused(refusal, self._lodge.headers))
                self.transport.close()
        except ConnectionResetError:
            if self.transport is not None:
                raise
        finally:
            self._lodge.left(self)
            if not guest.is_accepted and self.transport is not None and not self.transport.is_closing():
                self.transport.abort()


class _Guest:
    """A `Caller`."""

    def __init__(self, lodge: Lodge, transport: asyncio.Transport, upgrade: Upgrade, doorman: Doorman) -> None:
        peer = transport.get_extra_info("peername")
        self.path = upgrade.path
        self.host = upgrade.host
        self.origin = upgrade.origin
        self.protocols = upgrade.protocols
        self.remote = lodge.reception.origin(str(peer[0]) if peer else "", upgrade.forwarded_for)
        self.transport = transport
        self.is_accepted = False
        self._lodge = lodge
        self._upgrade = upgrade
        self._doorman = doorman

    async def accept(self, *, frame_bytes_max: int = MAX_FRAME_BYTES, subprotocols: Sequence[str] = ()) -> Endpoint:
        rest = self._doorman.take_rest(self._upgrade.length)
        self.is_accepted = True
        chosen = next((one for one in self.protocols if one in subprotocols), None)
        self.transport.write(accepted(self._upgrade, chosen))
        endpoint = Endpoint(self.transport, self._lodge.buffer, frame_bytes_max)
        endpoint.begin(rest)
        return endpoint
