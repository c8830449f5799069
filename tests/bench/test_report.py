"""Figures are judged against their targets, ratios are of neighbours, and the picture is a document."""

from xml.etree import ElementTree as ET

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.picture import draw
from lingua_scheduler.bench.report import Report, figure, latency


def report() -> Report:
    counted = Histogram()
    for ms in range(1, 101):
        counted.add_s(ms / 1000)
    made = Report(scenario="sessions", settings={"sessions": 3})
    frame = figure("CPU of a frame", "µs", [20.0, 30.0, 90.0], [10.0, 20.0, 30.0])
    frame.ratio_target = 2.0
    made.figures += [frame, figure("used & free", "", [1234.5])]
    made.latencies.append(latency("dispatch", counted, {"p50": 60.0, "p99": 15.0}))
    return made


def test_the_ratio_is_the_median_of_neighbours_and_not_of_medians():
    frame = report().figures[0]

    assert (frame.value, frame.low, frame.high, frame.floor, frame.ratio) == (30.0, 20.0, 90.0, 20.0, 2.0)
    assert frame.is_met


def test_a_missed_target_or_a_lost_result_fails_the_report():
    made = report()
    assert made.latencies[0].is_met is False, "p50 is kept, p99 is not"
    assert not made.is_met

    made.latencies.clear()
    assert made.is_met
    made.add_errors({"no result": 1})
    assert not made.is_met


def test_what_nobody_promised_is_neither_met_nor_missed():
    assert report().figures[1].is_met is None


def test_lines_say_target_spread_and_floor():
    lines = list(report().lines())

    assert any("30 µs (20–90 in 3 rounds), floor 20, × 2.00 (target × 2.0: met)" in line for line in lines)
    assert any("p99 ≤ 15: missed" in line for line in lines)


def test_the_picture_is_xml_with_all_names():
    words = "".join(ET.fromstring(draw(report())).itertext())

    assert all(name in words for name in ("CPU of a frame", "used & free", "dispatch", "1,234"))
