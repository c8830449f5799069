"""What a node does with single jobs: one node with scripted engines serves all these tests."""

from collections.abc import AsyncGenerator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from lingua_scheduler.protocol.messages import Pipeline
from lingua_scheduler.protocol.node import JobReject, JobResult
from tests.node.harness import job
from tests.node.rig import Rig, counted, running_node

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECOND = 16_000
_numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncGenerator[Rig]:
    async with running_node() as one:
        yield one


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
    name = f"job-{len(rig.peer.said)}"
    fields = {"src_lang": "auto", "tgt_lang": "pt", "mode": "two_way_auto", "lang_a": a, "lang_b": b}
    rig.peer.assign(job(0, job_id=name, session_id=name, **fields), counted(0, SECOND))
    result = await rig.peer.result(name)
    assert (result.src_lang, result.tgt_lang) == (a, b)
    assert result.text_translated == f"[{b}] [0:16000]"


async def test_a_listener_in_the_speakers_language_gets_the_words_themselves(rig: Rig):
    result = await ask(rig, tgt_lang="en")
    assert result.text_translated == result.text_asr == "[0:16000]"
    assert result.tts_audio
