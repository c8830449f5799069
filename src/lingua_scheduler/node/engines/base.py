"""What every engine is to the node: the stages, their requests and results, what an engine says of itself, its errors.

An engine is one of two shapes. A *blocking* engine (`Engine`) is made, loaded and called in a worker process of its
own, one call at a time: it may hold the interpreter lock, hang or crash. A *remote* engine (`AsyncEngine`) only waits
for a network service and runs on the node's loop, several calls at a time. Both answer the same requests with the same
results; queues, deadlines, length limits and replacement belong to the host (`node.workers`), never to an engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

Audio: TypeAlias = npt.NDArray[np.float32]
"""Mono samples, one dimension, full scale ±1.0. Read-only by agreement: nobody writes into what was handed over."""

ASR_RATE = 16_000
"""Samples a second of all audio that goes into recognition."""


class Stage(StrEnum):
    """A step of the pipeline that a model does, by its name on the wire."""

    ASR = "asr"
    MT = "nmt"
    TTS = "tts"
    SEMANTIC = "semantic"


class EngineError(Exception):
    """A stage could not do its work. `retryable`: the same request may succeed later or on another node."""

    def __init__(self, code: ErrorCode, message: str, *, retryable: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable


@dataclass(frozen=True, slots=True, eq=False)
class AsrRequest:
    """One stretch of speech, 16 kHz. `language` None: the engine decides, among `candidates` where there are any."""

    audio: Audio
    language: Language | None = None
    candidates: tuple[Language, ...] = ()
    translate_to: Language | None = None
    """Ask for a translation out of the same decoding; only for engines whose card names it in `translates_to`."""
    prompt: str = ""
    """Text that came just before, as a hint of vocabulary and style. It never appears in the result."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the recognised text and where it was spoken, in samples from the start of the request's audio."""

    text: str
    start_samples: int
    end_samples: int


@dataclass(frozen=True, slots=True)
class AsrResult:
    """What was said. `text` is empty exactly where `no_speech` is true."""

    text: str
    language: Language
    language_probability: float
    """1.0 where the request named the language."""
    language_probabilities: Mapping[Language, float]
    """The likeliest languages, or all `candidates`; sums to at most 1."""
    segments: tuple[Segment, ...]
    quality: float
    """0 to 1: the mean probability that the model gave its own words."""
    no_speech: bool
    translation: str | None = None


@dataclass(frozen=True, slots=True)
class MtRequest:
    """Text to translate. `context` is what was said before: it may steer the words and never appears in the result."""

    text: str
    source: Language
    target: Language
    context: str = ""


@dataclass(frozen=True, slots=True)
class MtResult:
    text: str


@dataclass(frozen=True, slots=True)
class TtsRequest:
    """Text to speak. `voice` is the engine's own name of a voice; empty or unknown: its usual voice of the language."""

    text: str
    language: Language
    voice: str = ""
    rate: float = 1.0
    """Speed of speech against the voice's own, 0.5 to 2.0."""


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    audio: Audio
    sample_rate: int

    @property
    def duration_ms(self) -> int:
        return len(self.audio) * 1000 // self.sample_rate


@dataclass(frozen=True, slots=True)
class SemanticRequest:
    """A recognised text to mend (misheard words, punctuation) without changing what it says."""

    text: str
    language: Language
    context: str = ""


@dataclass(frozen=True, slots=True)
class SemanticResult:
    text: str


Request: TypeAlias = AsrRequest | MtRequest | TtsRequest | SemanticRequest
Result: TypeAlias = AsrResult | MtResult | Speech | SemanticResult

