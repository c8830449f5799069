"""Who a request is from where proxies pass it on: the address that limits count and the audit log names.

Anybody can write `X-Forwarded-For`; a proxy adds the address that it saw at the end. So it is read from the end, for as
long as the one that wrote it is a trusted proxy, and not at all where the connection comes from elsewhere.
"""

import ipaddress
from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from lingua_scheduler.runtime.config import ConfigError
from lingua_scheduler.scheduler.pages import Handler

_HOPS_MAX = 8
"""More proxies one behind the other are nobody's."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(trusted: Sequence[str]) -> list[Network]:
    """`server.trusted_proxies`. ConfigError where one is no address and no network."""
    try:
        return [ipaddress.ip_network(one) for one in trusted]
    except ValueError as error:
        raise ConfigError(f"server.trusted_proxies: {error}") from None


def origin(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address that the outermost trusted proxy saw; `peer`, of the connection, where none is in between.

    `forwarded_for`: the values of all headers `X-Forwarded-For`, in order.
    """
    hops = [one.strip() for line in forwarded_for for one in line.split(",")][-_HOPS_MAX:]
    address = peer
    while hops and is_among(address, trusted):
        last = hops.pop()
        if not _is_address(last):
            break
        address = last
    return address


def behind_proxies(trusted: Sequence[Network]) -> Middleware:
    """From here on `request.remote` is the client's address, not the proxy's."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = request.remote or ""
        found = origin(peer, request.headers.getall("X-Forwarded-For", ()), trusted) if trusted else peer
        return await handler(request if found == peer else request.clone(remote=found))

    return middleware


def is_among(address: str, trusted: Sequence[Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
