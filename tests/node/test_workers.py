"""Worker processes: calls, deadlines, death, cancellation, bounds. Scripted engines, real processes."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from lingua_scheduler.node.engines.base import AsrRequest, EngineError, MtRequest, SemanticRequest, Stage, TtsRequest
from lingua_scheduler.node.engines.plan import EnginePlan, PlannedEngine, make_plan
from lingua_scheduler.node.engines.scripted import counting_audio
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.workers.calibrate import calibrate
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.node.workers.lane import ProcessLane
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.support import Processes, wait_until

EN, PT = Language("en"), Language("pt")


def host(*specs: str, workers: int = 1, queue_max: int = 64) -> EngineHost:
    engines = tuple(PlannedEngine(parse_spec(spec), workers) for spec in specs)
    return EngineHost(EnginePlan(engines, queue_max=queue_max))


def mt(text: str) -> MtRequest:
    return MtRequest(text, EN, PT)


async def failure(awaitable: object) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


def pids() -> list[int]:
    """The worker processes of this process, oldest first."""
    parent = f"\nPPid:\t{os.getpid()}\n"
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = (
                parent in (folder / "status").read_text() and "node.workers.child" in (folder / "cmdline").read_text()
            )
        except OSError:
            continue  # it ended while it was looked at
        found += [int(folder.name)] if ours else []
    return sorted(found)


async def test_the_three_stages_answer(no_descriptor_leaks: None):
    async with EngineHost(make_plan("scripted", asr_workers=1)) as engines:
        heard = await engines.asr(AsrRequest(counting_audio(0, 16_000), EN))
        translated = await engines.mt(MtRequest(heard.text, EN, PT))
        speech = await engines.tts(TtsRequest(translated.text, PT))
        assert heard.text == "[0:16000]"
        assert translated.text == "[pt] [0:16000]"
        assert speech.duration_ms == 60 * len(translated.text)
        assert {lane.ready for lane in engines.status()} == {1}
        assert all(lane.load_ms > 0 for lane in engines.status())
        assert (EN, PT) in engines.pairs()
        assert (EN, EN) not in engines.pairs()


async def test_partials_come_before_the_result_in_order():
    async with host("scripted-asr?text=one two three&partials=2") as engines:
        partials: list[str] = []
        heard = await engines.asr(AsrRequest(counting_audio(0, 800), EN), partials.append)
        assert partials == ["one", "one two"]
        assert heard.text == "one two three"
        assert engines.cards[0].streams


async def test_a_failing_call_costs_neither_the_process_nor_the_next_call():
    async with host("scripted-mt?fail_on=bad") as engines:
        before = pids()
        error = await failure(engines.mt(mt("bad")))
        assert (error.code, error.retryable) == (ErrorCode.PROCESSING_ERROR, True)
        assert (await engines.mt(mt("good"))).text == "[pt] good"
        assert pids() == before


async def test_a_model_that_hangs_is_replaced_and_its_call_fails_with_the_stage_s_code():
    async with host("scripted-mt?hang_on=hang&timeout_s=0.3") as engines:
        before = pids()
        error = await failure(engines.mt(mt("hang")))
        assert (error.code, error.retryable) == (ErrorCode.NMT_TIMEOUT, True)
        assert (await engines.mt(mt("next"))).text == "[pt] next"
        assert set(pids()).isdisjoint(before)
        assert engines.status()[0].replaced == 1


@pytest.mark.parametrize(("stage", "code"), [("tts", ErrorCode.TTS_TIMEOUT), ("semantic", ErrorCode.PROCESSING_ERROR)])
async def test_each_stage_names_its_own_timeout(stage: str, code: ErrorCode):
    async with host(f"scripted-{stage}?hang_on=hang&timeout_s=0.2") as engines:
        call = engines.tts(TtsRequest("hang", PT)) if stage == "tts" else engines.repair(SemanticRequest("hang", PT))
        assert (await failure(call)).code is code


async def test_a_model_that_dies_takes_its_own_call_and_no_other():
    async with host("scripted-mt?die_on=die") as engines:
        calls = [asyncio.ensure_future(engines.mt(mt(text))) for text in ("first", "die", "last")]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(one, "text", None) for one in outcomes] == ["[pt] first", None, "[pt] last"]
        assert isinstance(outcomes[1], EngineError)
        assert (outcomes[1].code, outcomes[1].retryable) == (ErrorCode.PROCESSING_ERROR, True)
        assert "exit code 23" in outcomes[1].message


async def test_a_process_killed_while_idle_is_replaced_before_anybody_calls():
    async with host("scripted-mt") as engines:
        (before,) = pids()
        os.kill(before, signal.SIGKILL)
        await wait_until(lambda: engines.status()[0].replaced == 1 and engines.status()[0].ready, "a new process")
        assert (await engines.mt(mt("on"))).text == "[pt] on"


async def test_a_full_queue_refuses_at_once():
    async with host("scripted-mt?service_ms=200", queue_max=1) as engines:
        running = asyncio.ensure_future(engines.mt(mt("running")))
        await wait_until(lambda: engines.status()[0].running == 1, "the first call to start")
        waiting = asyncio.ensure_future(engines.mt(mt("waiting")))
        await wait_until(lambda: engines.status()[0].waiting == 1, "the second call to wait")
        error = await failure(engines.mt(mt("too many")))
        assert (error.code, error.retryable) == (ErrorCode.NODE_OVERLOADED, True)
        assert [one.text for one in await asyncio.gather(running, waiting)] == ["[pt] running", "[pt] waiting"]


async def test_a_cancelled_caller_leaves_the_queue_and_a_cancelled_call_disturbs_nobody():
    async with host("scripted-mt?service_ms=150") as engines:
        before = pids()
        calls = [asyncio.ensure_future(engines.mt(mt(text))) for text in ("runs", "waits", "stays")]
        await wait_until(
            lambda: (engines.status()[0].running, engines.status()[0].waiting) == (1, 2), "two calls to wait"
        )
        calls[0].cancel()
        calls[1].cancel()
        assert (await calls[2]).text == "[pt] stays"
        assert calls[0].cancelled()
        assert calls[1].cancelled()
        assert pids() == before


async def test_several_processes_work_at_once_while_the_loop_stays_free():
    """Each call holds its interpreter's lock for 150 ms; a loop that waited for one would look only between them."""
    async with host("scripted-mt?spin_ms=150", workers=2) as engines:
        assert len(pids()) == 2
        calls = asyncio.gather(*(engines.mt(mt(str(n))) for n in range(6)))
        looks = 0

        def done() -> bool:
            nonlocal looks
            looks += 1
            return calls.done()

        await wait_until(done, "six calls")
        assert [one.text for one in await calls] == [f"[pt] {n}" for n in range(6)]
        assert looks > 4


