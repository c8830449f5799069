"""Scenarios end to end on real processes, as small as they can be: counts are exact, times are not looked at."""

import json
from dataclasses import replace

import pytest

from lingua_scheduler.bench import dispatch, memory, placement, rooms, sessions
from lingua_scheduler.bench.scenarios import SCENARIOS
from lingua_scheduler.bench.settings import Settings
from lingua_scheduler.cli import bench
from lingua_scheduler.cli.main import main

SMALL = Settings(sessions=4, sentence_s=0.4, warm_s=0.4, seconds=1.2, rounds=1, nodes=2, service_ms=20)


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


@pytest.mark.parametrize(("first", "limit"), [(1000, 777), (100, 5000), (3, 1), (64, 0)])
async def test_the_search_ends_close_to_the_limit_within_its_steps(first: int, limit: int):
    tried: list[int] = []

    async def is_in_time(count: int) -> bool:
        tried.append(count)
        return count <= limit

    most, first_late = await sessions.search(first, is_in_time)

    assert most <= limit < first_late
    assert first_late <= max(1, most * 2)
    assert len(tried) <= sessions.FIND_STEPS


async def test_as_many_sessions_are_found_as_are_served_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sessions, "FIND_STEPS", 1)
    monkeypatch.setattr(sessions, "DISPATCH_P99_MS", 1e9)
    report = await sessions.run(replace(SMALL, find=True, seconds=0.6))

    assert report.figures[0].value == SMALL.sessions
    assert report.notes[0].startswith("4 sessions: dispatch p99")


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
    monkeypatch.setattr(dispatch, "BARE_S", 0.5)
    settings = Settings(sessions=16, rounds=1, warm_s=0.4, seconds=1.0, rate=20, nodes=12, service_ms=20)

    report = await SCENARIOS[scenario](settings)

    assert not report.errors
    assert all(one.value > 0 for one in report.figures)
    assert all(one.values["count"] for one in report.latencies)
    assert report.figures or report.latencies
