"""A Wyoming service on a free port: the Wyoming library's own server, with real engines behind it."""

import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np

with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # it imports audioop, which 3.13 lacks
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.event import Event
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
    from wyoming.server import AsyncEventHandler, AsyncTcpServer
    from wyoming.tts import Synthesize

from lingua_scheduler.node.audio import to_pcm16
from lingua_scheduler.node.engines.base import AsrRequest, TtsRequest
from lingua_scheduler.node.engines.pico import Pico
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.protocol.ids import Language
from tests.support import free_port

EN = Language("en")


def ignore(_text: str) -> None:
    return


_ABOUT = (Attribution(name="test", url=""), True, "", "1")
_INFO = Info(
    asr=[AsrProgram("tiny", *_ABOUT, [AsrModel("tiny.en", *_ABOUT, ["en"])])],
    tts=[TtsProgram("pico", *_ABOUT, [TtsVoice("pico", *_ABOUT, ["en", "es"])])],
)


class WyomingHandler(AsyncEventHandler):
    """One connection."""

    def __init__(self, whisper: Whisper, pico: Pico, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.whisper = whisper
        self.pico = pico
        self.heard = bytearray()
        self.language: str | None = None

    async def handle_event(self, event: Event) -> bool:
        if Describe.is_type(event.type):
            await self.write_event(_INFO.event())
        elif Transcribe.is_type(event.type):
            self.language = Transcribe.from_event(event).language
        elif AudioChunk.is_type(event.type):
            self.heard += AudioChunk.from_event(event).audio
        elif AudioStop.is_type(event.type):
            audio = (np.frombuffer(bytes(self.heard), "<i2") / 32768).astype(np.float32)
            text = self.whisper.run(AsrRequest(audio, EN), ignore).text
            await self.write_event(Event("transcript-chunk", {"text": text[:5]}))
            await self.write_event(Transcript(text=text, language=self.language or "en").event())
        elif Synthesize.is_type(event.type):
            await self._speak(Synthesize.from_event(event).text)
        return True

    async def _speak(self, text: str) -> None:
        speech = self.pico.run(TtsRequest(text, EN), ignore)
        kind = {"rate": speech.sample_rate, "width": 2, "channels": 1}
        await self.write_event(AudioStart(**kind).event())
        pcm = to_pcm16(speech.audio)
        for at in range(0, len(pcm), 2048):
            await self.write_event(AudioChunk(audio=pcm[at : at + 2048], **kind).event())
        await self.write_event(AudioStop().event())


@asynccontextmanager
async def wyoming_service(whisper: Whisper, pico: Pico) -> AsyncGenerator[str]:
    server = AsyncTcpServer("127.0.0.1", free_port())
    await server.start(partial(WyomingHandler, whisper, pico))
    try:
        yield f"tcp://{server.host}:{server.port}"
    finally:
        await server.stop()
