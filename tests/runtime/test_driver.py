"""One event at a time, effects in order, a deadline that is looked at lazily, a bug that ends one machine only."""

import asyncio
from dataclasses import dataclass, field

from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.driver import STORY_LENGTH, Driver
from lingua_scheduler.runtime.timers import Timers


class ManualClock(Clock):
    """Loop time that moves by hand."""

    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


@dataclass
class Echo:
    """A machine whose every event becomes an effect; `time` asks for a deadline, `bug` is one."""

    deadline_ms: int | None = None
    handled: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def handle(self, event: str, now_ms: int) -> list[str]:
        if event == "bug":
            raise ZeroDivisionError
        self.handled.append((event, now_ms))
        if event == "time":
            self.deadline_ms = None
        return [event.upper()]

    def next_deadline_ms(self) -> int | None:
        return self.deadline_ms


class Stage:
    """A driven `Echo` on a hand-moved clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.timers = Timers(self.clock)
        self.machine = Echo()
        self.effects: list[str] = []
        self.crashes: list[tuple[Exception, list[str]]] = []
        self.reply_to: dict[str, str] = {}
        self.driver = Driver[str, str](
            self.machine, self.perform, "time", self.timers, self.clock, lambda e, s: self.crashes.append((e, s))
        )

    def perform(self, effect: str) -> None:
        self.effects.append(effect)
        if effect in self.reply_to:
            self.driver.post(self.reply_to[effect])


async def test_an_event_posted_by_an_effect_waits_until_all_effects_are_done():
    stage = Stage()
    stage.reply_to = {"A": "b", "B": "c"}
    stage.driver.post("a")
    assert [event for event, _ in stage.machine.handled] == ["a", "b", "c"]
    assert stage.effects == ["A", "B", "C"]


async def test_a_deadline_wakes_once_and_one_that_moved_back_is_looked_at_again():
    stage = Stage()
    stage.machine.deadline_ms = 10
    stage.driver.post("a")
    stage.machine.deadline_ms = 5000
    stage.clock.at_ms = 20
    await _ring(stage)
    assert stage.effects == ["A"], "the deadline had moved: nothing is due"
    stage.clock.at_ms = 6000
    await _ring(stage)
    assert stage.effects == ["A", "TIME"]
    await _ring(stage)
    assert stage.effects == ["A", "TIME"]


async def test_a_nearer_deadline_replaces_a_farther_one():
    stage = Stage()
    stage.machine.deadline_ms = 5000
    stage.driver.post("a")
    stage.machine.deadline_ms = 10
    stage.driver.post("b")
    stage.clock.at_ms = 10
    await _ring(stage)
    assert stage.effects == ["A", "B", "TIME"]


async def test_a_bug_stops_this_machine_and_tells_its_story_once():
    stage = Stage()
    stage.driver.post("a")
    stage.driver.post("bug")
    stage.driver.post("b")
    [(error, story)] = stage.crashes
    assert isinstance(error, ZeroDivisionError)
    assert stage.driver.is_stopped
    assert stage.effects == ["A"]
    assert "ZeroDivisionError" in story[-1]


async def test_the_story_is_bounded():
    stage = Stage()
    for _ in range(3 * STORY_LENGTH):
        stage.driver.post("a")
    assert len(stage.driver.story()) == STORY_LENGTH


async def test_after_stop_from_within_an_effect_nothing_more_is_handled():
    stage = Stage()
    stage.reply_to = {"A": "b"}
    perform = stage.perform

    def stopping(effect: str) -> None:
        stage.driver.stop()
        perform(effect)

    stage.driver = Driver[str, str](
        stage.machine, stopping, "time", stage.timers, stage.clock, lambda e, s: stage.crashes.append((e, s))
    )
    stage.driver.post("a")
    stage.driver.post("c")
    assert [event for event, _ in stage.machine.handled] == ["a"]


async def _ring(stage: Stage) -> None:
    """Let the timers look at the clock now, whatever the loop's own time is."""
    stage.timers._ring()
    await asyncio.sleep(0)
