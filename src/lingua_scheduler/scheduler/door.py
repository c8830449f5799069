"""The listening port: TLS, how many connections there may be, and how long one may take to say what it wants."""

import asyncio
import hashlib
import ssl
from collections.abc import Mapping, Sequence
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lingua_scheduler.core.access import AccessError, Grant, certified
from lingua_scheduler.runtime import tls
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, ServerConfig
from lingua_scheduler.runtime.doorman import Doorman, Lodge
from lingua_scheduler.scheduler.limits import Limits, of_whom
from lingua_scheduler.scheduler.pages import Handler
from lingua_scheduler.scheduler.proxies import Network, is_among, origin

_Shown = Mapping[str, Sequence[Sequence[tuple[str, str]]]]
_Names = Mapping[str, Sequence[tuple[str, str]]]

SWEEP_S = 0.5
LOOK_S = 2.0
TLS_HANDSHAKE_S = 10.0


class _Refusal(asyncio.Protocol):
    """Ends a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Newcomers:
    """Connections that have not finished a header yet. (Later headers of a connection have the keep-alive time.)"""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ms: dict[RequestHandler | Doorman, int] = {}

    def add(self, one: RequestHandler | Doorman, since_ms: int | None = None) -> None:
        self._since_ms[one] = self._clock.now_ms() if since_ms is None else since_ms

    def heard(self, one: RequestHandler | Doorman) -> int | None:
        """Its header was complete, or it has gone; since when it was one of them."""
        return self._since_ms.pop(one, None)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Around every other: its header was complete."""
        self.heard(request.protocol)
        return await handler(request)

    async def sweep(self, header_ms: int) -> None:
        """In the background: who took longer than `header_ms` is cut off."""
        while True:
            await asyncio.sleep(SWEEP_S)
            late_ms = self._clock.now_ms() - header_ms
            for one in [one for one, since_ms in self._since_ms.items() if since_ms <= late_ms]:
                del self._since_ms[one]
                if one.transport is not None:  # else it has gone, or TLS still shakes hands and has its own limit
                    one.transport.abort()


class Visitors:
    """Which address each open connection is from: none has more of them than it may, but for trusted proxies."""

    def __init__(self, limits: Limits, trusted: Sequence[Network]) -> None:
        self._limits = limits
        self._trusted = trusted
        self._addresses: dict[asyncio.BaseProtocol, str] = {}

    def come(self, one: asyncio.BaseProtocol, transport: asyncio.BaseTransport | None) -> bool:
        """Whether it may stay."""
        peer = transport.get_extra_info("peername") if transport is not None else None
        remote = str(peer[0]) if peer else ""
        address = "" if is_among(remote, self._trusted) else of_whom(remote)
        if not self._limits.arrive(address):
            return False
        self._addresses[one] = address
        return True

    def go(self, one: asyncio.BaseProtocol) -> None:
        if (address := self._addresses.pop(one, None)) is not None:
            self._limits.depart(address)

    def give_on(self, one: asyncio.BaseProtocol, handler: RequestHandler) -> asyncio.Protocol:
        """The same connection by another protocol."""
        visit = _Visit(handler, self)
        if (address := self._addresses.pop(one, None)) is not None:
            self._addresses[visit] = address
        return visit


class _Visit(asyncio.Protocol):
    """A connection that aiohttp serves, whose end is told."""

    def __init__(self, handler: RequestHandler, visitors: Visitors, *, comes: bool = False) -> None:
        """`comes`: nobody has asked yet whether it may stay."""
        self._visitors = visitors
        self._handler = handler
        self._comes = comes
        self.data_received = handler.data_received
        self.eof_received = handler.eof_received
        self.pause_writing = handler.pause_writing
        self.resume_writing = handler.resume_writing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._handler.connection_made(transport)
        if self._comes and not self._visitors.come(self, transport):
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._visitors.go(self)
        self._handler.connection_lost(exc)


