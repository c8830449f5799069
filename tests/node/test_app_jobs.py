"""What a node does with single jobs: one node with scripted engines serves all these tests."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from lingua_scheduler.node.jobs import SESSION_TTL_MS
from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.protocol.messages import Pipeline
from lingua_scheduler.protocol.node import JobHeld, JobReject, JobResult, NodeDrain, NodeRegister
from tests.node.harness import job
from tests.node.rig import Rig, counted, heard, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECOND = 16_000
TIMEOUT: dict[str, Any] = {"is_manual_cut": None, "is_timeout_triggered": True}
MAX_DURATION: dict[str, Any] = {"is_manual_cut": None, "is_max_duration_triggered": True}
_numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncGenerator[Rig]:
    async with running_node() as one:
        yield one


@pytest.fixture
def rig(node: Rig) -> Rig:
    """The node, for a session of the test's own."""
    return replace(node, session=f"test-{next(_numbers)}")


async def ask(rig: Rig, audio: bytes | None = None, **fields: Any) -> JobResult:
    """The result of a job in a session of its own: one counted second, unless told otherwise."""
    name = f"job-{next(_numbers)}"
    rig.peer.assign(job(0, job_id=name, session_id=name, **fields), counted(0, SECOND) if audio is None else audio)
    return await rig.peer.result(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"src_lang": "xx"},
        {"tgt_lang": "de"},
        {"src_lang": "not a language"},
        {"src_lang": "auto", "lang_a": "de", "lang_b": "fr"},
        {"pipeline": Pipeline(use_asr=False)},
    ],
)
async def test_what_is_not_served_is_refused_at_once(rig: Rig, fields: dict[str, Any]):
    name = f"job-{next(_numbers)}"
    rig.peer.assign(job(0, job_id=name, **fields), counted(0, SECOND))
    refused = await rig.peer.wait(JobReject, lambda message: message.job_id == name)
    assert refused.code == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"audio_format": "opus"}, "INVALID_MESSAGE"),
        ({"audio_format": "mp3"}, "INVALID_MESSAGE"),
        ({"sample_rate": 7}, "INVALID_MESSAGE"),
    ],
)
async def test_bad_audio_is_the_clients_fault_with_a_code(rig: Rig, fields: dict[str, Any], code: str):
    result = await ask(rig, b"\xff\xff\x00\x00" * 100, **fields)
    assert not result.success
    assert result.error is not None
    assert result.error.code == code
    assert (result.text_asr, result.text_translated) == (None, None)


@pytest.mark.parametrize("audio", [b"", b"\0" * 64_000], ids=["empty", "silence"])
async def test_where_nobody_speaks_the_result_says_so(rig: Rig, audio: bytes):
    result = await ask(rig, audio)
    assert result.success
    assert result.extra is not None
    assert result.extra["reason"] == "ASR_EMPTY"
    assert not result.tts_audio


@pytest.mark.parametrize(
    ("flags", "text", "has_speech"),
    [
        (Pipeline(use_tts=False), "[pt] [0:16000]", False),
        (Pipeline(use_nmt=False), "", True),
        (Pipeline(use_nmt=False, use_tts=False), "", False),
        (Pipeline(use_semantic=True), "[pt] [0:16000]", True),
    ],
)
async def test_flags_skip_stages(rig: Rig, flags: Pipeline, text: str, has_speech: bool):
    result = await ask(rig, pipeline=flags)
    assert result.success
    assert (result.text_asr, result.text_translated or "") == ("[0:16000]", text)
    assert bool(result.tts_audio) == has_speech
    assert result.reason_codes == (["SEMANTIC_SKIPPED"] if flags.use_semantic else None)


async def test_context_is_never_said(rig: Rig):
    result = await ask(rig, context_text="before")
    assert result.text_translated == "[pt] [0:16000]"


@pytest.mark.parametrize(("a", "b"), [("en", "pt"), ("pt", "en")])
async def test_in_a_conversation_the_language_heard_decides_the_direction(rig: Rig, a: str, b: str):
    """The scripted recogniser hears the first of the languages that it is offered."""
    name = f"job-{next(_numbers)}"
    fields = {"src_lang": "auto", "tgt_lang": "pt", "mode": "two_way_auto", "lang_a": a, "lang_b": b}
    rig.peer.assign(job(0, job_id=name, session_id=name, **fields), counted(0, SECOND))
    result = await rig.peer.result(name)
    assert (result.src_lang, result.tgt_lang) == (a, b)
    assert result.text_translated == f"[{b}] [0:16000]"


async def test_a_listener_in_the_speakers_language_gets_the_words_themselves(rig: Rig):
    result = await ask(rig, tgt_lang="en")
    assert result.text_translated == result.text_asr == "[0:16000]"
    assert result.tts_audio


