"""The scheduler of `tests/scheduler`, to be attacked."""

from tests.scheduler.conftest import config, peers, redis, scheduler

__all__ = ["config", "peers", "redis", "scheduler"]
