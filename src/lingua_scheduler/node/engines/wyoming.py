"""Recognition and speech output by Wyoming services (the protocol of Home Assistant's voice programs).

`wyoming-asr:tcp://127.0.0.1:10300`, `wyoming-tts:unix:///run/piper.sock`. Events are a line of JSON, then JSON of
`data_length` bytes, then `payload_length` bytes of sound; each call has a connection of its own. Languages come from
what the service describes, or from the option `languages`.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

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
    EngineError,
    Limits,
    Segment,
    Speech,
    Stage,
    TtsRequest,
    from_pcm16,
    primary,
)
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language

_CONNECT_S: Final = 5.0
_DESCRIBE_S: Final = 10.0
_LINE_BYTES_MAX: Final = 1 << 20
_BODY_BYTES_MAX: Final = 32 << 20
"""Of one call's sound and data together."""
_CHUNK_SAMPLES: Final = ASR_RATE
_UNKNOWN_QUALITY: Final = 0.7
"""The protocol says nothing of how sure a service was."""


@dataclass(frozen=True, slots=True)
class _Event:
    type: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    payload: bytes = b""

    def encode(self) -> bytes:
        data = json.dumps(self.data).encode()
        head = {"type": self.type, "data_length": len(data), "payload_length": len(self.payload)}
        return json.dumps(head).encode() + b"\n" + data + self.payload


class _Head(msgspec.Struct):
    type: str
    data: dict[str, Any] | None = None
    data_length: int | None = None
    payload_length: int | None = None


class _Model(msgspec.Struct):
    """A model of recognition or a voice."""

    languages: list[str] = []


class _Program(msgspec.Struct):
    name: str = "wyoming"
    models: list[_Model] = []
    voices: list[_Model] = []


class _Info(msgspec.Struct):
    asr: list[_Program] = []
    tts: list[_Program] = []


_HEAD = msgspec.json.Decoder(_Head)
_DATA = msgspec.json.Decoder(dict[str, Any])


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._left = _BODY_BYTES_MAX

    async def send(self, *events: _Event) -> None:
        for event in events:
            self._writer.write(event.encode())
            await self._writer.drain()

    async def next(self) -> _Event:
        """The next event. ValueError or EOFError where what comes is no event or too much."""
        line = await self._reader.readline()
        if not line:
            raise EOFError("it closed the connection")
        head = _HEAD.decode(line)
        data = (head.data or {}) | _DATA.decode(await self._body(head.data_length) or b"{}")
        return _Event(head.type, data, await self._body(head.payload_length))

    async def _body(self, length: int | None) -> bytes:
        size = length or 0
        if not 0 <= size <= self._left:
            raise ValueError(f"an event of {size} bytes")
        self._left -= size
        return await self._reader.readexactly(size)


class _Service:
    """What both stages share."""

    def __init__(self, spec: EngineSpec, *options: str) -> None:
        spec.only("languages", "concurrency", "timeout_s", *options)
        self.spec = spec
        self._address = urlsplit(spec.argument if "://" in spec.argument else f"tcp://{spec.argument}")
        try:
            reachable = self._address.path if self._address.scheme == "unix" else self._address.port
        except ValueError:
            reachable = None
        if self._address.scheme not in {"tcp", "unix"} or not reachable:
            raise bad_spec(f"{spec.name} wants an address: {spec.name}:tcp://127.0.0.1:10300 or unix:///path")

    async def close(self) -> None:
        return

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[_Connection]:
        """A connection for one call; its faults, and those of what it says, become EngineErrors."""
        reader, writer = await self._open()
        try:
            yield _Connection(reader, writer)
        except (OSError, EOFError, ValueError, KeyError) as error:
            message = f"{self.spec.argument} broke off: {type(error).__name__}: {error}"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True) from error
        finally:
            writer.transport.abort()

    async def describe(self) -> _Info:
        try:
            async with asyncio.timeout(_DESCRIBE_S), self.connect() as connection:
                await connection.send(_Event("describe"))
                while (event := await connection.next()).type != "info":
                    continue
                return msgspec.convert(event.data, _Info)
        except (TimeoutError, EngineError) as error:
            if isinstance(error, EngineError) and error.code is ErrorCode.MODEL_NOT_AVAILABLE:
                raise
            message = f"{self.spec.argument} does not describe itself as a Wyoming service does"
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=True) from error

    def card(self, stage: Stage, programs: list[_Program]) -> EngineCard:
        told = [code for one in programs for model in (*one.models, *one.voices) for code in model.languages]
        known = [code for one in told if (code := language(one)) is not None]
        served = self.spec.languages() or tuple(dict.fromkeys(known))
        if not served:
            message = f"{self.spec.argument} names no language for {stage}: say languages=en+pt"
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=False)
        return EngineCard(
            name=f"{programs[0].name if programs else 'wyoming'} at {self.spec.argument}",
            stage=stage,
            languages=served,
            limits=Limits(timeout_s=self.spec.number("timeout_s", 15.0), timeout_per_audio_s=2.0),
            concurrency=max(1, int(self.spec.number("concurrency", 2))),
        )

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(_CONNECT_S):
                if self._address.scheme == "unix":
                    return await asyncio.open_unix_connection(self._address.path, limit=_LINE_BYTES_MAX)
                return await asyncio.open_connection(self._address.hostname, self._address.port, limit=_LINE_BYTES_MAX)
        except (OSError, TimeoutError) as error:
            message = f"{self.spec.argument} is not there: {type(error).__name__}: {error}"
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=True) from error