REQUEST_TYPES: Mapping[Stage, type[Request]] = {
    Stage.ASR: AsrRequest,
    Stage.MT: MtRequest,
    Stage.TTS: TtsRequest,
    Stage.SEMANTIC: SemanticRequest,
}
RESULT_TYPES: Mapping[Stage, type[Result]] = {
    Stage.ASR: AsrResult,
    Stage.MT: MtResult,
    Stage.TTS: Speech,
    Stage.SEMANTIC: SemanticResult,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may ask, and how long it may take before its engine counts as hung.

    The host cuts longer texts at sentence borders into several calls; longer audio it refuses.
    """

    max_chars: int = 400
    max_audio_s: float = 120.0
    timeout_s: float = 10.0
    timeout_per_audio_s: float = 0.0
    """Seconds more for each second of audio in the request."""


@dataclass(frozen=True, slots=True)
class EngineCard:
    """What a loaded engine says of itself. The node's capabilities, routing and console lines come from it alone."""

    name: str
    """For people, with the model: `whisper tiny.en (cpu, int8)`."""
    stage: Stage
    languages: tuple[Language, ...] = ()
    """What it recognises, speaks or mends. Empty for translation, which has pairs."""
    pairs: tuple[tuple[Language, Language], ...] = ()
    """Directed pairs (from, to) that it translates."""
    translates_to: tuple[Language, ...] = ()
    """Recognition only: languages into which it translates straight from speech."""
    limits: Limits = field(default_factory=Limits)
    streams: bool = False
    """Recognition only: it emits partial texts while it works, and may be asked again and again while speech grows."""
    concurrency: int = 1
    """Remote engines: calls at a time. A blocking engine serves one; more of them are more processes."""
    notes: tuple[str, ...] = ()
    """What a person should know: a fallback in use, an unchecked model."""


Emit: TypeAlias = Callable[[str], None]
"""Takes the partial text so far, which replaces the one before. It must not raise."""

RequestT_contra = TypeVar("RequestT_contra", bound=Request, contravariant=True)
ResultT_co = TypeVar("ResultT_co", bound=Result, covariant=True)


class Engine(Protocol[RequestT_contra, ResultT_co]):
    """A blocking engine. Its methods are called from the main thread of a process that it has for itself.

    It is never closed: its process is killed. What it starts must end when its pipes do.
    """

    def load(self) -> EngineCard:
        """Bring the model into memory and warm it up. EngineError MODEL_… names the file or package and the remedy."""
        ...

    def run(self, request: RequestT_contra, emit: Emit) -> ResultT_co:
        """Do one request. Any exception but EngineError becomes PROCESSING_ERROR; the process goes on."""
        ...


class AsyncEngine(Protocol[RequestT_contra, ResultT_co]):
    """A remote engine on the node's loop. Cancelling `run` must leave it usable; blocking in it stops the heartbeat."""

    async def load(self) -> EngineCard: ...

    async def run(self, request: RequestT_contra, emit: Emit) -> ResultT_co: ...

    async def close(self) -> None: ...


AsrEngine: TypeAlias = Engine[AsrRequest, AsrResult]
MtEngine: TypeAlias = Engine[MtRequest, MtResult]
TtsEngine: TypeAlias = Engine[TtsRequest, Speech]
SemanticEngine: TypeAlias = Engine[SemanticRequest, SemanticResult]
AnyEngine: TypeAlias = AsrEngine | MtEngine | TtsEngine | SemanticEngine
AnyAsyncEngine: TypeAlias = (
    AsyncEngine[AsrRequest, AsrResult]
    | AsyncEngine[MtRequest, MtResult]
    | AsyncEngine[TtsRequest, Speech]
    | AsyncEngine[SemanticRequest, SemanticResult]
)


def from_pcm16(pcm: bytes) -> Audio:
    """Samples out of little-endian 16-bit PCM; a last odd byte is left out."""
    whole = np.frombuffer(pcm, dtype="<i2", count=len(pcm) // 2)
    return np.multiply(whole, np.float32(1 / 32768), dtype=np.float32)


def primary(language: Language) -> Language:
    """The language without region or script: `pt` of `pt-br`."""
    return Language(language.partition("-")[0])


def serves(languages: tuple[Language, ...], wanted: Language) -> bool:
    """Whether `languages` has `wanted`, or has it with either side's region left out (`pt` serves `pt-br`)."""
    return any(offered in {wanted, primary(wanted)} or primary(offered) == wanted for offered in languages)
