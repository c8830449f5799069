"""What counts as a Redis that is back."""

from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.scheduler.store_health import StoreHealth


async def test_a_round_that_began_before_a_failure_does_not_hide_it():
    """A round was under way when a replica took over and ended well: sessions were not written to that one."""
    health = StoreHealth(Clock())
    told: list[bool] = []
    health.told = lambda is_up, _why: told.append(is_up)
    began = health.failures
    health.failed("connection lost")
    health.answered(began)
    assert (health.is_up, told) == (False, [False])
    health.answered(health.failures)
    assert (health.is_up, told) == (True, [False, True])
    assert health.is_settling
