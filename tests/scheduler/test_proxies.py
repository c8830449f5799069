"""Whose address counts where proxies pass requests on."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from lingua_scheduler.runtime.config import Config, ConfigError, LimitsConfig, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.proxies import networks, origin
from lingua_scheduler.store.embedded import EmbeddedRedis

TRUSTED = networks(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "found"),
    [
        ("10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # the client made the first one up
        ("10.1.2.3", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["203.0.113.9, 192.0.2.7"], "203.0.113.9"),  # two proxies of ours
        ("192.0.2.7", ["2001:db8::1"], "2001:db8::1"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["", "unknown", "203.0.113.9:443"], "10.1.2.3"),
        ("203.0.113.1", ["10.9.9.9"], "203.0.113.1"),  # no proxy of ours: anybody writes that
        ("10.1.2.3", ["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        ("", ["10.0.0.9"], ""),
    ],
)
def test_the_outermost_trusted_proxy_says_who_it_is(peer: str, forwarded_for: list[str], found: str):
    assert origin(peer, forwarded_for, TRUSTED) == found


def test_what_is_no_network_refuses_the_start():
    with pytest.raises(ConfigError, match=r"server\.trusted_proxies"):
        networks(["proxy.example"])


@pytest.fixture
async def narrow(redis: EmbeddedRedis) -> AsyncIterator[Scheduler]:
    """One connection for each address, behind a proxy on loopback."""
    server = ServerConfig(port=0, trusted_proxies=["127.0.0.0/8"])
    limits = LimitsConfig(tcp_connections_per_address=1, connections_per_address=1, loopback_is_limited=True)
    config = Config(server=server, limits=limits)
    async with Scheduler.start(config, redis.url) as running:
        yield running


async def test_limits_hold_for_the_client_and_not_for_the_proxy(narrow: Scheduler):
    """Story: behind a proxy, 1,024 clients filled the limit of one address, and the next was refused."""
    url = f"{narrow.url}/ws/session"
    async with ClientSession() as http:
        one = await http.ws_connect(url, headers={"X-Forwarded-For": "203.0.113.1"})
        two = await http.ws_connect(url, headers={"X-Forwarded-For": "203.0.113.2"})
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(url, headers={"X-Forwarded-For": "203.0.113.1"})
        assert refused.value.status == 429
        await one.close()
        await two.close()


async def test_an_instance_that_leaves_says_so_before_the_handshake(scheduler: Scheduler):
    """Story: it took the WebSocket and refused the session in it, when no proxy could try another instance any more."""
    scheduler.sessions.drain(1000)
    async with ClientSession() as http:
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(f"{scheduler.url}/ws/session")
    assert refused.value.status == 503
