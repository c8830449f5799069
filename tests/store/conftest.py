"""Redis servers and stores for these tests."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from lingua_scheduler.store.client import ScriptRunner
from lingua_scheduler.store.cluster import Cluster
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.store import Store
from tests.redis_groups import RedisCluster
from tests.redis_servers import REDIS, VALKEY, Servers, binary_of, emptied
from tests.redis_servers import redis_servers as redis_servers
from tests.redis_servers import redis_url as redis_url
from tests.redis_servers import redis_urls as redis_urls
from tests.store.dump import check_keys
from tests.store.spelled import SpellingClient
from tests.support.processes import Processes

T = TypeVar("T")
CLUSTER = "Redis Cluster"
PATIENT_MS = 30_000
"""A server that shares two cores with everything else may be kept waiting for seconds: that is no failure here."""


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """A store on an empty Redis 7.0. Every key that the test leaves must be one of the table, with its type and TTL."""
    async with Store.open(redis_url, timeout_ms=PATIENT_MS, rng=random.Random(1)) as opened:
        yield opened
        await check_keys(opened)


class StatedTime:
    """The time that scripts see: it passes when a test says so. TTLs do not follow it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def pass_ms(self, by_ms: int) -> None:
        self.now += by_ms


@pytest.fixture
def time() -> StatedTime:
    return StatedTime()


@pytest.fixture
async def timed(redis_url: str, time: StatedTime) -> AsyncIterator[Store]:
    """A store whose scripts see `time`."""
    async with Store.open(redis_url, timeout_ms=PATIENT_MS, rng=random.Random(1), now_ms=lambda: time.now) as opened:
        yield opened
        await check_keys(opened)


def _wait(work: Coroutine[Any, Any, T]) -> T:
    """On a loop of its own: servers outlive that of a test."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters for all tests of this process."""
    with Processes() as processes:
        yield _wait(RedisCluster.start(processes))


@pytest.fixture(params=[REDIS, VALKEY, CLUSTER], ids=["redis", "valkey", "cluster"])
def where(redis_servers: Servers, request: pytest.FixtureRequest) -> str | Cluster:
    """An empty server, or the shard of an empty cluster; the test runs once on each kind."""
    if request.param == CLUSTER:
        cluster: RedisCluster = request.getfixturevalue("redis_cluster")
        _wait(cluster.flush())
        return cluster.finder()
    return _wait(emptied(redis_servers.get(binary_of(request.param))))


@pytest.fixture
async def stores(where: str | Cluster) -> AsyncIterator[Store]:
    """A store on each kind of server."""
    if isinstance(where, str):
        async with Store.open(where, timeout_ms=PATIENT_MS, rng=random.Random(1)) as opened:
            yield opened
            await check_keys(opened)
        return
    client = SpellingClient(where, PATIENT_MS)
    clustered = Store(ScriptRunner(client, Keys(is_cluster=True)), random.Random(1))
    yield clustered
    await check_keys(clustered)
    client.close()
