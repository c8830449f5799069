"""What models and codecs do for one job, stage by stage: decode, recognise, repair, translate, speak, encode.

Plain async code without state of its own: order, holding and merging belong to `lines`, queues and deadlines to the
engine host. Every failure comes out as a `StageError`; none becomes an empty success.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from lingua_scheduler.node.aggregation.audio_events import Batch
from lingua_scheduler.node.aggregation.direction import Direction
from lingua_scheduler.node.audio import DecodedJob, EncodedSpeech, SessionDecoder, TtsFormat, encode_speech
from lingua_scheduler.node.capabilities import serves_pair
from lingua_scheduler.node.engines.base import (
    AsrRequest,
    AsrResult,
    Audio,
    Emit,
    EngineError,
    MtRequest,
    SemanticRequest,
    Stage,
    TtsRequest,
    serves,
)
from lingua_scheduler.node.keeper import EngineKeeper
from lingua_scheduler.node.meter import PHASE_OF, Stopwatch
from lingua_scheduler.node.route import Route, is_same_language
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.audio import AudioFormat
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.node import JobAssign, JobPreview, NodeFault
from lingua_scheduler.runtime.logs import get_logger

SEMANTIC_SKIPPED = "SEMANTIC_SKIPPED"
"""Reason code: repair was asked for and did not happen; the text is as it was recognised."""

_log = get_logger("node.pipeline")
T = TypeVar("T")


class StageError(Exception):
    """A stage could not do its work for this job."""

    def __init__(self, stage: str, error: EngineError) -> None:
        super().__init__(f"{stage}: {error}")
        self.stage = stage
        self.error = error

    def fault(self) -> NodeFault:
        details = {"service": self.stage, "retryable": self.error.retryable}
        return NodeFault(code=self.error.code, message=self.error.message, details=details)


@dataclass(frozen=True, slots=True)
class Said:
    """The translation of one job."""

    text_asr: str
    text_translated: str
    direction: Direction
    speech: EncodedSpeech | None
    reason_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be said in other words: the recognised text, which way, and what was said before it."""

    text: str
    direction: Direction
    context: str
    translation: str | None
    """What recognition itself translated, if it did."""


class Pipeline:
    """The stages, on whatever engines the node has at the moment."""

    def __init__(self, engines: EngineKeeper) -> None:
        self._engines = engines

    async def decode(self, decoder: SessionDecoder, assign: JobAssign, audio: bytes, watch: Stopwatch) -> Audio:
        """The job's samples at 16 kHz. One call at a time for one decoder."""
        with watch.measure("decode"):
            decoded = await _decode(decoder, assign, audio)
        if decoded.bad_packets:
            _log.warning("packets were not Opus", job=assign.job_id, packets=decoded.bad_packets)
        return decoded.audio

    async def decode_piece(self, decoder: SessionDecoder, piece: JobPreview, audio: bytes) -> Audio:
        """The samples of a piece of an utterance; as `decode`."""
        return (await _decode(decoder, piece, audio)).audio

    async def glance(self, audio: Audio, route: Route) -> str | None:
        """What has been said so far, by a recogniser that has nothing else to do; None where there is none."""
        async with self._engines.use() as host:
            request = AsrRequest(audio, route.source, route.candidates)
            try:
                return (await host.asr(request)).text if host.may_glance(request) else None
            except EngineError as error:
                raise StageError(Stage.ASR, error) from error

    def heard_translation(self, route: Route) -> Language | None:
        """The language for recognition itself to translate into: only where no translation engine serves the way."""
        return _translate_to(self._engines.host, route)

    async def recognize(self, batch: Batch, route: Route, on_partial: Emit | None) -> AsrResult:
        """The text of one batch, and its translation where no other engine can give it."""
        async with self._engines.use() as host:
            request = AsrRequest(batch.joined(), route.source, route.candidates, _translate_to(host, route))
            return await _staged(Stage.ASR, host.asr(request, on_partial))

    async def say(self, wanted: Wanted, route: Route, audio_format: str, watch: Stopwatch) -> Said:
        """From the recognised text to its spoken translation."""
        reasons: list[str] = []
        async with self._engines.use() as host:
            text = wanted.text
            if route.use_semantic:
                text, skipped = await self._repair(host, wanted, watch)
                reasons += [SEMANTIC_SKIPPED] if skipped else []
            translated = ""
            if route.use_mt:
                translated = await self._translate(host, text, wanted, watch)
            speech = None
            if route.use_tts:
                spoken = (translated, wanted.direction.tgt) if route.use_mt else (text, wanted.direction.src)
                speech = await self._speak(host, *spoken, tts_format(audio_format), watch)
        return Said(text, translated, wanted.direction, speech, tuple(reasons))

    async def _repair(self, host: EngineHost, wanted: Wanted, watch: Stopwatch) -> tuple[str, bool]:
        """The mended text, or the text as it was and True."""
        request = SemanticRequest(wanted.text, wanted.direction.src, wanted.context)
        try:
            with watch.measure(PHASE_OF[Stage.SEMANTIC]):
                mended = (await host.repair(request)).text
        except EngineError as error:
            _log.warning("text was not repaired", code=error.code, cause=error.message)
            return wanted.text, True
        return (mended, False) if mended.strip() else (wanted.text, True)

    async def _translate(self, host: EngineHost, text: str, wanted: Wanted, watch: Stopwatch) -> str:
        if is_same_language(wanted.direction):
            return text
        if wanted.translation is not None and not _has_mt(host, wanted.direction):
            return wanted.translation
        request = MtRequest(text, wanted.direction.src, wanted.direction.tgt, wanted.context)
        with watch.measure(PHASE_OF[Stage.MT]):
            translated = (await _staged(Stage.MT, host.mt(request))).text
        if not translated.strip():
            raise StageError(Stage.MT, _empty("the translation of a text came back empty"))
        return translated

    async def _speak(
        self, host: EngineHost, text: str, language: Language, audio_format: TtsFormat, watch: Stopwatch
    ) -> EncodedSpeech | None:
        """None where the text has no sound, such as a lone punctuation mark."""
        with watch.measure(PHASE_OF[Stage.TTS]):
            speech = await _staged(Stage.TTS, host.tts(TtsRequest(text, language)))
        if not len(speech.audio):
            if any(one.isalnum() for one in text):
                raise StageError(Stage.TTS, _empty("the speech of a text came back empty"))
            return None
        with watch.measure("encode"):
            return await asyncio.to_thread(encode_speech, speech, audio_format, speech.sample_rate)


