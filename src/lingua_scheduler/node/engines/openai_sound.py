"""Recognition and speech output by OpenAI-compatible HTTP services.

| engine | endpoint | must say | may say |
|---|---|---|---|
| `openai-asr` | `/audio/transcriptions`, `/audio/translations` | languages | translate=1: it can translate to English |
| `openai-tts` | `/audio/speech` | languages | voice, format=wav or pcm, sample_rate (of pcm, 24000) |

Options of all: `openai_client`. Example: `openai-asr:http://127.0.0.1:8000/v1?model=whisper-1&languages=en+zh`.
"""

import asyncio
import math
import wave
from io import BytesIO
from typing import Final

import msgspec
import numpy as np

from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrRequest,
    AsrResult,
    AsyncEngine,
    Audio,
    Emit,
    EngineCard,
    Segment,
    Speech,
    Stage,
    TtsRequest,
    from_pcm16,
    primary,
)
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.names import from_name_or_code
from lingua_scheduler.node.engines.openai_client import OpenAiService
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec
from lingua_scheduler.protocol.ids import Language

_ENGLISH: Final = Language("en")
_PCM_RATE: Final = 24_000
_NO_SPEECH_PROBABILITY: Final = 0.6
_UNKNOWN_QUALITY: Final = 0.7
"""Where a service says nothing of how sure it was."""


class _Heard(msgspec.Struct):
    """One segment of `verbose_json`; times in seconds."""

    text: str = ""
    start: float = 0.0
    end: float = 0.0
    avg_logprob: float | None = None
    no_speech_prob: float = 0.0


class _Transcription(msgspec.Struct):
    text: str
    language: str | None = None
    segments: list[_Heard] | None = None


_TRANSCRIPTION = msgspec.json.Decoder(_Transcription)


class OpenAiAsr(OpenAiService):
    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec, "languages", "translate")
        self._languages = self.languages()

    async def load(self) -> EngineCard:
        await self.client.open()
        translates = (_ENGLISH,) if self.spec.text("translate") else ()
        return self.card(Stage.ASR, 15.0, languages=self._languages, translates_to=translates)

    async def run(self, request: AsrRequest, emit: Emit) -> AsrResult:
        del emit
        wav = await asyncio.to_thread(_wav, request.audio)
        heard = await self._ask("/audio/transcriptions", wav, request)
        translation = None
        if request.translate_to is not None:
            translation = (await self._ask("/audio/translations", wav, request)).text.strip()
        return _result(request, heard, translation, self._languages)

    async def _ask(self, path: str, wav: bytes, request: AsrRequest) -> _Transcription:
        import aiohttp

        form = aiohttp.FormData()
        form.add_field("file", wav, filename="speech.wav", content_type="audio/wav")
        form.add_field("model", self.model)
        form.add_field("response_format", "verbose_json")
        form.add_field("temperature", "0")
        if request.prompt:
            form.add_field("prompt", request.prompt)
        if request.language is not None and path.endswith("transcriptions"):
            form.add_field("language", primary(request.language))
        try:
            return _TRANSCRIPTION.decode(await self.client.post_form(path, form))
        except msgspec.MsgspecError as error:
            raise self.not_understood(error) from error


class OpenAiTts(OpenAiService):
    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec, "languages", "voice", "format", "sample_rate")
        self._languages = self.languages()
        self._format = spec.text("format", "wav")
        if self._format not in {"wav", "pcm"}:
            raise bad_spec(f"{spec.name}: format is wav or pcm, not {self._format!r}")

    async def load(self) -> EngineCard:
        await self.client.open()
        return self.card(Stage.TTS, 20.0, languages=self._languages)

    async def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        body = {
            "model": self.model,
            "input": request.text,
            "voice": request.voice or self.spec.text("voice", "alloy"),
            "response_format": self._format,
            "speed": request.rate,
        }
        data = await self.client.post_json("/audio/speech", body)
        if self._format == "pcm":
            return Speech(from_pcm16(data), int(self.spec.number("sample_rate", _PCM_RATE)))
        try:
            return _speech(data)
        except (wave.Error, EOFError, ValueError) as error:
            raise self.not_understood(error) from error


def _result(
    request: AsrRequest, heard: _Transcription, translation: str | None, served: tuple[Language, ...]
) -> AsrResult:
    told = from_name_or_code(heard.language) if heard.language else None
    language = request.language or told or (request.candidates or served)[0]
    segments = heard.segments or []
    sure = [segment.avg_logprob for segment in segments if segment.avg_logprob is not None]
    quality = min(1.0, math.exp(sum(sure) / len(sure))) if sure else _UNKNOWN_QUALITY
    silent = bool(segments) and all(one.no_speech_prob > _NO_SPEECH_PROBABILITY for one in segments)
    text = "" if silent or not any(one.isalnum() for one in heard.text) else heard.text.strip()
    whole = (Segment(text, 0, len(request.audio)),) if text else ()
    parts = tuple(
        Segment(one.text.strip(), int(one.start * ASR_RATE), int(one.end * ASR_RATE)) for one in segments if one.text
    )
    return AsrResult(
        text=text,
        language=language,
        language_probability=1.0,
        language_probabilities={one: float(one == language) for one in request.candidates} or {language: 1.0},
        segments=(parts or whole) if text else (),
        quality=quality if text else 0.0,
        no_speech=not text,
        translation=translation,
    )


def _wav(audio: Audio) -> bytes:
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(ASR_RATE)
        file.writeframes(np.rint(np.clip(audio * 32768.0, -32768, 32767)).astype("<i2").tobytes())
    return out.getvalue()


def _speech(data: bytes) -> Speech:
    """The samples of a 16-bit WAV; the first channel. A streamed file may state a length that it does not have."""
    with wave.open(BytesIO(data)) as file:
        if file.getsampwidth() != 2:
            raise wave.Error(f"{file.getsampwidth() * 8} bits a sample, not 16")
        pcm = file.readframes(min(file.getnframes(), len(data)))
        return Speech(from_pcm16(pcm)[:: file.getnchannels()], file.getframerate())


def _make_asr(spec: EngineSpec) -> AsyncEngine[AsrRequest, AsrResult]:
    return OpenAiAsr(spec)


def _make_tts(spec: EngineSpec) -> AsyncEngine[TtsRequest, Speech]:
    return OpenAiTts(spec)


KINDS = (
    EngineKind(
        name="openai-asr",
        stage=Stage.ASR,
        about="recognition by an OpenAI-compatible service: openai-asr:http://…/v1?model=…&languages=en+zh",
        make_async=_make_asr,
    ),
    EngineKind(
        name="openai-tts",
        stage=Stage.TTS,
        about="speech by an OpenAI-compatible service: openai-tts:http://…/v1?model=…&languages=en&voice=…",
        make_async=_make_tts,
    ),
)