async def test_a_model_that_cannot_load_stops_the_host_with_its_reason(no_descriptor_leaks: None):
    error = await failure(host("scripted-mt", "scripted-asr?load_fails=1").__aenter__())
    assert (error.code, error.retryable) == (ErrorCode.MODEL_LOAD_FAILED, False)
    assert "scripted to fail" in error.message
    assert not pids()


async def test_an_unknown_option_stops_the_host_and_names_the_options_there_are():
    error = await failure(host("scripted-mt?servce_ms=5").__aenter__())
    assert error.code is ErrorCode.UNSUPPORTED_FEATURE
    assert "servce_ms" in error.message
    assert "service_ms" in error.message


async def test_a_model_that_no_longer_loads_makes_calls_fail_until_it_does_again():
    async with host("scripted-mt?die_on=die") as engines:
        (lane,) = engines._lanes
        assert isinstance(lane, ProcessLane)
        good = lane.spec
        lane.spec = parse_spec("scripted-mt?load_fails=1")
        await failure(engines.mt(mt("die")))
        await wait_until(lambda: lane._backing_off == 1, "the lane to give up for a while")
        error = await failure(engines.mt(mt("now")))
        assert (error.code, error.retryable) == (ErrorCode.MODEL_NOT_AVAILABLE, True)
        assert "scripted to fail" in error.message
        assert engines.status()[0].ready == 0
        assert "scripted to fail" in engines.status()[0].reason
        lane.spec = good
        await wait_until(lambda: engines.status()[0].ready == 1, "the lane to recover")
        assert (await engines.mt(mt("again"))).text == "[pt] again"