class WyomingAsr(_Service):
    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._languages: tuple[Language, ...] = ()

    async def load(self) -> EngineCard:
        card = self.card(Stage.ASR, (await self.describe()).asr)
        self._languages = card.languages
        return card

    async def run(self, request: AsrRequest, emit: Emit) -> AsrResult:
        wanted = {"language": primary(request.language)} if request.language is not None else {}
        async with self.connect() as connection:
            await connection.send(_Event("transcribe", wanted), *_sound(request.audio))
            partial = ""
            while (event := await connection.next()).type != "transcript":
                if event.type == "transcript-chunk":
                    partial += str(event.data.get("text", ""))
                    emit(partial)
                elif event.type == "error":
                    raise _told(self.spec, event)
        text = str(event.data.get("text") or "").strip()
        text = text if any(one.isalnum() for one in text) else ""
        told = language(str(event.data.get("language") or ""))
        spoken = request.language or told or (request.candidates or self._languages)[0]
        return AsrResult(
            text=text,
            language=spoken,
            language_probability=1.0,
            language_probabilities={one: float(one == spoken) for one in request.candidates} or {spoken: 1.0},
            segments=(Segment(text, 0, len(request.audio)),) if text else (),
            quality=_UNKNOWN_QUALITY if text else 0.0,
            no_speech=not text,
        )


class WyomingTts(_Service):
    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec, "voice")

    async def load(self) -> EngineCard:
        return self.card(Stage.TTS, (await self.describe()).tts)

    async def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        name = request.voice or self.spec.text("voice")
        voice = {"name": name} if name else {"language": request.language}
        rate, parts = 0, list[bytes]()
        async with self.connect() as connection:
            await connection.send(_Event("synthesize", {"text": request.text, "voice": voice}))
            while (event := await connection.next()).type != "audio-stop":
                if event.type == "audio-start":
                    rate = _rate(event)
                elif event.type == "audio-chunk":
                    rate = rate or _rate(event)
                    parts.append(event.payload)
                elif event.type == "error":
                    raise _told(self.spec, event)
        if not rate:
            message = f"{self.spec.argument} sent no sound"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True)
        return Speech(from_pcm16(b"".join(parts)), rate)


def _sound(audio: Audio) -> list[_Event]:
    """The samples as the protocol's events, a second in each."""
    kind = {"rate": ASR_RATE, "width": 2, "channels": 1}
    pcm = np.rint(np.clip(audio * 32768.0, -32768, 32767)).astype("<i2")
    parts = [pcm[at : at + _CHUNK_SAMPLES].tobytes() for at in range(0, len(pcm), _CHUNK_SAMPLES)]
    return [_Event("audio-start", kind), *(_Event("audio-chunk", kind, part) for part in parts), _Event("audio-stop")]


def _rate(event: _Event) -> int:
    if event.data.get("width", 2) != 2 or event.data.get("channels", 1) != 1:
        raise ValueError("sound that is not 16-bit mono")
    return int(event.data["rate"])


def _told(spec: EngineSpec, event: _Event) -> EngineError:
    message = f"{spec.argument}: {event.data.get('text', 'error')}"
    return EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True)


def _make_asr(spec: EngineSpec) -> AsyncEngine[AsrRequest, AsrResult]:
    return WyomingAsr(spec)


def _make_tts(spec: EngineSpec) -> AsyncEngine[TtsRequest, Speech]:
    return WyomingTts(spec)


KINDS = (
    EngineKind(
        name="wyoming-asr",
        stage=Stage.ASR,
        about="recognition by a Wyoming service: wyoming-asr:tcp://127.0.0.1:10300",
        make_async=_make_asr,
    ),
    EngineKind(
        name="wyoming-tts",
        stage=Stage.TTS,
        about="speech by a Wyoming service: wyoming-tts:tcp://127.0.0.1:10200; option voice",
        make_async=_make_tts,
    ),
)
