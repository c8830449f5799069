"""Seeds in worker processes come to what they come to in this one, and a worker that dies is told with its seed."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lingua_scheduler.cli.main import main
from lingua_scheduler.sim.crew import Crew, CrewError, Work
from lingua_scheduler.sim.plan import Size
from lingua_scheduler.sim.runner import Verdict, judge_seeds
from lingua_scheduler.store.model.world import World

SIZE = Size(minutes=0.3, sessions=3)
SIMULATE = ("simulate", "--minutes", "0.3", "--sessions", "3")


def comparable(verdicts: Iterator[Verdict]) -> list[Verdict]:
    return [replace(one, run=None, processor_s=0.0) for one in verdicts]


@pytest.fixture
def is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots are never given back."""

    def keep(*_: object) -> None: ...

    monkeypatch.setattr(World, "give_back", keep)


def test_seeds_come_to_the_same_in_other_processes_and_in_order():
    crew = Crew(Work(SIZE), jobs=2)
    try:
        assert comparable(crew.verdicts(20, 4)) == comparable(judge_seeds(range(20, 24), SIZE))
    finally:
        crew.close()


def test_a_worker_that_dies_is_told_with_its_seed():
    crew = Crew(Work(SIZE), jobs=2)
    try:
        verdicts = crew.verdicts(7, 100)
        assert next(verdicts).seed == 7
        crew.kill()
        with pytest.raises(CrewError, match=r"seed \d+ died: exit code -9"):
            list(verdicts)
    finally:
        crew.close()


def test_a_worker_that_does_not_start_is_an_error_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.executable", shutil.which("false"))

    assert main([*SIMULATE, "--seeds", "2", "--jobs", "2", "--json"]) == 1

    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == "SIMULATION_FAILED"
    assert err == "error: the process that played seed 1 died: exit code 1\n"


def test_the_last_line_is_that_of_all_seeds(capsys: pytest.CaptureFixture[str]):
    told: list[dict[str, object]] = []
    for jobs in ("1", "2"):
        assert main([*SIMULATE, "--seeds", "3", "--jobs", jobs, "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert all(one.pop("wall_s") and one.pop("processor_s") for one in told)
    assert told[0] == told[1]
    assert told[0]["seeds"] == 3


@pytest.mark.usefixtures("is_broken")
def test_the_story_of_what_another_process_played_is_played_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def elsewhere(self: Crew, first: int, count: int) -> Iterator[Verdict]:
        del self
        return (replace(one, run=None) for one in judge_seeds(range(first, first + count), SIZE))

    monkeypatch.setattr(Crew, "verdicts", elsewhere)

    assert main([*SIMULATE, "--seed", "1", "--seeds", "2", "--explain"]) == 1

    out = capsys.readouterr().out
    assert "R7: node-0 has slots taken" in out
    assert "18.000  world      healed" in out
