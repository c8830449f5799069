"""A fleet of real processes for one test, which ends with the checks of `fleet.Fleet.finish`."""

import signal
from collections.abc import AsyncIterator

import pytest

from tests.e2e.fleet import Fleet, Redis
from tests.support.processes import Processes


@pytest.fixture
async def fleet(processes: Processes) -> AsyncIterator[Fleet]:
    """Redis runs; everything else is the test's to start. A test calls `fleet.finish()` as its last line."""
    redis = Redis(processes)
    await redis.start()
    yield Fleet(processes, redis)
    for child in processes.children:  # a test that failed may leave one stopped: it could not be told to end
        child.send(signal.SIGCONT)
