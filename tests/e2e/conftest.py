"""A fleet of real processes for one test, which ends with the checks of `fleet.Fleet.finish`."""

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.e2e.fleet import IMPORTED, Fleet, Redis
from tests.support.forking import Template
from tests.support.processes import Processes


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """Has imported what instances and nodes import."""
    with Template.of(*IMPORTED) as one:
        yield one


@pytest.fixture
def processes(template: Template) -> Iterator[Processes]:
    """As for all tests; what is forked is forked."""
    with Processes(template) as runner:
        yield runner


@pytest.fixture
async def fleet(processes: Processes) -> AsyncIterator[Fleet]:
    """Redis runs; everything else is the test's to start. A test calls `fleet.finish()` as its last line."""
    redis = Redis(processes)
    await redis.start()
    yield Fleet(processes, redis)
    for child in processes.children:  # a test that failed may leave one stopped: it could not be told to end
        child.send(signal.SIGCONT)
