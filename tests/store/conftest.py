"""Redis servers and stores for these tests."""

import random
from collections.abc import AsyncIterator

import pytest

from lingua_scheduler.store.store import Store
from tests.redis_servers import redis_servers as redis_servers
from tests.redis_servers import redis_url as redis_url
from tests.redis_servers import redis_urls as redis_urls
from tests.store.dump import check_keys

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


@pytest.fixture
async def stores(redis_urls: str) -> AsyncIterator[Store]:
    """The same; the test runs once on each kind of server."""
    async with Store.open(redis_urls, timeout_ms=PATIENT_MS, rng=random.Random(1)) as opened:
        yield opened
        await check_keys(opened)