async def test_a_machine_that_starts_no_process_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, no_descriptor_leaks: None
):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    error = await failure(host("scripted-mt").__aenter__())
    assert (error.code, error.retryable) == (ErrorCode.MODEL_LOAD_FAILED, True)
    assert "/nowhere/python" in error.message


async def test_closing_answers_every_caller_and_leaves_no_process(no_descriptor_leaks: None):
    async with host("scripted-mt?hang_on=hang&timeout_s=60") as engines:
        calls = [asyncio.ensure_future(engines.mt(mt(text))) for text in ("hang", "waits")]
        await wait_until(lambda: engines.status()[0].waiting == 1, "a call to wait")
    for call in calls:
        assert (await failure(call)).code is ErrorCode.MODEL_NOT_AVAILABLE
    assert (await failure(engines.mt(mt("late")))).code is ErrorCode.MODEL_NOT_AVAILABLE
    assert not pids()


async def test_nobody_serves_the_language():
    async with host("scripted-mt?pairs=en-pt", "scripted-asr?languages=en") as engines:
        error = await failure(engines.mt(MtRequest("olá", PT, EN)))
        assert error.code is ErrorCode.MODEL_NOT_AVAILABLE
        assert "pt → en" in error.message
        assert engines.mt_pairs() == ((EN, PT),)
        assert engines.pairs() == ()
        assert engines.languages(Stage.ASR) == (EN,)


async def test_audio_longer_than_the_engine_takes_is_refused_with_both_lengths():
    async with host("scripted-asr?max_audio_s=120") as engines:
        error = await failure(engines.asr(AsrRequest(np.zeros(16_000 * 1800, np.float32), EN)))
        assert (error.code, error.retryable) == (ErrorCode.UNSUPPORTED_FEATURE, False)
        assert "1800 s" in error.message
        assert "120 s" in error.message


async def test_a_long_text_is_translated_in_pieces_with_nothing_lost():
    async with host("scripted-mt?max_chars=40") as engines:
        text = " ".join(f"This is sentence number {n}." for n in range(8))
        translated = (await engines.mt(mt(text))).text
        assert translated.count("[pt]") == 8
        assert translated.replace("[pt] ", "") == text


async def test_text_in_another_script_than_its_language_is_refused():
    async with host("scripted-mt", "scripted-tts") as engines:
        for call in (engines.mt(mt("привет, мир")), engines.tts(TtsRequest("你好世界，再见", PT))):
            error = await failure(call)
            assert (error.code, error.retryable) == (ErrorCode.UNSUPPORTED_FEATURE, False)
            assert "script" in error.message


@pytest.mark.parametrize("specs", ["scripted", "scripted-asr?languages=zh,scripted-tts?languages=zh", "scripted-mt"])
async def test_capacity_is_measured_with_whatever_engines_there_are(specs: str):
    async with EngineHost(make_plan(specs, asr_workers=1)) as engines:
        measured = await calibrate(engines, budget_ms=1000)
        assert measured.audio_ms == 5130
        assert measured.capacity == max(1, min(64, int(measured.jobs_per_s)))
        assert measured.rtf == (measured.asr_ms + measured.nmt_ms + measured.tts_ms) / 5130


async def test_a_slow_chain_has_a_capacity_of_one():
    async with host("scripted-asr?service_ms=300") as engines:
        measured = await calibrate(engines, budget_ms=300)
        assert measured.capacity == 1
        assert measured.asr_ms >= 300


_PARENT = """
import asyncio, sys
from lingua_scheduler.node.engines.base import MtRequest
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.workers.calibrate import calibrate
from lingua_scheduler.node.workers.host import EngineHost

async def main():
    async with EngineHost(make_plan("scripted-mt?hang_on=hang&timeout_s=600,scripted-tts")) as host:
        print("ready", flush=True)
        await host.mt(MtRequest("hang", "en", "pt"))

asyncio.run(main())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_workers_die_with_the_node_even_in_the_middle_of_a_call(processes: Processes, how: signal.Signals):
    node = processes.start(sys.executable, "-c", _PARENT)
    await node.wait_output("ready")
    await wait_until(lambda: len(processes.alive()) == 3, "the node and two workers")
    node.send(how)
    await node.wait_exit()
    await wait_until(lambda: not processes.alive(), "the workers to end")
