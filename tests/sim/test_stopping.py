"""Whatever is no error of the fleet's (a test's time is over) ends a world wherever it rises, and is no finding."""

from collections.abc import Callable
from typing import Any

import pytest

from lingua_scheduler.scheduler.nodes import NodeConnection
from lingua_scheduler.scheduler.upkeep import Upkeep
from lingua_scheduler.sim.plan import Size, make_plan
from lingua_scheduler.sim.runner import judge
from lingua_scheduler.sim.world import World
from lingua_scheduler.store.model.jobs import JobModel

# pyright: reportPrivateUsage=false

PLAN = make_plan(1, Size(faults=(), minutes=0.3, sessions=2, nodes=2))


class _TimeIsOver(BaseException):
    """As pytest's own: no `Exception`."""


def _raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


PLACES = {
    "a task of an instance": (NodeConnection, "_on_frame"),
    "the start of an instance": (Upkeep, "_round"),
    "a call to Redis": (JobModel, "select"),
    "the world": (World, "_sample"),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_end_of_a_tests_time_passes_through(place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(*PLACES[place], _raising(_TimeIsOver()))

    with pytest.raises(_TimeIsOver):
        judge(PLAN)


@pytest.mark.parametrize("place", list(PLACES)[:3])
def test_an_error_does_not(place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(*PLACES[place], _raising(ValueError("a bug")))

    assert "R0" in {one.rule for one in judge(PLAN).violations}
