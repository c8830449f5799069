"""Speech output in over a hundred languages by espeak-ng: robotic, tiny, 700 times faster than real time.

The library is the one in the package `espeakng-loader`, else the system's. It is not re-entrant (one synthesis at a
time in a process), and it is GPL-3: an optional extra, loaded at run time.
"""

import ctypes
import ctypes.util
import importlib.util
from typing import Any

import numpy as np

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
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language

# Constants of speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_DONT_EXIT_ON_ERROR = 0x8000
_CHARS_UTF8 = 1
_END_PAUSE = 0x1000
_PARAMETER_RATE = 1
_NORMAL_WORDS_PER_MINUTE = 175

_UNREADABLE = {"zh", "cmn", "yue", "hak", "ja"}
"""Languages whose voices spell characters out in English, or want a romanised text."""
_USUAL_VOICES = {"pt": "pt-br", "en": "en-us", "fr": "fr-fr"}
_REMEDY = 'pip install "lingua-scheduler[espeak]", or install espeak-ng with the system\'s package manager'

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _Voice(ctypes.Structure):
    """The head of `espeak_VOICE`; only pointers to it are handed about."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_void_p),
        ("identifier", ctypes.c_char_p),
    )


class Espeak:
    """Option `voice=` names the voice for every request that names none (`pt-br`, `en-gb+f3`)."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("voice", "languages")
        self._voice = spec.text("voice")
        self._wanted = spec.languages()
        self._library: Any = None
        self._rate = 0
        self._heard: list[bytes] = []
        self._callback = _CALLBACK(self._on_samples)

    def load(self) -> EngineCard:
        self._library, data = _open_library()
        self._library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        self._rate = int(self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, _DONT_EXIT_ON_ERROR))
        if self._rate <= 0:
            raise EngineError(ErrorCode.MODEL_LOAD_FAILED, f"espeak-ng found no voices. {_REMEDY}", retryable=False)
        self._library.espeak_SetSynthCallback(self._callback)
        spoken = self._wanted or _spoken_languages(self._library)
        return EngineCard("espeak-ng", Stage.TTS, languages=spoken, limits=Limits(max_chars=1000, timeout_s=10.0))

    def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        if not request.text.strip():
            return Speech(np.zeros(0, np.float32), self._rate)
        self._choose_voice(request)
        pace = round(_NORMAL_WORDS_PER_MINUTE * min(2.0, max(0.5, request.rate)))
        self._library.espeak_SetParameter(_PARAMETER_RATE, pace, 0)
        self._heard.clear()
        text = request.text.replace("\0", " ").encode()
        if self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _CHARS_UTF8 | _END_PAUSE, None, None):
            raise EngineError(ErrorCode.PROCESSING_ERROR, "espeak-ng refused the text", retryable=False)
        speech = Speech(from_pcm16(b"".join(self._heard)), self._rate)
        self._heard.clear()
        return speech

    def _choose_voice(self, request: TtsRequest) -> None:
        usual = _USUAL_VOICES.get(request.language, request.language)
        for name in (request.voice, self._voice, usual, primary(request.language)):
            if name and not self._library.espeak_SetVoiceByName(name.encode()):
                return
        raise EngineError(
            ErrorCode.MODEL_NOT_AVAILABLE, f"espeak-ng has no voice for {request.language}", retryable=False
        )

    def _on_samples(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._heard.append(ctypes.string_at(samples, count * 2))
        return 0


def _open_library() -> tuple[Any, bytes | None]:
    """The library and the folder of its voices (None: where it was built to look)."""
    try:
        if importlib.util.find_spec("espeakng_loader") is not None:
            import espeakng_loader

            return ctypes.CDLL(str(espeakng_loader.get_library_path())), str(espeakng_loader.get_data_path()).encode()
        if (found := ctypes.util.find_library("espeak-ng")) is not None:
            return ctypes.CDLL(found), None
    except OSError as error:
        raise EngineError(ErrorCode.MODEL_LOAD_FAILED, f"espeak-ng: {error}. {_REMEDY}", retryable=False) from error
    raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, f"espeak-ng is missing: {_REMEDY}", retryable=False)


def _spoken_languages(library: Any) -> tuple[Language, ...]:
    """Every language, and its variant in a country, that a voice is made for."""
    voices = library.espeak_ListVoices(None)
    found: set[Language] = set()
    at = 0
    while voices[at]:
        for code in _voice_codes(int(voices[at].contents.languages)):
            known = language(code)
            if known is not None and primary(known) not in _UNREADABLE and _is_plain(known):
                found |= {known, primary(known)}
        at += 1
    return tuple(sorted(found))


def _is_plain(code: Language) -> bool:
    """A language or its variant in one country; dialects of a town and other scripts are left out."""
    region = code.partition("-")[2]
    return not region or (len(region) == 2 and region.isalpha())


def _voice_codes(address: int) -> list[str]:
    """The codes of one voice: C strings, each behind a byte of priority; priority 0 ends the list."""
    codes: list[str] = []
    while ctypes.string_at(address, 1) != b"\0":
        raw = ctypes.string_at(address + 1)
        codes.append(raw.decode("ascii", "replace"))
        address += 1 + len(raw) + 1
    return codes


def _missing(_spec: EngineSpec) -> str | None:
    if importlib.util.find_spec("espeakng_loader") or ctypes.util.find_library("espeak-ng"):
        return None
    return f"espeak-ng is missing: {_REMEDY}"


def _make(spec: EngineSpec) -> TtsEngine:
    return Espeak(spec)


KIND = EngineKind(
    name="espeak",
    stage=Stage.TTS,
    about="100+ languages, robotic voice, tiny; option voice=pt-br",
    make=_make,
    missing=_missing,
)
