"""Percentiles of known durations, to within the one percent that the buckets promise."""

import random

import pytest

from lingua_scheduler.bench.histogram import Histogram, merged


def counted(values_us: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values_us:
        histogram.add_s(value / 1e6)
    return histogram


@pytest.mark.parametrize("values_us", [
    list(range(1, 1001)),
    [100] * 99 + [1_000_000],
    [random.Random(1).randrange(1, 10_000_000) for _ in range(5000)],
    [0, 127, 128, 129, 255, 256, 65_535, 65_536],
    [7],
])  # fmt: skip
def test_percentiles_are_true_to_one_percent_and_never_too_small(values_us: list[int]):
    histogram, ordered = counted(values_us), sorted(values_us)
    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        true_us = ordered[max(0, -(-round(share * len(ordered) * 1000) // 1000) - 1)]
        assert true_us <= histogram.percentile_us(share) <= true_us * 1.016 + 1
    assert histogram.summary_ms()["max"] == ordered[-1] / 1000
    assert histogram.summary_ms()["count"] == len(ordered)


def test_one_stall_among_many_is_seen_in_the_greatest_and_not_in_the_median():
    summary = counted([200] * 999 + [3_000_000]).summary_ms()

    assert summary["p50"] == pytest.approx(0.2, rel=0.02)
    assert summary["p99"] == pytest.approx(0.2, rel=0.02)
    assert summary["max"] == 3000.0


def test_counts_travel_between_processes_and_add_up():
    parts = [counted([1, 50, 9000]), counted([2_000_000]), Histogram()]

    whole = merged(Histogram.load(part.dump()) for part in parts)

    assert whole.dump() == counted([1, 50, 9000, 2_000_000]).dump()


def test_nothing_counted_is_nothing():
    assert Histogram().summary_ms()["p99"] == 0
