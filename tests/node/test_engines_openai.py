"""OpenAI-compatible services for each stage: real speech through a real HTTP server, refusals, nonsense, slowness."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from lingua_scheduler.node.engines.base import (
    AsrRequest,
    Audio,
    EngineError,
    MtRequest,
    SemanticRequest,
    TtsRequest,
)
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.node.openai_service import OpenAiShape
from tests.node.speech import words
from tests.support import free_port

EN, PT, ZH = (Language(code) for code in ("en", "pt", "zh"))


async def failure(work: Coroutine[Any, Any, object]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await work
    return caught.value


async def start(specs: str) -> None:
    """Start a host for these specs, and end it again."""
    async with EngineHost(make_plan(specs)):
        return


async def test_recognition_and_speech(tiny_en: Whisper, pico: Pico, command: Audio, no_descriptor_leaks: None):
    service = OpenAiShape(tiny_en, pico)
    async with service.serve() as base:
        asr = f"openai-asr:{base}?model=tiny&languages=en+zh&translate=1"
        specs = f"{asr},openai-tts:{base}?model=tts&languages=en&voice=x"
        async with EngineHost(make_plan(specs)) as host:
            heard = await host.asr(AsrRequest(command, EN, prompt="metres"))
            assert words(heard.text) == ["go", "forward", "meters"]  # and "10"
            assert heard.quality == pytest.approx(0.8187, abs=0.001)
            assert heard.segments[0].end_samples == len(command)
            assert service.asked[-1]["language"] == "en"
            assert service.asked[-1]["prompt"] == "metres"

            unsure = await host.asr(AsrRequest(command, candidates=(ZH, EN)))
            assert (unsure.language, dict(unsure.language_probabilities)) == (EN, {ZH: 0.0, EN: 1.0})
            assert "language" not in service.asked[-1]

            both = await host.asr(AsrRequest(command, ZH, translate_to=EN))
            assert both.translation
            assert [one["path"].rsplit("/", 1)[1] for one in service.asked[-2:]] == [
                "transcriptions",
                "translations",
            ]

            silent = await host.asr(AsrRequest(np.zeros(16_000, np.float32), EN))
            assert silent.no_speech
            assert silent.text == ""

            speech = await host.tts(TtsRequest("The quick brown fox jumps over the lazy dog.", EN))
            assert speech.sample_rate == 16_000
            again = await host.asr(AsrRequest(speech.audio, EN))
            assert "quick brown fox" in again.text.lower()


async def test_speech_as_bare_pcm(pico: Pico):
    async with (
        OpenAiShape(speaker=pico).serve() as base,
        EngineHost(make_plan(f"openai-tts:{base}?model=tts&languages=en&format=pcm")) as host,
    ):
        speech = await host.tts(TtsRequest("The quick brown fox jumps over the lazy dog.", EN))
    assert speech.sample_rate == 24_000
    assert 800 < speech.duration_ms < 4000


async def test_translation_is_asked_for_by_name_and_context_stays_outside():
    service = OpenAiShape(answers=["  Ele foi embora.  "])
    async with service.serve() as base, EngineHost(make_plan(f"openai-mt:{base}?model=m&pairs=en-pt")) as host:
        answer = await host.mt(MtRequest("He left.", EN, Language("pt-br"), context="My brother was here."))
    assert answer.text == "Ele foi embora."
    system, user = service.asked[0]["messages"]
    assert "from English to Brazilian Portuguese" in system["content"]
    assert "My brother was here." in system["content"]
    assert user == {"role": "user", "content": "He left."}
    assert service.asked[0]["temperature"] == 0


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        ("He was not an ill-disposed young man.", True),
        ("", False),
        (
            "Certainly! Here is the corrected text that you asked me for: He was not an ill-disposed young man.",
            False,
        ),
        ("He", False),
    ],
)
async def test_a_repair_that_is_none_is_refused(answer: str, accepted: bool):
    text = "He was not an old-spose young man."
    async with (
        OpenAiShape(answers=[answer]).serve() as base,
        EngineHost(make_plan(f"openai-semantic:{base}?model=m,scripted-mt")) as host,
    ):
        if accepted:
            assert (await host.repair(SemanticRequest(text, EN))).text == answer
        else:
            error = await failure(host.repair(SemanticRequest(text, EN)))
            assert (error.code, error.retryable) == (ErrorCode.PROCESSING_ERROR, False)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (401, ErrorCode.MODEL_NOT_AVAILABLE, True),
        (404, ErrorCode.MODEL_NOT_AVAILABLE, True),
        (429, ErrorCode.NODE_OVERLOADED, True),
        (503, ErrorCode.NODE_OVERLOADED, True),
        (500, ErrorCode.PROCESSING_ERROR, True),
        (400, ErrorCode.PROCESSING_ERROR, False),
    ],
)
async def test_each_refusal_has_its_code(status: int, code: ErrorCode, retryable: bool):
    service = OpenAiShape()
    async with service.serve() as base, EngineHost(make_plan(f"openai-mt:{base}?model=m&pairs=en-pt")) as host:
        service.fail = status
        error = await failure(host.mt(MtRequest("He left.", EN, PT)))
    assert (error.code, error.retryable) == (code, retryable)
    assert f"HTTP {status}" in error.message
    assert "scripted" in error.message


@pytest.mark.parametrize("engine", ["asr", "mt", "tts", "semantic"])
async def test_an_answer_of_another_shape_is_an_error(engine: str, command: Audio):
    service = OpenAiShape()
    async with service.serve() as base:
        options = "pairs=en-pt" if engine == "mt" else "languages=en"
        async with EngineHost(make_plan(f"openai-{engine}:{base}?model=m&{options}")) as host:
            service.garbage = True
            calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
                "asr": lambda: host.asr(AsrRequest(command, EN)),
                "mt": lambda: host.mt(MtRequest("He left.", EN, PT)),
                "tts": lambda: host.tts(TtsRequest("He left.", EN)),
                "semantic": lambda: host.repair(SemanticRequest("He left.", EN)),
            }
            error = await failure(calls[engine]())
    assert (error.code, error.retryable) == (ErrorCode.PROCESSING_ERROR, True)
    assert "answered something else" in error.message


async def test_a_service_that_is_not_there_stops_the_start_and_is_named(no_descriptor_leaks: None):
    base = f"http://127.0.0.1:{free_port()}/v1"
    error = await failure(start(f"openai-mt:{base}?model=m&pairs=en-pt"))
    assert error.code is ErrorCode.MODEL_NOT_AVAILABLE
    assert base in error.message


async def test_the_key_comes_from_the_environment_and_is_never_shown(monkeypatch: pytest.MonkeyPatch):
    service = OpenAiShape(answers=["Olá."], key="s3cret")
    async with service.serve() as base:
        specs = f"openai-mt:{base}?model=m&pairs=en-pt&key_env=MY_KEY"
        error = await failure(start(specs))
        assert error.code is ErrorCode.MODEL_NOT_AVAILABLE
        assert "HTTP 401" in error.message
        monkeypatch.setenv("MY_KEY", "s3cret")
        async with EngineHost(make_plan(specs)) as host:
            assert (await host.mt(MtRequest("Hello.", EN, PT))).text == "Olá."
            assert "s3cret" not in repr(host.status())


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("openai-mt:localhost?model=m&pairs=en-pt", "wants an address"),
        ("openai-mt:http://127.0.0.1:1/v1?pairs=en-pt", "wants the name of a model"),
        ("openai-mt:http://127.0.0.1:1/v1?model=m", "say which pairs"),
        ("openai-tts:http://127.0.0.1:1/v1?model=m", "say which languages"),
        ("openai-tts:http://127.0.0.1:1/v1?model=m&languages=en&format=mp3", "wav or pcm"),
        ("wyoming-asr:http://127.0.0.1:1", "wants an address"),
        ("wyoming-asr:tcp://127.0.0.1:port", "wants an address"),
    ],
)
async def test_what_a_spec_lacks_is_said(spec: str, says: str):
    error = await failure(start(spec))
    assert error.code is ErrorCode.UNSUPPORTED_FEATURE
    assert says in error.message


async def test_calls_beyond_its_concurrency_wait_and_a_slow_one_meets_its_deadline():
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        else:
            await reader.read()  # until the caller gives up
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    async with server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        specs = f"openai-mt:{base}?model=m&pairs=en-pt&concurrency=1&timeout_s=0.3"
        async with EngineHost(make_plan(specs)) as host:
            calls = [asyncio.ensure_future(host.mt(MtRequest("Hello.", EN, PT))) for _ in range(2)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [one.code for one in outcomes if isinstance(one, EngineError)] == [ErrorCode.NMT_TIMEOUT] * 2
            assert host.status()[0].waiting == 0
