"""WebSockets of our own: one connection as an `asyncio.BufferedProtocol` around `protocol/websocket.py`.

Theory of operation. What comes is read into one buffer that all connections share, and parsed before the call returns.
A frame goes straight to its handler where nothing waits before it; while the handler is at work frames wait in the
inbox, and past `INBOX_BYTES_MAX` nothing is read until it is empty, so that the peer has to wait. What is sent goes
straight to the transport until that has more than its water mark; then it waits in the queue, which can be thrown away.

| at the end | what happens |
|---|---|
| we close | queue (for `CLOSE_TIMEOUT_S`), close frame, theirs or `CLOSE_TIMEOUT_S`, end |
| the peer closes | its close frame is answered at once, end |
| the peer breaks a rule | close frame; what it still sends is dropped for `CLOSE_TIMEOUT_S`: a reset eats frames |
| end | the transport closes; a peer that does not take what it holds is cut off after `LINGER_S` |
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from lingua_scheduler.protocol import websocket
from lingua_scheduler.protocol.websocket import FrameParser, Unmask
from lingua_scheduler.runtime.sockets import (
    CLOSE_TIMEOUT_S,
    INTERNAL_ERROR,
    LINGER_S,
    QUEUE_BYTES_MAX,
    TRY_AGAIN_LATER,
    Extra,
    Frame,
    Handle,
    Work,
)

try:
    # Unmasking is the one thing that needs C, and this much of it comes with aiohttp. Its name there is not public.
    from aiohttp._websocket.mask import _websocket_mask_cython as _unmask_in_c  # pyright: ignore[reportUnknownVariableType]
except ImportError:
    _unmask_in_c = None

unmask = cast("Unmask", _unmask_in_c or websocket.unmask)
BUFFER_BYTES = 256 << 10
INBOX_BYTES_MAX = 128 << 10
FRAME_OVERHEAD = 64
"""What a frame in the inbox or the queue takes beside its payload: the bounds hold for empty ones, too."""
JOINED_BYTES_MAX = 64 << 10
"""Larger payloads are not copied behind their head."""


_Heard = Frame | websocket.Ping


def new_buffer() -> memoryview:
    """For all connections of one loop: a call that fills it also reads it, and no other comes between."""
    return memoryview(bytearray(BUFFER_BYTES))


def _size(frame: _Heard) -> int:
    return FRAME_OVERHEAD + (len(frame) if isinstance(frame, str | bytes) else 0)


class Endpoint(asyncio.BufferedProtocol):
    """A `Socket`. It begins after the handshake: `begin` makes it the transport's protocol."""

    def __init__(self, transport: asyncio.Transport, buffer: memoryview, frame_bytes_max: int) -> None:
        loop = asyncio.get_running_loop()
        self.is_closed = False
        self._loop = loop
        self._transport = transport
        self._buffer = buffer
        self._parser = FrameParser(frame_bytes_max, unmask)
        self._handle: Handle | None = None
        self._idle: asyncio.Future[Work | None] | None = None
        """Set while the handler has nothing to do: a frame may go straight to it."""
        self._inbox: deque[_Heard] = deque()
        self._inbox_bytes = 0
        self._is_over = False
        """No frame comes any more."""
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._queued_bytes = 0
        self._is_paused = False
        """The transport wants no more at present."""
        self._closing: tuple[int, str] | None = None
        self._is_close_sent = False
        self._timer: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = loop.create_future()

    # ------------------------------------------------------------------------------- what the socket is asked

    @property
    def queued_bytes(self) -> int:
        return self._queued_bytes

    def send_text_nowait(self, data: bytes) -> bool:
        return self._put(websocket.TEXT, data)

    def send_binary_nowait(self, data: bytes) -> bool:
        return self._put(websocket.BINARY, data)

    def ping_nowait(self) -> bool:
        return self._put(websocket.PING, b"")

    async def serve(self, handle: Handle) -> None:
        self._handle = handle
        while True:
            while self._inbox:
                frame = self._inbox.popleft()
                self._inbox_bytes -= _size(frame)
                if (work := self._give(handle, frame)) is not None:
                    await work
            if self._is_over:
                return
            self._go_on_reading()
            self._idle = idle = self._loop.create_future()
            try:
                work = await idle
            except asyncio.CancelledError:
                if idle.done() and not idle.cancelled() and (work := idle.result()) is not None:
                    work.close()
                raise
            if work is not None:
                await work

    def close_nowait(self, code: int, reason: str) -> None:
        if self._closing is not None or self.is_closed:
            return
        self.is_closed = True
        self._closing = code, reason
        if self._queue:
            self._later(CLOSE_TIMEOUT_S, self._send_close)
        else:
            self._send_close()

    async def wait_closed(self) -> None:
        self.close_nowait(INTERNAL_ERROR, "")
        try:
            await asyncio.shield(self._lost)
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def begin(self, rest: bytes) -> None:
        """Take the connection over, with what came behind the handshake."""
        # A transport that reads must be stopped to learn that its next protocol brings a buffer.
        self._transport.pause_reading()
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        self._read(memoryview(rest))

    # ------------------------------------------------------------------------------- what the transport tells

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._read(self._buffer[:nbytes])

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        while self._queue and not self._is_paused:
            head, data = self._queue.popleft()
            self._queued_bytes -= len(data) + FRAME_OVERHEAD
            self._write(head, data)
        if not self._queue and self._closing is not None:
            self._send_close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._timer is not None:
            self._timer.cancel()
        self._end()
        if not self._lost.done():
            self._lost.set_result(None)

    # ------------------------------------------------------------------------------- frames in

    def _read(self, data: memoryview) -> None:
        parser = self._parser
        events = parser.feed(data)
        if parser.parts:
            self._hear(Extra(parser.parts))
            parser.parts = 0
        for event in events:
            match event:
                case str() | bytes() | websocket.Pong() | websocket.Ping():
                    self._hear(event)
                case websocket.Close(code, _):
                    self._answer_close(code)
                case websocket.Violation(code, reason):
                    self._closing = code, reason
                    self._send_close()
                    if self._transport.can_write_eof() and not self._transport.is_closing():
                        self._transport.write_eof()  # a peer that waits for our end need not wait for the time

    def _hear(self, frame: _Heard) -> None:
        if self.is_closed:
            return
        idle = self._idle
        if idle is None or self._handle is None or idle.done():
            self._inbox.append(frame)
            self._inbox_bytes += _size(frame)
            if self._inbox_bytes > INBOX_BYTES_MAX and not self._transport.is_closing():
                self._transport.pause_reading()
            return
        try:
            work = self._give(self._handle, frame)
        except Exception as error:  # noqa: BLE001 - a bug: it is raised where the socket is served
            self._idle = None
            idle.set_exception(error)
            return
        if work is not None:
            self._idle = None
            idle.set_result(work)

    def _give(self, handle: Handle, frame: _Heard) -> Work | None:
        if isinstance(frame, websocket.Ping):
            self._put(websocket.PONG, frame.data)
            frame = Extra()
        return handle(frame)

    def _go_on_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # ------------------------------------------------------------------------------- frames out

    def _put(self, opcode: int, data: bytes) -> bool:
        if self.is_closed:
            return False
        if self._queued_bytes + len(data) > QUEUE_BYTES_MAX:
            self._drop_queue()
            self.close_nowait(TRY_AGAIN_LATER, "reader too slow")
            return False
        head = websocket.frame_head(opcode, len(data))
        if self._is_paused:
            self._queue.append((head, data))
            self._queued_bytes += len(data) + FRAME_OVERHEAD
        else:
            self._write(head, data)
        return True

    def _write(self, head: bytes, data: bytes) -> None:
        if len(data) > JOINED_BYTES_MAX:
            self._transport.writelines((head, data))
        else:
            self._transport.write(head + data)

    # ------------------------------------------------------------------------------- the end

    def _send_close(self) -> None:
        """Once; behind what the transport has."""
        if self._is_close_sent:
            return
        assert self._closing is not None
        self.is_closed = self._is_close_sent = True
        self._drop_queue()
        self._transport.write(websocket.close_frame(*self._closing))
        self._go_on_reading()
        self._end()
        self._later(CLOSE_TIMEOUT_S, self._shut)

    def _answer_close(self, code: int) -> None:
        self._closing = self._closing or (code, "")
        self._send_close()
        self._shut()

    def _shut(self) -> None:
        self._transport.close()
        self._later(LINGER_S, self._transport.abort)

    def _end(self) -> None:
        """Nothing comes any more: whoever serves may go."""
        self.is_closed = self._is_over = True
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._idle = None

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0

    def _later(self, after_s: float, what: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(after_s, what)
