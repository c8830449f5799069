"""Wyoming services: real speech through the library's own server, and servers that say something else."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lingua_scheduler.node.engines.base import AsrRequest, Audio, EngineError, Stage, TtsRequest
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.node.speech import words
from tests.node.wyoming_service import wyoming_service
from tests.support import free_port

EN, PT = Language("en"), Language("pt")


async def failure(work: Coroutine[Any, Any, object]) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await work
    return caught.value


async def start(specs: str) -> None:
    """Start a host for these specs, and end it again."""
    async with EngineHost(make_plan(specs)):
        return


@asynccontextmanager
async def raw_service(*answers: bytes) -> AsyncGenerator[str]:
    """Says the answers, one for each connection, whatever is asked, and closes it."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def event(kind: str, data: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"type": kind, "data": data or {}}).encode() + b"\n"


_DESCRIBED = event("info", {"tts": [{"name": "x", "voices": [{"languages": ["en"]}]}]})


async def test_recognition_and_speech(tiny_en: Whisper, pico: Pico, command: Audio, no_descriptor_leaks: None):
    async with (
        wyoming_service(tiny_en, pico) as address,
        EngineHost(make_plan(f"wyoming-asr:{address},wyoming-tts:{address}")) as host,
    ):
        assert host.languages(Stage.ASR) == (EN,)
        assert host.languages(Stage.TTS) == (EN, Language("es"))
        partials: list[str] = []
        heard = await host.asr(AsrRequest(command, EN), partials.append)
        assert words(heard.text) == ["go", "forward", "meters"]  # and "10"
        assert partials == [heard.text[:5]]
        speech = await host.tts(TtsRequest("The quick brown fox jumps over the lazy dog.", EN))
        assert "quick brown fox" in (await host.asr(AsrRequest(speech.audio))).text.lower()


async def test_a_service_that_is_not_there():
    error = await failure(start(f"wyoming-asr:tcp://127.0.0.1:{free_port()}"))
    assert error.code is ErrorCode.MODEL_NOT_AVAILABLE
    assert "is not there" in error.message


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", event("pong"), event("info", {"tts": 5}), b"[]\n"]
)
async def test_a_service_that_is_something_else(answer: bytes):
    async with raw_service(answer) as address:
        error = await failure(start(f"wyoming-tts:{address}"))
    assert error.code is ErrorCode.MODEL_NOT_AVAILABLE
    assert "does not describe itself" in error.message


async def test_a_service_that_names_no_language_must_be_told_one():
    async with raw_service(event("info"), event("info")) as address:
        assert "say languages=" in (await failure(start(f"wyoming-tts:{address}"))).message
        async with EngineHost(make_plan(f"wyoming-tts:{address}?languages=pt")) as host:
            assert host.languages(Stage.TTS) == (PT,)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (event("audio-start", {"rate": 16_000, "width": 2, "channels": 1}), "broke off"),
        (event("audio-stop"), "sent no sound"),
        (event("audio-start", {"rate": 16_000, "width": 4, "channels": 1}), "16-bit mono"),
        (event("audio-start", {}), "broke off"),
        (event("error", {"text": "out of memory"}), "out of memory"),
        (b'{"type": "audio-chunk", "payload_length": 99999999999}\n', "an event of 99999999999 bytes"),
        (b"x" * 3_000_000, "broke off"),
    ],
)
async def test_speech_that_breaks_off_or_is_no_speech(answer: bytes, says: str):
    async with raw_service(_DESCRIBED, answer) as address, EngineHost(make_plan(f"wyoming-tts:{address}")) as host:
        error = await failure(host.tts(TtsRequest("Hello.", EN)))
    assert (error.code, error.retryable) == (ErrorCode.PROCESSING_ERROR, True)
    assert says in error.message