def tts_format(audio_format: str) -> TtsFormat:
    """Who speaks Opus hears Opus; whoever sends PCM gets WAV, which says its own rate: the voice's, not resampled."""
    return "opus" if audio_format.strip().lower() == "opus" else "wav"


def unsupported(host: EngineHost, route: Route) -> str | None:
    """Why this node cannot do a job, or None: none of the ways it may turn out to go is served."""
    if not route.use_asr:
        return "without recognition there is no text: a job carries audio alone"
    heard = host.languages(Stage.ASR)
    directions = route.directions() or tuple(Direction(source, route.target) for source in heard)
    if any(_serves(host, route, direction) for direction in directions):
        return None
    source = route.source or "+".join(route.candidates) or "auto"
    return f"{source} → {route.target} is not served here"


def _serves(host: EngineHost, route: Route, direction: Direction) -> bool:
    target = direction.tgt if route.use_mt else direction.src
    return serves_pair(host, direction.src, target, spoken=route.use_tts)


def _translate_to(host: EngineHost, route: Route) -> Language | None:
    if not route.use_mt:
        return None
    for direction in route.directions():
        needs_mt = not is_same_language(direction) and not _has_mt(host, direction)
        if needs_mt and host.hears_translated(direction.src, direction.tgt):
            return direction.tgt
    return None


def _has_mt(host: EngineHost, direction: Direction) -> bool:
    return any(serves((a,), direction.src) and serves((b,), direction.tgt) for a, b in host.mt_pairs())


async def _decode(decoder: SessionDecoder, message: JobAssign | JobPreview, audio: bytes) -> DecodedJob:
    audio_format = _audio_format(message.audio_format)
    try:
        return await asyncio.to_thread(decoder.decode, audio, audio_format, message.sample_rate)
    except EngineError as error:
        raise StageError("decode", error) from error


async def _staged(stage: Stage, call: Awaitable[T]) -> T:
    try:
        return await call
    except EngineError as error:
        raise StageError(stage, error) from error


def _audio_format(name: str) -> AudioFormat:
    match name.strip().lower():
        case "opus":
            return "opus"
        case "pcm16" | "pcm":
            return "pcm16"
        case _:
            message = f"audio in the format {name!r}: opus and pcm16 are understood"
            raise StageError("decode", EngineError(ErrorCode.INVALID_MESSAGE, message, retryable=False))


def _empty(message: str) -> EngineError:
    return EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True)
