"""Engines without models, for tests: what they answer, how long they take and how they fail stands in their spec.

Recognition echoes the audio it was given: samples are read as a counter (see `counting_audio`), so that the text says
which samples of a time line arrived: `[0:16000]`. Gaps and repeats become separate ranges. With `text=` it says that.
Translation answers `[pt] text`. Speech output is a tone of 60 ms for each character.

| option | means |
|---|---|
| `service_ms` | time each call takes (a sleep that holds no lock) |
| `spin_ms` | time each call holds the interpreter lock |
| `fail_every` | each n-th call of a process fails with PROCESSING_ERROR |
| `fail_on`, `hang_on`, `die_on` | a substring of the text (echo): such a call fails, never returns, ends its process |
| `partials` | partial texts emitted before the result, one word more each |
| `languages`, `pairs` | served; default `en+pt+es+zh+ja+ko`, and all pairs of them |
| `timeout_s`, `max_chars`, `max_audio_s` | the limits on its card |
| `load_fails` | loading fails with MODEL_LOAD_FAILED |
"""

import os
import threading
from typing import TypeVar

import numpy as np

from lingua_scheduler.node.engines.base import (
    AsrEngine,
    AsrRequest,
    AsrResult,
    Audio,
    Emit,
    EngineCard,
    EngineError,
    Limits,
    MtEngine,
    MtRequest,
    MtResult,
    Segment,
    SemanticEngine,
    SemanticRequest,
    SemanticResult,
    Speech,
    Stage,
    TtsEngine,
    TtsRequest,
)
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

_LANGUAGES = tuple(Language(code) for code in ("en", "pt", "es", "zh", "ja", "ko"))
_COUNTER = 1 << 16
_TEXT_CHARS_MAX = 10_000
"""Audio that is no counter is a range for each sample: megabytes of them."""
_TONE_RATE = 22_050
_TONE_SAMPLES_PER_CHAR = _TONE_RATE * 60 // 1000

T = TypeVar("T")


