"""The listening port: TLS, how many connections there may be, and how long one may take to say what it wants."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, ConfigError, ServerConfig
from lingua_scheduler.scheduler.pages import Handler

_Certificate = Mapping[str, Sequence[Sequence[tuple[str, str]]]]

SWEEP_S = 0.5
TLS_HANDSHAKE_S = 10.0


class _Refusal(asyncio.Protocol):
    """Ends a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Newcomers:
    """Connections that have not finished a header yet. (Later headers of a connection have the keep-alive time.)"""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ms: dict[RequestHandler, int] = {}

    def add(self, handler: RequestHandler) -> None:
        self._since_ms[handler] = self._clock.now_ms()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Around every other: its header was complete."""
        self._since_ms.pop(request.protocol, None)
        return await handler(request)

    async def sweep(self, header_ms: int) -> None:
        """In the background: who took longer than `header_ms` is cut off."""
        while True:
            await asyncio.sleep(SWEEP_S)
            late_ms = self._clock.now_ms() - header_ms
            for handler in [one for one, since_ms in self._since_ms.items() if since_ms <= late_ms]:
                del self._since_ms[handler]
                if handler.transport is not None:  # else it has gone, or TLS still shakes hands and has its own limit
                    handler.transport.abort()


class Door(web.TCPSite):
    """As its base, with a bound on connections, and newcomers told."""

    def __init__(self, runner: web.AppRunner, config: Config, newcomers: Newcomers) -> None:
        """ConfigError where certificates cannot be used."""
        server = config.server
        super().__init__(
            runner, server.host, server.port, ssl_context=tls_of(server), reuse_port=server.workers > 1 or None
        )
        self._connections_max = config.limits.connections
        self._newcomers = newcomers

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

    def _make(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        if len(server.connections) >= self._connections_max:
            return _Refusal()
        handler = server()
        self._newcomers.add(handler)
        return handler


def tls_of(server: ServerConfig) -> ssl.SSLContext | None:
    """None where the port speaks plain HTTP. ConfigError where a file cannot be used."""
    if not server.tls_cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.tls_cert_file, server.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"server.tls_cert_file: {_why(error)}") from None
    if server.tls_nodes_ca_file:
        context.verify_mode = ssl.CERT_OPTIONAL  # clients have none; nodes are asked for theirs at their own door
        try:
            context.load_verify_locations(server.tls_nodes_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"server.tls_nodes_ca_file: {_why(error)}") from None
    return context


def common_name(request: web.Request) -> str:
    """Of the certificate that the peer showed; "" where it showed none."""
    transport = request.transport
    shown = cast("_Certificate | None", transport.get_extra_info("peercert") if transport is not None else None)
    subject = shown.get("subject", ()) if shown else ()
    return next((value for part in subject for name, value in part if name == "commonName"), "")


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
