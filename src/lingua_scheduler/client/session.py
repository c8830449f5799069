"""The client library: `connect`, speak, and read what comes back.

    async with connect("ws://127.0.0.1:5010", src="en", tgt="pt") as session:
        await session.send_audio(pcm)          # 16 kHz mono PCM16, any length, at the pace it is spoken
        await session.send_final()             # this utterance ends here
        session.finish()                       # nothing more to say
        async for event in session.events():   # ends when everything said has been answered
            ...

This is the shell around `machine`: it opens sockets, encodes frames, and keeps a queue for the application. Everything
here runs on the loop that entered `connect`.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lingua_scheduler import __version__
from lingua_scheduler.client import events as ev
from lingua_scheduler.client.dial import dial, session_url
from lingua_scheduler.client.errors import ClientError
from lingua_scheduler.client.machine import ClientMachine, Limits
from lingua_scheduler.client.rooms import Request, RoomCalls
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.audio import PCM16_BYTES_PER_SAMPLE, AudioFormat
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.messages import ClientMessage, Pipeline, SessionInit, SessionInitAck
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.library_sockets import LibrarySocket
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.sockets import Pong
from lingua_scheduler.runtime.timers import Timers

PROTOCOL_VERSION = "1.1"
SAMPLE_RATE = 16_000
CHUNK_BYTES_MAX = SAMPLE_RATE * PCM16_BYTES_PER_SAMPLE
"""A second: longer audio is sent as several chunks, so that no frame comes near the limit of 1 MiB."""
UNSENT_BYTES_MAX = 256 << 10
"""What may wait for the network before `send_audio` does."""
EVENTS_MAX = 256
"""Events that wait for the application. Past it the socket is not read: nothing is dropped, the scheduler waits too."""

if TYPE_CHECKING:
    from lingua_scheduler.client.sound import OpusEncoder

_log = get_logger("client.session")


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a session may ask for beside its languages."""

    audio_format: AudioFormat = "pcm16"
    binary: bool = True
    mode: Literal["one_way", "two_way_auto"] | None = None
    lang_a: str | None = None
    lang_b: str | None = None
    enable_streaming_asr: bool | None = None
    partial_update_interval_ms: int | None = None
    pipeline: Pipeline | None = None
    tenant_id: str | None = None
    trace_id: str | None = None
    traceparent: str | None = None
    """W3C trace context: the scheduler's spans of all utterances hang below it."""
    token: str | None = field(default=None, repr=False)
    """What shows who one is, where the scheduler asks."""
    platform: str = "python"
    limits: Limits = field(default_factory=Limits)


@contextlib.asynccontextmanager
async def connect(
    url: str | Sequence[str], *, src: str, tgt: str, options: SessionOptions | None = None
) -> AsyncGenerator["Session"]:
    """An open session. ClientError, with one line for people, where it cannot be opened.

    Of several addresses the first that answers opens it; a lost connection is resumed at the next one, and so on in
    turn: whichever instance of a fleet is asked goes on with the session.
    Leaving the block before `events` has ended abandons what is not answered yet.
    """
    urls = [session_url(one) for one in ([url] if isinstance(url, str) else url)]
    session = Session(urls, src, tgt, options or SessionOptions())
    try:
        await session.wait_open()
        yield session
    finally:
        await session.close()


