"""The small parts that a node's lines are made of."""

import asyncio
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingua_scheduler.node.aggregation.audio_events import Batch, Span
from lingua_scheduler.node.aggregation.direction import Direction
from lingua_scheduler.node.aggregation.prefix import Partial
from lingua_scheduler.node.backoff import Backoff
from lingua_scheduler.node.engines.base import AsrResult, EngineError, Segment
from lingua_scheduler.node.hearing import combine
from lingua_scheduler.node.machine_load import MachineLoad, parse_gpus
from lingua_scheduler.node.meter import Meter, Stopwatch
from lingua_scheduler.node.partials import Partials
from lingua_scheduler.node.pipeline import Pipeline, StageError
from lingua_scheduler.node.route import Route
from lingua_scheduler.node.sharing import Recognitions
from lingua_scheduler.node.turns import Turns
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.messages import Pipeline as Flags
from tests.node.harness import job

EN, PT, ZH = Language("en"), Language("pt"), Language("zh")


def batch(start: int, stop: int, number: int = 1) -> Batch:
    return Batch(number, (Span(start, stop),), (np.zeros(stop - start, np.float32),))


def result(text: str, language: Language = EN, p: float = 1.0, **fields: Any) -> AsrResult:
    usual: dict[str, Any] = {
        "text": text,
        "language": language,
        "language_probability": p,
        "language_probabilities": {language: p},
        "segments": (Segment(text, 0, 100),),
        "quality": 0.5,
        "no_speech": not text,
    }
    return AsrResult(**(usual | fields))


# ------------------------------------------------------------------------------------------- routes


@pytest.mark.parametrize(
    ("fields", "route"),
    [
        ({}, Route(EN, PT)),
        ({"src_lang": " EN ", "tgt_lang": "PT"}, Route(EN, PT)),
        ({"src_lang": "auto", "lang_a": "en", "lang_b": "pt"}, Route(None, PT, (EN, PT), is_two_way=True)),
        (
            {"mode": "two_way_auto", "src_lang": "en", "lang_a": "en", "lang_b": "pt"},
            Route(None, PT, (EN, PT), is_two_way=True),
        ),
        ({"src_lang": "auto", "auto_langs": ["en", "zh"]}, Route(None, PT, (EN, ZH))),
        ({"src_lang": "auto"}, Route(None, PT)),
        ({"lang_a": "en", "lang_b": "zh"}, Route(EN, PT)),
        (
            {"pipeline": Flags(use_nmt=False, use_tts=False, use_semantic=True)},
            Route(EN, PT, use_mt=False, use_tts=False, use_semantic=True),
        ),
    ],
)
def test_a_job_says_its_route(fields: dict[str, Any], route: Route):
    assert Route.of(job(0, **fields)) == route


@pytest.mark.parametrize("fields", [{"src_lang": "e n"}, {"tgt_lang": ""}, {"src_lang": "auto", "auto_langs": ["?"]}])
def test_what_is_no_language_is_refused(fields: dict[str, Any]):
    with pytest.raises(PeerError):
        Route.of(job(0, **fields))


def test_the_likelier_language_decides_the_direction_and_a_tie_keeps_it():
    route = Route(None, PT, (EN, PT), is_two_way=True)
    said = combine([(batch(0, 100), result("olá", PT, 0.7))])
    unsure = combine([(batch(0, 100), result("ok", EN, 0.0))])
    assert said is not None
    assert unsure is not None
    assert route.resolve(said, None) == Direction(PT, EN)
    assert route.resolve(unsure, Direction(PT, EN)) == Direction(PT, EN)
    assert Route(None, ZH).resolve(said, None) == Direction(PT, ZH)


# ------------------------------------------------------------------------------------------- hearing


def test_batches_become_one_text_weighted_by_their_length():
    heard = combine(
        [
            (batch(0, 300), result("Good morning.", EN, 0.9, quality=0.8)),
            (batch(300, 400), None),
            (batch(400, 500), result("bom dia", PT, 1.0, quality=0.4)),
        ]
    )
    assert heard is not None
    assert heard.text == "Good morning. bom dia"
    assert heard.language == EN
    assert heard.language_probabilities == pytest.approx({EN: 0.675, PT: 0.25})
    assert heard.quality == pytest.approx(0.7)
    assert heard.span == Span(0, 500)
    assert heard.segments == (Span(0, 100), Span(400, 500))
    assert heard.quality_level == "good"


def test_where_nobody_speaks_nothing_is_heard():
    assert combine([]) is None
    assert combine([(batch(0, 10), None), (batch(10, 20), result("  "))]) is None


def test_pauses_between_segments_are_told_in_seconds():
    heard = combine([(batch(0, 16_000), result("a")), (batch(32_000, 48_000), result("b"))])
    assert heard is not None
    meta = heard.segments_meta()
    assert meta is not None
    assert (meta.count, meta.max_gap) == (2, 1.994)


# ------------------------------------------------------------------------------------------- turns, sharing


async def test_turns_come_in_the_order_of_asking():
    turns = Turns()
    first, second, third = turns.take(), turns.take(), turns.take()
    assert [one.is_set() for one in (first, second, third)] == [True, False, False]
    turns.leave(second)
    assert not third.is_set(), "the first is not done"
    turns.leave(first)
    turns.leave(first)
    assert third.is_set()


