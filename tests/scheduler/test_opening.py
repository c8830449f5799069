"""What a session is told at its start, before its client has said anything more."""

from contextlib import AsyncExitStack

import pytest

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.runtime.sockets import GOING_AWAY
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK, changed
from tests.support import wait_until
from tests.support.peers import Peers


@pytest.fixture
def config() -> Config:
    return changed(QUICK, "scheduler.web_task_segmentation", session_idle_seconds=1)


async def test_a_session_whose_client_never_says_a_word_ends_as_idle(peers: Peers):
    """Its clock used to start with the first message: a client that sent none kept its session for ever."""
    client = await peers.client()
    await client.open()
    assert await client.wait_closed() == GOING_AWAY


async def test_a_session_that_opens_during_an_outage_is_told_of_it(config: Config):
    async with AsyncExitStack() as stack:
        async with EmbeddedRedis.start() as redis:
            scheduler = await stack.enter_async_context(Scheduler.start(config, redis.url))
            peers = await stack.enter_async_context(Peers.of(scheduler.url, scheduler.context.store))
        await wait_until(lambda: not scheduler.context.health.is_up, "the outage to be noticed")
        client = await peers.client()
        assert "unreachable" in (await client.open()).message
        error = await client.wait_for(wire.ErrorMessage)
        assert error.code is ErrorCode.SCHEDULER_DEPENDENCY_DOWN
