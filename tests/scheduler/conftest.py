"""A real scheduler on a real Redis, with peers that say what a test wants."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from lingua_scheduler.runtime.config import Config, SchedulerConfig, SegmentationConfig, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.support.peers import Peers

QUICK = Config(
    server=ServerConfig(port=0),
    scheduler=SchedulerConfig(
        web_task_segmentation=SegmentationConfig(pause_ms=600, hangover_manual_ms=20, close_grace_ms=300)
    ),
)
"""Defaults but for a free port and waits that a test need not sit through."""


@pytest.fixture
async def redis() -> AsyncIterator[EmbeddedRedis]:
    async with EmbeddedRedis.start() as server:
        yield server


@pytest.fixture
def config() -> Config:
    """Override in a module to change what `scheduler` runs with."""
    return QUICK


@pytest.fixture
async def scheduler(redis: EmbeddedRedis, config: Config) -> AsyncIterator[Scheduler]:
    async with Scheduler.start(config, redis.url) as running:
        yield running


@pytest.fixture
async def peers(scheduler: Scheduler) -> AsyncIterator[Peers]:
    async with Peers.of(scheduler.url, scheduler.context.store) as opened:
        yield opened


def changed(config: Config, section: str, **values: object) -> Config:
    """`config` with values of one section (dotted) replaced."""
    head, _, rest = section.partition(".")
    part = getattr(config, head)
    new = changed(part, rest, **values) if rest else msgspec.structs.replace(part, **values)
    return msgspec.structs.replace(config, **{head: new})