def counting_audio(start: int, end: int) -> Audio:
    """Samples `start` to `end` of a time line whose n-th sample carries n modulo 65 536, exact in 16-bit PCM."""
    counted = np.arange(start, end, dtype=np.int64) % _COUNTER - _COUNTER // 2
    return (counted / (_COUNTER // 2)).astype(np.float32)


def echo(audio: Audio) -> str:
    """The ranges of the time line in `audio`: `[0:16000]`, or several; starts are modulo 65 536."""
    if not len(audio):
        return ""
    counted = np.rint(audio.astype(np.float64) * (_COUNTER // 2)).astype(np.int64) + _COUNTER // 2
    breaks = np.flatnonzero((np.diff(counted) % _COUNTER) != 1) + 1
    starts = [0, *breaks.tolist()]
    ends = [*breaks.tolist(), len(counted)]
    return "".join(f"[{counted[s]}:{counted[s] + e - s}]" for s, e in zip(starts, ends, strict=True))


class _Scripted:
    """What the stages share: pace, failures, card."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only(*_OPTIONS)
        self.spec = spec
        self.languages = spec.languages() or _LANGUAGES
        self._calls = 0

    def _card(self, stage: Stage) -> EngineCard:
        if self.spec.text("load_fails"):
            raise EngineError(ErrorCode.MODEL_LOAD_FAILED, "scripted to fail at loading", retryable=False)
        every = tuple((a, b) for a in self.languages for b in self.languages if a != b)
        return EngineCard(
            name=str(self.spec),
            stage=stage,
            languages=() if stage is Stage.MT else self.languages,
            pairs=self.spec.pairs() or every if stage is Stage.MT else (),
            translates_to=self.spec.languages("translates_to"),
            limits=Limits(
                max_chars=int(self.spec.number("max_chars", 400)),
                max_audio_s=self.spec.number("max_audio_s", 120),
                timeout_s=self.spec.number("timeout_s", 10),
            ),
            streams=self.spec.number("partials", 0) > 0,
        )

    def _act(self, text: str, answer: T) -> T:
        """Behave as scripted for this text, then answer."""
        self._calls += 1
        if (die_on := self.spec.text("die_on")) and die_on in text:
            os._exit(23)
        if (hang_on := self.spec.text("hang_on")) and hang_on in text:
            threading.Event().wait()
        threading.Event().wait(self.spec.number("service_ms", 0) / 1000)
        _spin(int(self.spec.number("spin_ms", 0)))
        fail_every = int(self.spec.number("fail_every", 0))
        fail_on = self.spec.text("fail_on")
        if (fail_every and self._calls % fail_every == 0) or (fail_on and fail_on in text):
            raise EngineError(ErrorCode.PROCESSING_ERROR, "scripted to fail", retryable=True)
        return answer


def _spin(ms: int) -> None:
    """Hold the interpreter lock for about `ms` (0.1 ms a round on a machine of 2024), as a model in C would."""
    for _ in range(ms * 10):
        sum(range(8000))


class ScriptedAsr(_Scripted):
    def load(self) -> EngineCard:
        return self._card(Stage.ASR)

    def run(self, request: AsrRequest, emit: Emit) -> AsrResult:
        text = (self.spec.text("text") or echo(request.audio))[:_TEXT_CHARS_MAX]
        words = text.replace("][", "] [").split()
        for count in range(1, int(self.spec.number("partials", 0)) + 1):
            emit(" ".join(words[:count]))
        language = request.language or (request.candidates or self.languages)[0]
        found = AsrResult(
            text=text,
            language=language,
            language_probability=1.0,
            language_probabilities={language: 1.0},
            segments=(Segment(text, 0, len(request.audio)),) if text else (),
            quality=0.9,
            no_speech=not text,
            translation=f"[{request.translate_to}] {text}" if request.translate_to else None,
        )
        return self._act(text, found)


class ScriptedMt(_Scripted):
    def load(self) -> EngineCard:
        return self._card(Stage.MT)

    def run(self, request: MtRequest, emit: Emit) -> MtResult:
        del emit
        return self._act(request.text, MtResult(f"[{request.target}] {request.text}"))


class ScriptedTts(_Scripted):
    def load(self) -> EngineCard:
        return self._card(Stage.TTS)

    def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        at = np.arange(int(len(request.text) * _TONE_SAMPLES_PER_CHAR / request.rate))
        tone = (0.2 * np.sin(at * (2 * np.pi * 440 / _TONE_RATE))).astype(np.float32)
        return self._act(request.text, Speech(tone, _TONE_RATE))


class ScriptedSemantic(_Scripted):
    def load(self) -> EngineCard:
        return self._card(Stage.SEMANTIC)

    def run(self, request: SemanticRequest, emit: Emit) -> SemanticResult:
        del emit
        return self._act(request.text, SemanticResult(request.text))


def _make_asr(spec: EngineSpec) -> AsrEngine:
    return ScriptedAsr(spec)


def _make_mt(spec: EngineSpec) -> MtEngine:
    return ScriptedMt(spec)


def _make_tts(spec: EngineSpec) -> TtsEngine:
    return ScriptedTts(spec)


def _make_semantic(spec: EngineSpec) -> SemanticEngine:
    return ScriptedSemantic(spec)


_OPTIONS = (
    *("service_ms", "spin_ms", "fail_every", "fail_on", "hang_on", "die_on", "partials", "text", "languages", "pairs"),
    *("translates_to", "timeout_s", "max_chars", "max_audio_s", "load_fails"),
)
_ABOUT = "no model: answers by rule, for tests"

KINDS = (
    EngineKind(name="scripted-asr", stage=Stage.ASR, about=_ABOUT, make=_make_asr),
    EngineKind(name="scripted-mt", stage=Stage.MT, about=_ABOUT, make=_make_mt),
    EngineKind(name="scripted-tts", stage=Stage.TTS, about=_ABOUT, make=_make_tts),
    EngineKind(name="scripted-semantic", stage=Stage.SEMANTIC, about=_ABOUT, make=_make_semantic),
)
