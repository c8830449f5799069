"""Durations in buckets, samples of ten minutes, and what came and went."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.scheduler.history import LATENCY_SAMPLES, SAMPLES, History
from lingua_scheduler.scheduler.reports import Report, decode_report, encode_report
from lingua_scheduler.scheduler.tally import BOUNDS_MS, STAGES, Tally, percentile_ms


def report(name: str = "i", **fields: Any) -> Report:
    empty: dict[str, Any] = {
        "instance_id": name, "sessions": 0, "clients": 0, "jobs_open": 0, "nodes": 0, "is_draining": False,
        "languages": {}, "outcomes": {}, "retries": {}, "stages": {}, "session_rows": [], "recent_jobs": [],
    }  # fmt: skip
    return Report(**(empty | fields))


@given(st.lists(st.floats(6, 60_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_is_near_the_true_one(durations: list[float], share: float):
    tally = Tally()
    for duration in durations:
        tally._add("total", duration)
    ranked = sorted(durations)
    true = ranked[max(0, -(-len(ranked) * share // 1).__int__() - 1)]
    told = percentile_ms(tally.stages["total"], share)
    assert told is not None
    assert true / 1.26 - 1 <= told <= true * 1.26 + 1


def test_the_longest_durations_have_a_bucket():
    tally = Tally()
    tally._add("node", 10**9)
    assert percentile_ms(tally.stages["node"], 0.95) == round(BOUNDS_MS[-1])
    assert percentile_ms(tally.stages["asr"], 0.5) is None


def test_a_sample_tells_what_happened_since_the_one_before():
    history = History()
    history.add(0, [], [], {"i": report(outcomes={"translated": 100}, retries={"node_lost": 7})})
    outcomes = {"translated": 104, "silence": 1}
    fresh = report("j", outcomes={"translated": 50})
    history.add(2000, [], [], {"i": report(outcomes=outcomes, retries={"node_lost": 9}), "j": fresh})
    first, second = history.samples
    assert (first.finished, first.missing, first.failovers) == (0, 0, 0), "counts from before are no news"
    assert (second.finished, second.missing, second.failovers) == (4, 1, 2), "nor are those of a new instance"
    history.add(4000, [], [], {"i": report(outcomes={"translated": 1})})
    assert history.samples[-1].finished == 0, "it began anew under its name"


def test_percentiles_are_of_half_a_minute():
    history = History()
    history.add(0, [], [], {"i": report(stages={"total": {3: 5}})})
    for at in range(1, LATENCY_SAMPLES + 1):
        history.add(2000 * at, [], [], {"i": report(stages={"total": {3: 6, 20: 2}})})
        assert history.samples[-1].stages["total"] is not None
    history.add(2000 * (LATENCY_SAMPLES + 1), [], [], {"i": report(stages={"total": {3: 6, 20: 2}})})
    assert history.samples[-1].stages == dict.fromkeys(STAGES)


def test_rounds_in_quick_succession_share_a_sample_and_the_ring_is_bounded():
    history = History()
    for at in range(3 * SAMPLES):
        history.add(1000 * at, [], [], {})
    assert len(history.samples) == SAMPLES
    gaps = {b.at_ms - a.at_ms for a, b in zip(history.samples, list(history.samples)[1:], strict=False)}
    assert gaps == {2000}
    newest = history.samples[-1].seq
    assert [sample.seq for sample in history.after(newest - 2)] == [newest - 1, newest]


def test_instances_that_come_and_go_are_noted():
    history = History()
    history.add(0, [], [], {"a": report("a")})
    history.add(10, [], [], {"b": report("b")})
    assert [(one.kind, one.who) for one in history.events] == [("instance_joined", "b"), ("instance_lost", "a")]


def test_a_report_travels_and_another_versions_is_passed_over():
    told = report(stages={"total": {7: 3}}, languages={"en": (2, 1)})
    assert decode_report(encode_report(told)) == told
    assert decode_report(b'{"instance_id": "x"}') is None
    assert decode_report(b"\xff") is None


@pytest.mark.parametrize("seed", [1, 2])
def test_a_report_of_a_busy_instance_is_small(seed: int):
    rng, tally = random.Random(seed), Tally()
    for _ in range(5000):
        for stage in STAGES:
            tally._add(stage, rng.lognormvariate(6, 1))
    stages = {stage: dict(buckets) for stage, buckets in tally.stages.items()}
    assert len(msgspec.json.encode(report(stages=stages))) < 4000