class Session(RoomCalls):
    """One conversation. Made by `connect`."""

    def __init__(self, urls: Sequence[str], src: str, tgt: str, options: SessionOptions) -> None:
        self._urls = itertools.cycle(urls)
        self._encoder = _opus_encoder() if options.audio_format == "opus" else None
        clock = Clock()
        self._timers = Timers(clock)
        self._scope = Scope(self._task_failed)
        self._machine = ClientMachine(
            _init(src, tgt, options), options.limits, random.Random(), clock.epoch_ms(), addresses=len(urls)
        )
        self._driver: Driver[ev.ClientEvent, ev.ClientEffect] = Driver(
            self._machine, self._perform, ev.TimeReached(), self._timers, clock, self._crashed
        )
        self._line: _Line | None = None
        self._told: asyncio.Queue[ev.SessionEvent | None] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._queue_taken = asyncio.Event()
        self._is_ended = False
        self._error: ClientError | None = None
        self.sent_samples = 0
        """Length of the session's audio time line so far."""
        self._driver.post(ev.Started())

    @property
    def ack(self) -> SessionInitAck:
        """How the session was opened: its id, what was negotiated, and in `message` what to warn people of."""
        assert self._machine.ack is not None
        return self._machine.ack

    async def send_audio(self, pcm: bytes) -> None:
        """Send 16 kHz mono PCM16 of any length (whole samples); it may be empty.

        Waits while the scheduler takes no more and the ring of unacknowledged audio is full. Raises ClientError once
        the session is over.
        """
        if len(pcm) % PCM16_BYTES_PER_SAMPLE:
            raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples")
        for at in range(0, len(pcm), CHUNK_BYTES_MAX):
            piece = pcm[at : at + CHUNK_BYTES_MAX]
            audio, samples = self._encoder.encode(piece) if self._encoder else (piece, len(piece) // 2)
            self.sent_samples += samples
            await self._speak(audio, is_final=False)

    async def send_final(self) -> None:
        """End the utterance here. Without audio since the last one it changes nothing. Waits as `send_audio`."""
        audio, samples = self._encoder.flush() if self._encoder else (b"", 0)
        self.sent_samples += samples
        await self._speak(audio, is_final=True)

    def finish(self) -> None:
        """Say that no more audio comes. What was sent is concluded; then `events` ends. Repeats change nothing."""
        self._driver.post(ev.FinishRequested())

    async def events(self) -> AsyncIterator[ev.SessionEvent]:
        """Everything the scheduler says and what befalls the connection. Ends after `finish`, with ClientError else."""
        while True:
            event = await self._told.get()
            self._queue_taken.set()
            if event is None:
                self._told.put_nowait(None)  # for whoever else reads
                if self._error is not None:
                    raise self._error
                return
            yield event

    async def wait_open(self) -> None:
        await self._opened.wait()
        if self._machine.ack is None and self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Leave; what is not answered yet is given up."""
        self._driver.post(ev.Abandoned())
        self._queue_taken.set()
        if self._line is not None:
            await self._line.wait_closed()
        await self._scope.close()
        self._timers.close()

    # ------------------------------------------------------------------------------------- out

    def _ask(self, request: Request) -> None:
        self._driver.post(ev.RoomAsked(request))

    async def _speak(self, audio: bytes, *, is_final: bool) -> None:
        await self._has_room.wait()
        if self._is_ended:
            raise self._error or ClientError(ErrorCode.SESSION_CLOSED, "the session is over")
        if audio or is_final:
            self._driver.post(ev.AudioSpoken(audio, is_final))
            if not self._machine.has_room:
                self._has_room.clear()
        if self._line is not None:
            await self._line.wait_writable()

    def _perform(self, effect: ev.ClientEffect) -> None:
        match effect:
            case ev.Dial():
                self._line = _Line(next(self._urls), self._driver.post, self._wait_queue)
                self._line.task = self._scope.start(self._line.run(), "client-line")
            case ev.HangUp():
                if self._line is not None:
                    self._line.hang_up(effect.code, effect.reason)
            case ev.Send():
                assert self._line is not None
                self._line.send(effect.message)
            case ev.Tell():
                if isinstance(effect.event, SessionInitAck):
                    self._opened.set()
                else:
                    self._told.put_nowait(effect.event)
            case ev.MakeRoom():
                self._has_room.set()
            case ev.End():
                self._end(effect.error)

    def _end(self, error: ClientError | None) -> None:
        self._is_ended = True
        self._error = error
        self._opened.set()
        self._has_room.set()
        self._told.put_nowait(None)

    async def _wait_queue(self) -> None:
        """Until the application has taken enough."""
        while self._told.qsize() >= EVENTS_MAX and not self._is_ended:
            self._queue_taken.clear()
            await self._queue_taken.wait()

    def _crashed(self, error: Exception, story: list[str]) -> None:
        _log.error("the session's machine failed", cause=repr(error), story=story)
        if self._line is not None:
            self._line.hang_up(1011, "client error")
        self._end(ClientError(ErrorCode.INTERNAL_ERROR, f"the client failed: {error!r}"))

    def _task_failed(self, name: str, error: BaseException) -> None:
        _log.error("a task of the session failed", task=name, cause=repr(error))
        self._driver.stop()
        self._end(ClientError(ErrorCode.INTERNAL_ERROR, f"the client failed: {error!r}"))


class _Line:
    """One attempt to have a socket, and the socket. Silent once hung up."""

    def __init__(
        self, url: str, post: Callable[[ev.ClientEvent], None], wait_queue: Callable[[], Awaitable[None]]
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self._url = url
        self._post = post
        self._wait_queue = wait_queue
        self._socket: LibrarySocket | None = None
        self._is_hung_up = False

    async def run(self) -> None:
        reason = "the connection was lost"
        try:
            async with dial(self._url) as socket:
                self._socket = socket
                self._tell(ev.SocketOpened())
                await self._read(socket)
        except ClientError as error:
            reason = str(error)
        self._tell(ev.SocketLost(reason))

    def send(self, message: ClientMessage | codec.BinaryChunk | codec.BinaryPing) -> None:
        """Without a socket, or after its end, the frame goes nowhere: `SocketLost` is on its way."""
        if self._socket is None:
            return
        match message:
            case codec.BinaryChunk():
                self._socket.send_binary_nowait(codec.encode_chunk(message))
            case codec.BinaryPing():
                self._socket.send_binary_nowait(codec.encode_ping(message))
            case _:
                self._socket.send_text_nowait(codec.encode(message))

    def hang_up(self, code: int, reason: str) -> None:
        self._is_hung_up = True
        if self._socket is not None:
            self._socket.close_nowait(code, reason)
        elif self.task is not None:
            self.task.cancel()

    async def wait_writable(self) -> None:
        """Until the network has taken most of what was sent."""
        if self._socket is not None and self._socket.queued_bytes > UNSENT_BYTES_MAX:
            await self._socket.wait_drained()

    async def wait_closed(self) -> None:
        if self.task is not None:
            await asyncio.wait([self.task])

    async def _read(self, socket: LibrarySocket) -> None:
        while (frame := await socket.receive()) is not None:
            if isinstance(frame, Pong):
                continue
            try:
                message = codec.decode_server(frame)
            except PeerError as error:
                # Newer schedulers may say more than this client knows.
                _log.warning("message of the scheduler not understood", cause=error.message)
                continue
            self._tell(ev.MessageArrived(message))
            await self._wait_queue()

    def _tell(self, event: ev.ClientEvent) -> None:
        if not self._is_hung_up:
            self._post(event)


def _init(src: str, tgt: str, options: SessionOptions) -> SessionInit:
    return SessionInit(
        client_version=f"lingua-python/{__version__}",
        platform=options.platform,
        src_lang=src,
        tgt_lang=tgt,
        protocol_version=PROTOCOL_VERSION,
        audio_format=options.audio_format,
        sample_rate=SAMPLE_RATE,
        binary=options.binary,
        mode=options.mode,
        lang_a=options.lang_a,
        lang_b=options.lang_b,
        enable_streaming_asr=options.enable_streaming_asr,
        partial_update_interval_ms=options.partial_update_interval_ms,
        pipeline=options.pipeline,
        tenant_id=options.tenant_id,
        trace_id=options.trace_id,
        traceparent=options.traceparent,
        token=options.token,
    )


def _opus_encoder() -> "OpusEncoder":
    # PyAV is an extra: a client that sends PCM16 does without.
    from lingua_scheduler.client.sound import OpusEncoder  # noqa: PLC0415

    return OpusEncoder()