async def test_short_audio_is_held_for_the_next_job_and_merged_into_it(rig: Rig):
    rig.assign(0, 0, SECOND // 2, **TIMEOUT)
    held = await rig.peer.wait(JobHeld, lambda message: message.job_id == rig.job(0))
    whole = await rig.ask(1, SECOND // 2, 2 * SECOND)
    merged = await rig.result(0)
    assert (held.attempt_id, held.reason) == (1, "short")
    assert 0 < held.deadline_ms <= 10_000
    assert whole.text_asr == "[0:32000]"
    assert (merged.success, merged.merged_into) == (True, rig.job(1))


async def test_a_later_attempt_of_a_held_job_is_the_one_that_ends(rig: Rig):
    rig.assign(0, 0, SECOND // 2, **TIMEOUT)
    rig.assign(0, 0, SECOND // 2, **TIMEOUT, attempt_id=2)
    held = await rig.peer.wait(JobHeld, lambda message: message.job_id == rig.job(0), nth=2)
    whole = await rig.ask(1, SECOND // 2, 2 * SECOND)
    assert held.attempt_id == 2
    assert whole.text_asr == "[0:32000]"
    assert (await rig.result(0)).attempt_id == 2


async def test_an_utterance_that_is_sent_again_is_said_again_in_full(rig: Rig):
    """The second time its audio overlaps with that of the text before, which is its own: nothing of it is a repeat."""
    first = await rig.ask(0, 0, SECOND)
    rig.assign(0, 0, SECOND, attempt_id=2)
    second = await rig.peer.wait(JobResult, lambda one: one.job_id == rig.job(0) and one.attempt_id == 2)
    assert first.text_asr == second.text_asr == "[0:16000]"


async def test_a_monologue_is_recognised_to_the_last_sample(rig: Rig):
    """10 + 10 + 10 s without a pause, then 5 s: 35.000 s, each job one result, tails carried on."""
    starts = [0, 10, 20, 30, 35]
    results: list[JobResult] = []
    for index, end in enumerate(starts[1:]):
        flags = MAX_DURATION if end <= 30 else {}
        results.append(await rig.ask(index, starts[index] * SECOND, end * SECOND, **flags))
    assert all(result.success for result in results)
    assert all(result.carried_ms for result in results[:3])
    assert results[3].carried_ms is None
    spans = [span for result in results for span in heard(result.text_asr)]
    assert sum(end - start for start, end in spans) == 35 * SECOND


async def test_audio_carried_from_a_finished_job_is_forgotten_when_that_is_cancelled(rig: Rig):
    first = await rig.ask(0, 0, 10 * SECOND, **MAX_DURATION)
    rig.peer.cancel(rig.job(0))
    second = await rig.ask(1, 10 * SECOND, 11 * SECOND)
    assert first.carried_ms
    assert heard(second.text_asr) == [(10 * SECOND % 65_536, 10 * SECOND % 65_536 + SECOND)]


async def test_audio_that_its_owner_does_not_count_here_is_forgotten(rig: Rig):
    first = await rig.ask(0, 0, 10 * SECOND, **MAX_DURATION)
    second = await rig.ask(1, 10 * SECOND, 11 * SECOND, kept_jobs=[])
    assert first.carried_ms
    assert heard(second.text_asr) == [(10 * SECOND % 65_536, 10 * SECOND % 65_536 + SECOND)]


async def test_a_held_job_that_its_owner_does_not_count_here_is_given_up(rig: Rig):
    rig.assign(0, 0, 8_000, **TIMEOUT)
    await rig.peer.wait(JobHeld, lambda message: message.job_id == rig.job(0))
    second = await rig.ask(1, SECOND, 2 * SECOND, kept_jobs=[])
    assert heard(second.text_asr) == [(SECOND, 2 * SECOND)]
    assert [result.job_id for result in rig.results()] == [rig.job(1)]
    assert not rig.app._jobs.held


async def test_audio_that_counts_here_is_said(rig: Rig):
    first = await rig.ask(0, 0, 10 * SECOND, **MAX_DURATION)
    second = await rig.ask(1, 10 * SECOND, 11 * SECOND, kept_jobs=[rig.job(0)])
    spoken = sum(end - start for result in (first, second) for start, end in heard(result.text_asr))
    assert spoken == 11 * SECOND


async def test_repeats_are_acknowledged_and_done_once(rig: Rig):
    for _ in range(3):
        rig.assign(0, 0, SECOND)
    await rig.result(0)
    rig.assign(0, 0, SECOND)
    await rig.ask(1, SECOND, 2 * SECOND)
    assert [result.job_id for result in rig.results()] == [rig.job(0), rig.job(1)]
    assert rig.acks() == [(rig.job(0), 1)] * 4 + [(rig.job(1), 1)]


async def test_a_session_unused_for_minutes_is_forgotten_and_may_come_back(rig: Rig):
    jobs = rig.app._jobs
    await rig.ask(0, 0, SECOND)
    before = jobs.sessions
    jobs._sessions[SessionId(rig.session)].used_at_ms -= SESSION_TTL_MS
    jobs._sessions.move_to_end(SessionId(rig.session), last=False)
    jobs.sweep()
    assert jobs.sessions == before - 1
    rig.peer.cancel(rig.job(0))
    assert (await rig.ask(1, SECOND, 2 * SECOND)).text_asr == "[16000:32000]"


async def test_an_operator_may_drain_and_resume_it(rig: Rig):
    rig.peer.control("drain")
    rig.assign(0, 0, SECOND)
    await rig.peer.wait(JobReject, lambda message: message.code == "DRAINING")
    rig.peer.control("resume")
    assert (await rig.ask(1, 0, SECOND)).success
    assert not rig.peer.count(NodeDrain), "that would say that it leaves"


async def test_engines_are_loaded_anew_on_request_without_refusing_a_job(rig: Rig):
    rig.assign(0, 0, SECOND)
    rig.peer.control("reload")
    again = await rig.peer.wait(NodeRegister, nth=2)
    assert (await rig.result(0)).success
    assert (await rig.ask(1, SECOND, 2 * SECOND)).success
    assert again.node_id == rig.registration().node_id
    assert "engines reloaded" in rig.told