class _Recognizer(Pipeline):
    """Counts its calls, which wait until they are let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.failures = 0

    def heard_translation(self, route: Route) -> Language | None:
        return None

    async def recognize(self, batch: Batch, route: Route, on_partial: Any) -> AsrResult:
        self.calls += 1
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise StageError("asr", EngineError(ErrorCode.PROCESSING_ERROR, "no", retryable=True))
        return result(f"call {self.calls}")


async def test_equal_work_is_done_once_and_other_work_is_not_shared():
    recognizer = _Recognizer()
    shared = Recognitions(recognizer)
    both = [asyncio.create_task(shared.recognize(batch(0, 100), Route(EN, to), None)) for to in (PT, ZH)]
    other = asyncio.create_task(shared.recognize(batch(0, 100), Route(PT, ZH), None))
    recognizer.go.set()
    one, same, different = await asyncio.gather(*both, other)
    assert one is same
    assert different is not one
    assert recognizer.calls == 2
    assert await shared.recognize(batch(0, 100), Route(EN, PT), None) is one


async def test_who_waited_for_work_that_failed_or_was_given_up_does_it_himself():
    recognizer = _Recognizer()
    recognizer.failures = 1
    shared = Recognitions(recognizer)
    first, second, third = (asyncio.create_task(shared.recognize(batch(0, 100), Route(EN, PT), None)) for _ in range(3))
    await asyncio.sleep(0)
    assert recognizer.calls == 1
    second.cancel()
    recognizer.go.set()
    with pytest.raises(StageError):
        await first
    assert (await third).text == "call 2"
    with pytest.raises(asyncio.CancelledError):
        await second


# ------------------------------------------------------------------------------------------- partials


def test_partials_keep_their_pace_and_end_whole():
    now_ms = 0
    sent: list[tuple[str, int, bool]] = []

    def send(partial: Partial, is_final: bool) -> None:
        sent.append((partial.text, partial.stable_chars, is_final))

    partials = Partials(500, lambda: now_ms, send)
    partials.grew(1, "we")
    partials.grew(1, "we all")
    now_ms = 500
    partials.grew(2, "went home")
    partials.finish(["we all", "went home"])
    assert sent == [("we", 0, False), ("we all went home", 2, False), ("we all went home", 16, True)]


def test_silence_has_no_partials():
    sent: list[Partial] = []
    partials = Partials(100, lambda: 0, lambda partial, _final: sent.append(partial))
    partials.grew(1, "")
    partials.finish([])
    assert not sent


# ------------------------------------------------------------------------------------------- waits and measures


def test_waits_double_within_bounds_and_start_over():
    backoff = Backoff(random.Random(1), first_ms=100, longest_ms=1000)
    waits = [backoff.next_ms() for _ in range(6)]
    for wait, bound in zip(waits, [100, 200, 400, 800, 1000, 1000], strict=True):
        assert bound // 2 <= wait <= bound
    backoff.succeeded()
    assert backoff.next_ms() <= 100


def test_phases_are_measured_and_repeats_add_up():
    now_s = 0.0
    meter = Meter()
    watch = Stopwatch(lambda: now_s, meter)
    for _ in range(2):
        with watch.measure("nmt"):
            now_s += 0.02
    assert watch.ms == pytest.approx({"nmt": 40.0})
    assert watch.total_ms() == pytest.approx(40.0)
    meter.ended("completed")
    told = meter.snapshot()
    assert told["jobs"] == {"completed": 1}
    assert told["phases"]["nmt"] == {"count": 2, "p50_ms": 20.0, "p95_ms": 20.0}


def test_the_machines_load_is_read_from_proc(tmp_path: Path):
    (tmp_path / "stat").write_text("cpu  100 0 0 100 0 0 0 0 0 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n")
    machine = MachineLoad(tmp_path)
    (tmp_path / "stat").write_text("cpu  175 0 0 125 0 0 0 0 0 0\n")
    assert machine.cpu_percent() == 75.0
    assert machine.cpu_percent() is None, "no time has passed"
    assert machine.mem_percent() == 75.0
    assert machine.hardware().memory_gb == 4.0


def test_a_machine_that_does_not_tell_is_left_out(tmp_path: Path):
    machine = MachineLoad(tmp_path)
    assert (machine.cpu_percent(), machine.mem_percent(), machine.gpu_percent()) == (None, None, None)
    assert machine.hardware().cpu_cores >= 1


def test_gpus_are_read_and_odd_lines_passed_over():
    cards = parse_gpus("NVIDIA H200, 143771, 1024, 37\nno devices\nX, ?, 1, 2\n")
    assert [(card.name, card.memory_mb, card.used_mb, card.busy_percent) for card in cards] == [
        ("NVIDIA H200", 143_771, 1024, 37.0)
    ]


async def test_gpus_are_asked_of_their_own_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Some Card, 8192, 2048, 50'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    machine = MachineLoad()
    await machine.look_at_gpus()
    assert (machine.gpu_percent(), machine.gpu_mem_percent()) == (50.0, 25.0)
    assert [(gpu.name, gpu.memory_gb) for gpu in machine.hardware().gpus or []] == [("Some Card", 8.0)]