class Door(web.TCPSite):
    """As its base, with a bound on connections, and newcomers told."""

    def __init__(
        self, runner: web.AppRunner, config: Config, newcomers: Newcomers, visitors: Visitors, lodge: Lodge | None
    ) -> None:
        """Without a lodge aiohttp serves WebSockets too. ConfigError where certificates cannot be used."""
        server = config.server
        context = tls_of(server)
        self._certificate = (
            tls.Certificate(context, server.tls_cert_file, server.tls_key_file, "server.tls_cert_file")
            if context is not None
            else None
        )
        super().__init__(runner, server.host, server.port, ssl_context=context, reuse_port=server.workers > 1 or None)
        self._connections_max = config.limits.connections
        self._newcomers = newcomers
        self._visitors = visitors
        self._lodge = lodge

    async def start(self) -> None:
        await web.BaseSite.start(self)
        self._server = await asyncio.get_running_loop().create_server(
            self._make,
            self._host,
            self._port,
            ssl=self._ssl_context,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if self._ssl_context else None,
            backlog=self._backlog,
            reuse_port=self._reuse_port,
        )

    async def watch(self) -> None:
        """In the background: a certificate that was renewed is shown from then on."""
        while self._certificate is not None:
            await asyncio.sleep(LOOK_S)
            self._certificate.refresh()

    def _make(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        ours = len(self._lodge.connections) if self._lodge is not None else 0
        if ours + len(server.connections) >= self._connections_max:
            return _Refusal()
        if self._lodge is not None:
            return Doorman(self._lodge)
        handler = server()
        self._newcomers.add(handler)
        return _Visit(handler, self._visitors, comes=True)


class Reception:
    """Who comes to a doorman: served by us, or given on to aiohttp. What `Lodge` is told."""

    def __init__(
        self, runner: web.AppRunner, trusted: Sequence[Network], newcomers: Newcomers, visitors: Visitors
    ) -> None:
        self._runner = runner
        self._newcomers = newcomers
        self._visitors = visitors
        self._trusted = trusted

    def came(self, doorman: Doorman) -> bool:
        may_stay = self._visitors.come(doorman, doorman.transport)
        if may_stay:
            self._newcomers.add(doorman)
        return may_stay

    def heard(self, doorman: Doorman) -> None:
        self._newcomers.heard(doorman)

    def left(self, doorman: Doorman) -> None:
        self._visitors.go(doorman)

    def elsewhere(self, doorman: Doorman) -> asyncio.Protocol:
        """Its header may still be incomplete: it has no more time for that than it had."""
        assert self._runner.server is not None
        handler = self._runner.server()
        self._newcomers.add(handler, self._newcomers.heard(doorman))
        return self._visitors.give_on(doorman, handler)

    def origin(self, peer: str, forwarded_for: Sequence[str]) -> str:
        return origin(peer, forwarded_for, self._trusted) if self._trusted else peer


def tls_of(server: ServerConfig) -> ssl.SSLContext | None:
    """None where the port speaks plain HTTP. Its certificate is the door's. ConfigError where a file cannot be used."""
    if not server.tls_cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.tls_nodes_ca_file:
        context.verify_mode = ssl.CERT_OPTIONAL  # clients have none; nodes are asked for theirs at their own door
        tls.trust(context, server.tls_nodes_ca_file, "server.tls_nodes_ca_file")
    return context


def certificate_of(transport: asyncio.BaseTransport | None) -> Grant | None:
    """What the certificate that a node showed allows it; None where it showed none that can be a node's."""
    shown: object = transport.get_extra_info("ssl_object") if transport is not None else None
    raw = shown.getpeercert(binary_form=True) if isinstance(shown, ssl.SSLObject) else None
    if not isinstance(shown, ssl.SSLObject) or not raw:
        return None
    said = shown.getpeercert() or {}
    subject = cast("_Shown", said).get("subject", ())
    name = next((value for part in subject for key, value in part if key == "commonName"), "")
    uris = [value for key, value in cast("_Names", said).get("subjectAltName", ()) if key == "URI"]
    try:
        return certified(name, hashlib.sha256(raw).hexdigest(), uris)
    except AccessError:
        return None
