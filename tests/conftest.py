"""Hypothesis profiles and fixtures that every folder of tests shares.

`HYPOTHESIS_PROFILE` chooses: `ci` (repeatable), `dev` (other examples on each run) or `thorough` (minutes: before a
release).
"""

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.processes import Processes, descriptors

# Two shared cores make any single example slow now and then: time is the per-test limit's business, never an example's.
_SLOW_IS_FINE = [HealthCheck.too_slow]

settings.register_profile(
    "ci", max_examples=60, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_SLOW_IS_FINE
)
settings.register_profile("dev", max_examples=60, deadline=None, suppress_health_check=_SLOW_IS_FINE)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=_SLOW_IS_FINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Real processes for one test; it fails where one of them, or a unix socket, outlives it."""
    with Processes() as runner:
        yield runner


@pytest.fixture
def no_descriptor_leaks() -> Iterator[None]:
    """Fails a test that leaves a file, pipe or socket open in this process."""
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    left = descriptors() - before
    assert not left, f"left open: {sorted(left)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """`dev.py test` runs the checks first: the last screen of its output must tell of them too."""
    if failed := os.environ.get("LINGUA_FAILED_CHECKS"):
        terminalreporter.section("checks that failed (their output stands above the tests)", red=True)
        terminalreporter.line(failed)
