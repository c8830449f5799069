"""Speech output in English, German, Spanish, French and Italian by SVOX Pico: small, clear, 200 times real time."""

import re
from collections.abc import Mapping
from typing import Any, Final

from lingua_scheduler.node.engines.base import (
    Emit,
    EngineCard,
    EngineError,
    Limits,
    Speech,
    Stage,
    TtsEngine,
    TtsRequest,
    from_pcm16,
    primary,
)
from lingua_scheduler.node.engines.kind import EngineKind, missing_module
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

_RATE: Final = 16_000
_VOICES: Mapping[Language, str] = {
    Language("en"): "en-US",
    Language("en-us"): "en-US",
    Language("en-gb"): "en-GB",
    Language("de"): "de-DE",
    Language("es"): "es-ES",
    Language("fr"): "fr-FR",
    Language("it"): "it-IT",
}
_MARKUP = re.compile(r"[<>\0]")
"""Pico obeys tags such as `<speed level="20">`: a text must not be able to write one."""


class Pico:
    def __init__(self, spec: EngineSpec) -> None:
        spec.only("languages")
        self._languages = spec.languages() or tuple(_VOICES)
        self._engine: Any = None

    def load(self) -> EngineCard:
        from py_nanotts import NanoTTS

        self._engine = NanoTTS()
        return EngineCard("pico", Stage.TTS, languages=self._languages, limits=Limits(max_chars=500, timeout_s=10.0))

    def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        voice = request.voice if request.voice in _VOICES.values() else None
        voice = voice or _VOICES.get(request.language) or _VOICES.get(primary(request.language))
        if voice is None:
            message = f"pico has no voice for {request.language}"
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=False)
        text = _MARKUP.sub(" ", request.text).strip()
        pcm: bytes = self._engine.speak(text, voice=voice, speed=request.rate) if text else b""
        return Speech(from_pcm16(pcm), _RATE)


def _make(spec: EngineSpec) -> TtsEngine:
    return Pico(spec)


KIND = EngineKind(
    name="pico",
    stage=Stage.TTS,
    about="English, German, Spanish, French, Italian; small and clear",
    make=_make,
    missing=lambda _spec: missing_module("py_nanotts", "pico"),
)
