"""Speech recognition by Whisper models in CTranslate2 form (faster-whisper's), greedy, on short windows.

Whisper's encoder expects 30 seconds; padding a sentence to that length costs eight times the work it needs. The short
window encodes the speech and three seconds of empty frames after it (with one second the model invents words); option
`window=full` pads to 30 s. A text that repeats itself is decoded once more on the full window. Longer audio is cut at
its quietest places. One encoding serves both recognition and Whisper's own translation into English.

Decoding is always greedy with temperature 0 and without text of earlier windows: the usual retries at rising
temperatures once took 19 s for one sentence.
"""

import math
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from lingua_scheduler.node.aggregation.writing import bare, join, tokens
from lingua_scheduler.node.engines import whisper_models
from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrEngine,
    AsrRequest,
    AsrResult,
    Audio,
    Emit,
    EngineCard,
    EngineError,
    Limits,
    Segment,
    Stage,
    primary,
)
from lingua_scheduler.node.engines.kind import EngineKind, missing_module
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

_ENGLISH = Language("en")
_FULL_FRAMES = 3000
_FRAME_SAMPLES = 160
_TAIL_FRAMES = 300
_WINDOW_SAMPLES = (_FULL_FRAMES - _TAIL_FRAMES) * _FRAME_SAMPLES
_CUT_SEARCH_SAMPLES = 5 * ASR_RATE
_CUT_RMS_SAMPLES = ASR_RATE // 10
_TOKENS_PER_S = 12
"""Fast speech has about 6 tokens a second; Chinese up to 10."""
_TOKENS_SPARE = 20
_PROMPT_TOKENS = 100
_LIKELY_LANGUAGES = 5
# The thresholds of Whisper's reference decoder.
_NO_SPEECH_PROBABILITY = 0.6
_NO_SPEECH_LOGPROB = -1.0
_LOOP_COMPRESSION = 2.4
_LOOP_TIMES = 3
_LOOP_QUALITY = 0.2
_STYLE = {"zh": "以下是普通话的句子。"}
"""Without it the multilingual models often write Chinese in traditional characters and without punctuation."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    text: str
    logprob: float
    """Mean natural logarithm of the probability of its tokens."""
    no_speech_probability: float


class Whisper:
    """Options: device=cpu|cuda, compute_type, threads, window=short|full, device_index."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("device", "device_index", "compute_type", "threads", "window")
        self._spec = spec
        self._device = spec.text("device", "cpu")
        self._compute_type = spec.text("compute_type", "int8" if self._device == "cpu" else "float16")
        self._short = spec.text("window", "short") != "full"
        self._model: Any = None
        self._tokenizers: dict[tuple[str, str], Any] = {}

    def load(self) -> EngineCard:
        source = whisper_models.find(self._spec.argument)
        self._model = whisper_models.open_model(
            source,
            device=self._device,
            device_index=int(self._spec.number("device_index", 0)),
            compute_type=self._compute_type,
            threads=int(self._spec.number("threads", 1)),
        )
        multilingual = bool(self._model.model.is_multilingual)
        known = self._known_languages() if multilingual else (_ENGLISH,)
        self.run(AsrRequest(np.zeros(ASR_RATE, np.float32), language=known[0]), lambda _text: None)
        return EngineCard(
            name=f"whisper {source.name} ({self._device}, {self._compute_type})",
            stage=Stage.ASR,
            languages=known,
            translates_to=(_ENGLISH,) if multilingual else (),
            limits=Limits(max_audio_s=120.0, timeout_s=10.0, timeout_per_audio_s=2.0),
            streams=True,
            notes=()
            if source.verified
            else (f"the weights of {source.name} are the user's own: no checksum is known",),
        )

    def run(self, request: AsrRequest, emit: Emit) -> AsrResult:
        language, probability, likely = None if request.language is None else primary(request.language), 1.0, None
        segments: list[Segment] = []
        translations: list[str] = []
        qualities: list[tuple[float, int]] = []
        start = 0
        for window in cut_quiet(request.audio):
            encoded = self._encode(window, short=self._short)
            if language is None:
                language, probability, likely = self._detect(encoded, request.candidates)
            decoded = self._decode_sound(encoded, window, language, request.prompt)
            if decoded is not None:
                segments.append(Segment(decoded.text, start, start + len(window)))
                qualities.append((_quality(decoded), len(window)))
                emit(join([one.text for one in segments]))
                if request.translate_to is not None:  # the host asks for what the card offers
                    translations.append(self._decode_firmly(encoded, window, "translate", language, "").text)
            start += len(window)
        language = language or (request.candidates or (_ENGLISH,))[0]
        return AsrResult(
            text=join([one.text for one in segments]),
            language=language,
            language_probability=probability,
            language_probabilities=likely or {language: probability},
            segments=tuple(segments),
            quality=_weighted(qualities),
            no_speech=not segments,
            translation=join(translations) if request.translate_to is not None else None,
        )

    def _known_languages(self) -> tuple[Language, ...]:
        """The languages that the vocabulary has a token for (`yue` came late), which excludes what cannot be asked."""
        token_of = self._model.hf_tokenizer.token_to_id
        return tuple(Language(code) for code in self._model.supported_languages if token_of(f"<|{code}|>") is not None)

    def _encode(self, window: Audio, *, short: bool) -> Any:
        import ctranslate2

        mel = self._model.feature_extractor(window)[:, :_FULL_FRAMES]
        frames = min(_FULL_FRAMES, mel.shape[1] + _TAIL_FRAMES) if short else _FULL_FRAMES
        frames += frames % 2
        padded = np.pad(mel, ((0, 0), (0, frames - mel.shape[1])))
        batch = np.ascontiguousarray(padded[np.newaxis], dtype=np.float32)
        return self._model.model.encode(ctranslate2.StorageView.from_array(batch), to_cpu=False)

    def _detect(
        self, encoded: Any, candidates: tuple[Language, ...]
    ) -> tuple[Language, float, dict[Language, float] | None]:
        if not self._model.model.is_multilingual:
            return _ENGLISH, 1.0, {one: float(primary(one) == _ENGLISH) for one in candidates} or None
        ranked = {Language(token[2:-2]): float(p) for token, p in self._model.model.detect_language(encoded)[0]}
        if candidates:
            likely = {one: ranked.get(primary(one), 0.0) for one in candidates}
        else:
            likely = dict(list(ranked.items())[:_LIKELY_LANGUAGES])
        best = max(likely, key=lambda one: likely[one])
        return primary(best), likely[best], likely

    def _decode_sound(self, encoded: Any, window: Audio, language: Language, prompt: str) -> _Decoded | None:
        """The text of one window, or None where nobody spoke."""
        decoded = self._decode_firmly(encoded, window, "transcribe", language, prompt)
        silent = decoded.no_speech_probability > _NO_SPEECH_PROBABILITY and decoded.logprob < _NO_SPEECH_LOGPROB
        return None if silent or not any(one.isalnum() for one in decoded.text) else decoded

    def _decode_firmly(self, encoded: Any, window: Audio, task: str, language: Language, prompt: str) -> _Decoded:
        """One text; where it goes round in circles, the full window's."""
        decoded = self._decode(encoded, window, task, language, prompt)
        if self._short and _loops(decoded.text):
            decoded = self._decode(self._encode(window, short=False), window, task, language, prompt)
        return decoded

    def _decode(self, encoded: Any, window: Audio, task: str, language: Language, prompt: str) -> _Decoded:
        tokenizer = self._tokenizer(task, language)
        before = prompt or (_STYLE.get(language, "") if task == "transcribe" else "")
        tokens = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        if before:
            tokens = [tokenizer.sot_prev, *tokenizer.encode(" " + before.strip())[-_PROMPT_TOKENS:], *tokens]
        new_tokens = _TOKENS_SPARE + len(window) * _TOKENS_PER_S // ASR_RATE
        found = self._model.model.generate(
            encoded,
            [tokens],
            beam_size=1,
            max_length=min(448, len(tokens) + new_tokens),
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        text = str(tokenizer.decode(found.sequences_ids[0])).strip()
        return _Decoded(text, float(found.scores[0]), float(found.no_speech_prob))

    def _tokenizer(self, task: str, language: Language) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        made = self._tokenizers.get((task, language))
        if made is None:
            multilingual = self._model.model.is_multilingual
            try:
                made = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
            except ValueError as error:
                raise EngineError(ErrorCode.UNSUPPORTED_FEATURE, f"whisper: {error}", retryable=False) from error
            self._tokenizers[task, language] = made
        return made


def cut_quiet(audio: Audio, longest_samples: int = _WINDOW_SAMPLES) -> list[Audio]:
    """Pieces of at most `longest_samples`, nothing lost, cut at the quietest 100 ms of a piece's last 5 s."""
    pieces: list[Audio] = []
    while len(audio) > longest_samples:
        tail = audio[longest_samples - _CUT_SEARCH_SAMPLES : longest_samples]
        blocks = tail[: len(tail) // _CUT_RMS_SAMPLES * _CUT_RMS_SAMPLES].reshape(-1, _CUT_RMS_SAMPLES)
        quietest = int(np.argmin(np.square(blocks).mean(axis=1)))
        at = longest_samples - _CUT_SEARCH_SAMPLES + quietest * _CUT_RMS_SAMPLES + _CUT_RMS_SAMPLES // 2
        pieces.append(audio[:at])
        audio = audio[at:]
    return [*pieces, audio] if len(audio) else pieces


def _loops(text: str) -> bool:
    """Whether a text repeats itself as models do, seldom people: it packs too well, or has a phrase three times."""
    raw = text.encode()
    # Hyphens part words here: tiny.en, at a word cut in two by the clock, goes on with "ill-sp-sp-sp-sp".
    words = [bare(one) for one in tokens(text.replace("-", " "))]
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    return len(raw) / len(zlib.compress(raw)) > _LOOP_COMPRESSION or any(n >= _LOOP_TIMES for n in phrases.values())


def _quality(decoded: _Decoded) -> float:
    quality = min(1.0, math.exp(decoded.logprob))
    return min(quality, _LOOP_QUALITY) if _loops(decoded.text) else quality


def _weighted(qualities: list[tuple[float, int]]) -> float:
    total = sum(samples for _, samples in qualities)
    return sum(quality * samples for quality, samples in qualities) / total if total else 0.0


def _missing(spec: EngineSpec) -> str | None:
    return missing_module("faster_whisper", "asr") or whisper_models.missing(spec.argument)


def _make(spec: EngineSpec) -> AsrEngine:
    return Whisper(spec)


KIND = EngineKind(
    name="whisper",
    stage=Stage.ASR,
    about="Whisper: tiny.en or base from a package, or a folder with a CTranslate2 model; options device, "
    "compute_type, threads, window",
    make=_make,
    missing=_missing,
)
