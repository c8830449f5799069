"""A whole node: jobs over a real WebSocket, engines in real worker processes."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lingua_scheduler.node.app import NodeApp, NodeFailed
from lingua_scheduler.node.audio import encode_speech
from lingua_scheduler.node.engines.base import Speech
from lingua_scheduler.protocol.audio import opus_samples
from lingua_scheduler.protocol.codec import decode_audio
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import Pipeline
from lingua_scheduler.protocol.node import (
    ActiveJob,
    JobAck,
    JobHeld,
    JobReject,
    JobResult,
    JobStarted,
    NodeAsrPartial,
    NodeDrain,
    NodeHeartbeat,
    NodeRegister,
)
from lingua_scheduler.runtime.config import NodeConfig
from lingua_scheduler.runtime.sockets import Pong
from tests.node.harness import FakeScheduler, job, refuse_with
from tests.node.rig import Rig, heard, running_node

TIMEOUT: dict[str, Any] = {"is_manual_cut": None, "is_timeout_triggered": True}
MAX_DURATION: dict[str, Any] = {"is_manual_cut": None, "is_max_duration_triggered": True}
SECOND = 16_000


async def test_a_job_is_acknowledged_started_and_answered_in_full():
    async with running_node() as rig:
        result = await rig.ask(0, 0, 2 * SECOND)
        told = [type(message) for message in rig.peer.said]
        registered = rig.registration()
    assert told.index(JobAck) < told.index(JobStarted) < told.index(JobResult)
    assert result.success
    assert (result.text_asr, result.text_translated) == ("[0:32000]", "[pt] [0:32000]")
    assert (result.src_lang, result.tgt_lang, result.attempt_id) == ("en", "pt", 1)
    assert (result.tts_format, result.tts_sample_rate) == ("wav", 22_050)
    assert decode_audio(result.tts_audio)[:4] == b"RIFF"
    assert (result.asr_quality_level, result.quality_score) == ("good", 0.9)
    assert result.node_completed_at_ms is not None
    assert result.extra is not None
    timings = result.extra["service_timings"]
    assert all(timings[name] > 0 for name in ("asr_ms", "nmt_ms", "tts_ms", "total_ms"))
    assert timings["asr_ms"] + timings["nmt_ms"] + timings["tts_ms"] <= timings["total_ms"]
    assert result.extra["language_probabilities"] == {"en": 1.0}
    assert (registered.protocol_version, registered.capacity) == ("2", 4)
    pairs = registered.language_capabilities.supported_language_pairs or []
    assert ("en", "pt") in [(pair.src, pair.tgt) for pair in pairs]
    assert any(line.startswith("asr: scripted") for line in rig.told)
    assert "capacity: 4 jobs at once" in rig.told


async def test_whoever_speaks_opus_hears_opus():
    tone = (0.5 * np.sin(np.arange(2 * SECOND) * 0.2)).astype(np.float32)
    sound = encode_speech(Speech(tone, SECOND), "opus").data
    async with running_node("scripted-asr?text=hello,scripted-mt,scripted-tts") as rig:
        rig.peer.assign(job(0, audio_format="opus"), sound)
        result = await rig.peer.result("job-0")
    assert (result.text_asr, result.text_translated) == ("hello", "[pt] hello")
    assert (result.tts_format, result.tts_sample_rate) == ("opus", 16_000)
    spoken_ms = opus_samples(decode_audio(result.tts_audio), 16_000) // 16
    assert 600 <= spoken_ms <= 640, "ten characters of 60 ms, in packets of 20"


async def test_results_of_a_session_come_in_order_whatever_each_takes():
    """Translation of the first hangs longest: [0:…] is in the text of job 0 alone."""
    async with running_node("scripted-asr,scripted-mt?service_ms=20,scripted-tts?service_ms=20") as rig:
        for index in range(4):
            rig.assign(index, index * SECOND, (index + 1) * SECOND)
        results = [await rig.peer.result(f"job-{index}") for index in range(4)]
        order = [result.job_id for result in rig.peer.all(JobResult)]
    assert order == ["job-0", "job-1", "job-2", "job-3"]
    assert [result.text_asr for result in results] == [
        f"[{index * SECOND % 65_536}:{index * SECOND % 65_536 + SECOND}]" for index in range(4)
    ]


async def test_more_jobs_than_capacity_are_refused():
    async with running_node("scripted?hang_on=[0:", capacity=1) as rig:
        rig.assign(0, 0, SECOND)
        rig.assign(1, SECOND, 2 * SECOND, session_id="s-2")
        refused = await rig.peer.wait(JobReject)
        rig.peer.cancel("job-0")
    assert (refused.job_id, refused.code) == ("job-1", "FULL")
    assert refused.retry_after_ms


async def test_one_recognition_serves_all_languages_of_an_utterance():
    """Every second recognition fails: two jobs succeed only if they share one."""
    async with running_node("scripted-asr?fail_every=2,scripted-mt,scripted-tts") as rig:
        rig.assign(0, 0, SECOND, job_id="pt", tgt_lang="pt")
        rig.assign(0, 0, SECOND, job_id="es", tgt_lang="es")
        results = [await rig.peer.result(name) for name in ("pt", "es")]
    assert [result.text_translated for result in results] == ["[pt] [0:16000]", "[es] [0:16000]"]


@pytest.mark.parametrize(("options", "reasons"), [("", None), ("?fail_every=1", ["SEMANTIC_SKIPPED"])])
async def test_a_repair_that_fails_leaves_the_text_and_says_so(options: str, reasons: list[str] | None):
    async with running_node(f"scripted,scripted-semantic{options}") as rig:
        result = await rig.ask(0, 0, SECOND, pipeline=Pipeline(use_semantic=True))
    assert result.success
    assert (result.text_asr, result.reason_codes) == ("[0:16000]", reasons)


async def test_recognition_that_translates_needs_no_translation_engine():
    """Spanish comes out of recognition; Portuguese is translated, since that is the better way where there is one."""
    async with running_node("scripted-asr?translates_to=es+pt,scripted-mt?pairs=en-pt,scripted-tts") as rig:
        spanish = await rig.ask(0, 0, SECOND, tgt_lang="es")
        portuguese = await rig.ask(1, 0, SECOND, session_id="s-2")
        pairs = rig.registration().language_capabilities.supported_language_pairs or []
    assert spanish.text_translated == "[es] [0:16000]"
    assert portuguese.text_translated == "[pt] [0:16000]"
    assert {("en", "es"), ("en", "pt")} <= {(pair.src, pair.tgt) for pair in pairs}


async def test_held_audio_does_not_take_the_last_slot():
    async with running_node(capacity=1) as rig:
        rig.assign(0, 0, SECOND // 2, **TIMEOUT)
        await rig.peer.wait(JobHeld)
        whole = await rig.ask(1, SECOND // 2, SECOND)
    assert whole.text_asr == "[0:16000]"


async def test_a_later_attempt_replaces_the_earlier():
    async with running_node("scripted?service_ms=100") as rig:
        rig.assign(0, 0, SECOND)
        await rig.peer.wait(JobStarted)
        rig.assign(0, 0, SECOND, attempt_id=2)
        result = await rig.peer.result("job-0")
        rig.assign(0, 0, SECOND, attempt_id=1)
        await rig.ask(1, SECOND, 2 * SECOND)
        results = [(one.job_id, one.attempt_id) for one in rig.peer.all(JobResult)]
    assert (result.attempt_id, result.text_asr) == (2, "[0:16000]")
    assert results == [("job-0", 2), ("job-1", 1)]


async def test_a_cancelled_job_says_nothing_and_frees_its_place():
    async with running_node("scripted-asr?service_ms=100,scripted-mt,scripted-tts", capacity=1) as rig:
        rig.assign(0, 0, SECOND)
        await rig.peer.wait(JobStarted)
        rig.peer.cancel("job-0")
        result = await rig.ask(1, SECOND, 2 * SECOND)
        results = rig.peer.all(JobResult)
    assert result.text_asr == "[16000:32000]"
    assert [one.job_id for one in results] == ["job-1"]


async def test_a_job_that_loses_what_was_merged_into_it_says_its_own_in_full():
    """The text of both was judged when the cancel came: the second judgement must not take the first for a repeat."""
    async with running_node("scripted-asr?text=hello+there,scripted-mt?service_ms=300,scripted-tts") as rig:
        rig.assign(0, 0, SECOND // 2, **TIMEOUT)
        await rig.peer.wait(JobHeld)
        rig.assign(1, SECOND // 2, 2 * SECOND, enable_streaming_asr=True)
        await rig.peer.wait(NodeAsrPartial, lambda partial: partial.is_final)
        rig.peer.cancel("job-0")
        result = await rig.peer.result("job-1")
    assert result.text_asr == "hello+there"
    assert len(rig.results()) == 1


async def test_partial_texts_come_while_a_session_streams():
    spec = "scripted-asr?partials=3&text=one+two+three,scripted-mt,scripted-tts"
    async with running_node(spec) as rig:
        await rig.ask(0, 0, SECOND, enable_streaming_asr=True, partial_update_interval_ms=0)
        partials = rig.peer.all(NodeAsrPartial)
        await rig.ask(1, SECOND, 2 * SECOND)
        after = rig.peer.count(NodeAsrPartial)
    assert partials[-1].is_final
    assert partials[-1].stable_chars == len(partials[-1].text)
    assert len(partials) >= 2
    assert not partials[0].is_final
    assert after == len(partials), "nobody asked for those of the second"


async def test_a_worker_that_dies_costs_one_job_and_no_more():
    async with running_node("scripted-asr?die_on=[0:,scripted-mt,scripted-tts") as rig:
        failed = await rig.ask(0, 0, SECOND)
        worked = await rig.ask(1, SECOND, 2 * SECOND)
    assert failed.error is not None
    assert failed.error.code == "PROCESSING_ERROR"
    assert failed.error.details == {"service": "asr", "retryable": True}
    assert worked.text_asr == "[16000:32000]"


@pytest.mark.parametrize(
    ("engines", "code"),
    [
        ("scripted-asr?hang_on=[0:&timeout_s=1,scripted-mt,scripted-tts", "PROCESSING_ERROR"),
        ("scripted-asr,scripted-mt?hang_on=[0:&timeout_s=1,scripted-tts", "NMT_TIMEOUT"),
        ("scripted-asr,scripted-mt,scripted-tts?hang_on=[0:&timeout_s=1", "TTS_TIMEOUT"),
    ],
)
async def test_a_model_that_hangs_fails_its_job_while_heartbeats_and_pongs_go_on(engines: str, code: str):
    async with running_node(engines, heartbeat_s=1) as rig:
        rig.assign(0, 0, SECOND)
        await rig.peer.wait(JobStarted)
        beats = rig.peer.count(NodeHeartbeat)
        for _ in range(3):
            rig.peer.ping()
        await rig.peer.wait_for(lambda: rig.peer.count(Pong) >= 3, "pongs")
        assert not rig.peer.count(JobResult), "the job is still open"
        failed = await rig.peer.result("job-0")
        await rig.peer.wait(NodeHeartbeat, nth=beats + 1)
        worked = await rig.ask(1, SECOND, 2 * SECOND)
    assert failed.error is not None
    assert failed.error.code == code
    assert worked.text_asr == "[16000:32000]"


async def test_a_result_outlives_the_scheduler_that_asked_for_it():
    async with running_node("scripted?service_ms=300") as rig:
        rig.assign(0, 0, SECOND)
        await rig.peer.wait(JobStarted)
        await rig.scheduler.stop()
        await rig.scheduler.start()
        again = await rig.scheduler.peer(2)
        result = await again.result("job-0")
        registered = again.all(NodeRegister)[0]
    assert result.text_asr == "[0:16000]"
    assert registered.active_jobs == [ActiveJob(job_id="job-0", attempt_id=1)]
    assert registered.node_id == rig.registration().node_id


async def test_an_operators_drain_ends_with_the_connection():
    async with running_node() as rig:
        rig.peer.control("drain")
        rig.assign(0, 0, SECOND)
        await rig.peer.wait(JobReject)
        await rig.scheduler.stop()
        await rig.scheduler.start()
        again = replace(rig, peer=await rig.scheduler.peer(2))
        assert (await again.ask(1, 0, SECOND)).success


async def test_capacity_is_measured_where_nobody_says_it():
    async with running_node("scripted-asr?text=hello,scripted-mt,scripted-tts", capacity=0) as rig:
        registered = rig.registration()
    assert registered.capacity is not None
    assert registered.capacity >= 2
    assert any(line.startswith("measured: 5.1 s of speech") for line in rig.told)


async def test_told_to_leave_it_finishes_says_what_it_holds_and_takes_nothing_new():
    async with running_node("scripted?service_ms=200") as rig:
        rig.assign(0, 0, SECOND // 2, session_id="s-held", **TIMEOUT)
        await rig.peer.wait(JobHeld)
        rig.assign(1, 0, SECOND)
        await rig.peer.wait(JobStarted)
        leaving = asyncio.create_task(rig.leave())
        await rig.peer.wait(NodeDrain)
        rig.assign(2, SECOND, 2 * SECOND)
        refused = await rig.peer.wait(JobReject)
        await leaving
    assert (refused.job_id, refused.code) == ("job-2", "DRAINING")
    assert {result.job_id: result.text_asr for result in rig.peer.all(JobResult)} == {
        "job-0": "[0:8000]",
        "job-1": "[0:16000]",
    }
    assert rig.task.cancelled()
    assert rig.peer.close_code == 1000


async def test_heartbeats_tell_of_the_load_and_of_what_was_done():
    async with running_node(heartbeat_s=1) as rig:
        await rig.ask(0, 0, SECOND)
        beat = await rig.peer.wait(
            NodeHeartbeat, lambda one: bool((one.processing_metrics or {}).get("jobs", {}).get("completed"))
        )
    assert beat.processing_metrics is not None
    assert beat.processing_metrics["phases"]["asr"]["count"] == 1
    assert beat.resource_usage.running_jobs == 0
    assert {one.type: one.ready for one in beat.capability_by_type or []} == {
        "asr": True,
        "nmt": True,
        "tts": True,
        "semantic": False,
        "tone": False,
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (NodeConfig(url="nowhere"), "scheduler's address"),
        (NodeConfig(engines="no-such-engine"), "no-such-engine"),
        (NodeConfig(engines="scripted", node_id="a b"), "node_id"),
        (NodeConfig(engines="scripted", capacity=-1), "capacity"),
    ],
)
def test_a_configuration_that_cannot_be_is_told_in_one_line(config: NodeConfig, words: str):
    with pytest.raises(NodeFailed, match=words) as told:
        NodeApp(config)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("engines", "words"),
    [
        ("scripted?load_fails=1", "scripted to fail at loading"),
        ("whisper:/no/such/folder,scripted-mt,scripted-tts", "/no/such/folder"),
        ("scripted-asr?languages=en,scripted-mt?pairs=de-fr,scripted-tts?languages=fr", "no language goes all the way"),
    ],
)
async def test_engines_that_cannot_work_end_the_start_with_the_reason(engines: str, words: str):
    with pytest.raises(NodeFailed, match=words):
        async with running_node(engines):
            pass


async def test_a_scheduler_that_will_not_have_it_ends_it_with_the_reason():
    async with FakeScheduler() as scheduler:
        scheduler.admit = refuse_with(ErrorCode.UNAUTHORIZED, "bad token", 4003)
        with pytest.raises(NodeFailed, match="UNAUTHORIZED: bad token"):
            await NodeApp(NodeConfig(url=scheduler.url, engines="scripted")).run()


async def test_jobs_at_random_recognise_every_sample_once():
    """Three sessions at once, cuts and sizes drawn from a fixed seed: see `tests/node/aggregation` for all orders."""
    async with running_node(capacity=40) as rig:
        await asyncio.gather(*(_converse(rig, seed) for seed in (1, 2, 3)))


async def _converse(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    at = 0
    names: list[str] = []
    for index in range(12):
        end = at + rng.randrange(1000, 12 * SECOND)
        flags: dict[str, Any] = rng.choice([{}, TIMEOUT, MAX_DURATION]) if index < 11 else {}
        names.append(name := f"job-{seed}-{index}")
        rig.assign(index, at, end, job_id=name, session_id=f"s-{seed}", **flags)
        at = end
    results = [await rig.peer.result(name) for name in names]
    assert all(one.success for one in results)
    spans = [span for one in results for span in heard(one.text_asr)]
    assert sum(stop - start for start, stop in spans) == at
    order = [one.job_id for one in rig.peer.all(JobResult) if one.session_id == f"s-{seed}"]
    assert order == names
