"""Scenarios end to end on real processes, as small as they can be: counts are exact, times are not looked at."""

import json

import pytest

from lingua_scheduler.bench import memory, placement, rooms, sessions
from lingua_scheduler.bench.scenarios import SCENARIOS
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.cli import bench
from lingua_scheduler.cli.main import main

SMALL = Settings(sessions=4, sentence_s=0.4, seconds=1.2, rounds=1, nodes=2, service_ms=20)


async def test_speakers_are_all_answered_and_the_floor_stands_beside_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "FRAMES_S", 0.5)
    report = await sessions.run(SMALL)
    by_name = {one.name: one for one in report.figures}

    assert not report.errors
    assert by_name["CPU of a frame"].ratio
    assert by_name["limit (epoll loop in C)"].value > 0
    dispatch = next(one for one in report.latencies if one.name.startswith("dispatch"))
    assert dispatch.values["count"] == 12, "four sessions, three sentences each"
    assert "48 frames and 12 utterances" in report.notes[0]


@pytest.mark.parametrize(
    "words",
    [["sessions", "--duty", "0"], ["sessions", "--sentence-s", "11"], ["nothing"], ["sessions", "--frames", "x"]],
)
def test_bad_input_is_told_in_one_line(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *words, "--json"])
    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert len(shown.err.strip().splitlines()) == 1
    assert json.loads(shown.out)["error"]["code"] == "COMMAND_LINE"


def test_the_command_line_offers_what_there_is():
    assert set(bench.NAMES) == set(SCENARIOS)


@pytest.mark.parametrize("scenario", ["dispatch", "rooms", "memory", "placement", "resume"])
async def test_every_scenario_loses_nothing_and_tells_its_figures(scenario: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rooms, "SENTENCES", 2)
    monkeypatch.setattr(memory, "SPOKEN_S", 0.5)
    monkeypatch.setattr(placement, "BATCHES", 2)
    settings = Settings(sessions=16, rounds=1, seconds=1.0, rate=20, nodes=12, service_ms=20)

    report = await SCENARIOS[scenario](settings)

    assert not report.errors
    assert all(one.value > 0 for one in report.figures)
    assert all(one.values["count"] for one in report.latencies)
    assert report.figures or report.latencies
