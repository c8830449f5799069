"""The seam to the WebSocket library: frames in, frames out, a bounded queue to a slow reader.

Only this file and `scheduler/http.py` know that aiohttp serves the port (docs/decisions/001). Compression is never
negotiated: speech does not compress, and a small frame must not be able to unfold into a large one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, web

MAX_FRAME_BYTES = 1 << 20
"""1 MiB: four base64 seconds of PCM16 take 0.2. Larger frames close the socket with 1009."""
QUEUE_BYTES_MAX = 8 << 20
"""What may wait for one slow reader: some eighty spoken sentences. Past it the socket closes with 1013."""
CLOSE_TIMEOUT_S = 2.0
LINGER_S = 5.0
"""A peer that reads nothing gets this long to find the close frame behind what it left unread; then it is cut off."""

INTERNAL_ERROR = WSCloseCode.INTERNAL_ERROR
SESSION_TAKEN_OVER = 4000
NOT_ALLOWED = 4003
GOING_AWAY = WSCloseCode.GOING_AWAY
TRY_AGAIN_LATER = WSCloseCode.TRY_AGAIN_LATER


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to `ping_nowait`."""


Frame = str | bytes | Pong


class Socket:
    """One open WebSocket. Text frames are `str`, binary frames `bytes`."""

    def __init__(
        self,
        ws: web.WebSocketResponse | ClientWebSocketResponse,
        *,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        abort: Callable[[], None] | None = None,
    ) -> None:
        """`abort` drops the connection at once; without it a peer that never reads holds it for good."""
        self._ws = ws
        self._abort = abort
        self._queue_bytes_max = queue_bytes_max
        self._queue: deque[tuple[bytes, WSMsgType]] = deque()
        self._queued_bytes = 0
        self._writable = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._writer = asyncio.get_running_loop().create_task(self._write(), name="socket-writer")
        self._closing: asyncio.Task[None] | None = None
        self.is_closed = False

    @property
    def response(self) -> web.WebSocketResponse:
        """What aiohttp wants its handler to return."""
        assert isinstance(self._ws, web.WebSocketResponse), "a client's socket has no response"
        return self._ws

    @property
    def queued_bytes(self) -> int:
        """What the reader has not taken yet."""
        return self._queued_bytes

    def send_text_nowait(self, data: bytes) -> bool:
        """Queue one text frame (UTF-8). False where the socket is closed, or closes now as its reader is too slow."""
        return self._put(data, WSMsgType.TEXT)

    def send_binary_nowait(self, data: bytes) -> bool:
        return self._put(data, WSMsgType.BINARY)

    def ping_nowait(self) -> bool:
        return self._put(b"", WSMsgType.PING)

    async def receive(self) -> Frame | None:
        """The next frame; None once the socket is closed, however that came about. Pings are answered here."""
        while True:
            message = await self._ws.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    return message.data
                case WSMsgType.PONG:
                    return Pong()
                case WSMsgType.PING:
                    self._put(message.data, WSMsgType.PONG)
                case _:
                    self.is_closed = True
                    return None

    def close_nowait(self, code: int, reason: str) -> None:
        """Send what is queued as far as the reader takes it, then close. Repeats are ignored."""
        if self._closing is None:
            self.is_closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason), name="socket-close")

    async def wait_drained(self) -> None:
        """Until the reader has taken all that is queued, or the socket is closed."""
        await self._drained.wait()

    async def wait_closed(self) -> None:
        """End the writer and wait for a close that is under way."""
        self.is_closed = True
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        self._drained.set()

    def _put(self, data: bytes, kind: WSMsgType) -> bool:
        if self.is_closed:
            return False
        if self._queued_bytes + len(data) > self._queue_bytes_max:
            self._queue.clear()
            self.close_nowait(TRY_AGAIN_LATER, "reader too slow")
            return False
        self._queue.append((data, kind))
        self._queued_bytes += len(data)
        self._drained.clear()
        self._writable.set()
        return True

    async def _write(self) -> None:
        while True:
            while self._queue:
                data, kind = self._queue.popleft()
                try:
                    await self._ws.send_frame(data, kind)
                except (ConnectionError, RuntimeError):
                    # The reading side sees the same end and tells it; nothing is lost here that a peer could still get.
                    self._queue.clear()
                    self._queued_bytes = 0
                    self._drained.set()
                    return
                self._queued_bytes -= len(data)
            self._drained.set()
            self._writable.clear()
            await self._writable.wait()

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._drained.wait()
        except TimeoutError:
            # The reader takes nothing: what is queued cannot reach it, and the close frame would stand behind it.
            # Closing waits for the peer to take what the transport holds, which may be never. (The writer is left
            # alone: it waits for the same future in aiohttp as closing will, and would take that with it.)
            self._queue.clear()
            if self._abort is not None:
                asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S + LINGER_S, self._abort)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._ws.close(code=code, message=reason.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError):
            # A peer that does not answer the close frame is dropped when its handler returns.
            return


async def accept(
    request: web.Request, *, frame_bytes_max: int = MAX_FRAME_BYTES, subprotocols: Sequence[str] = ()
) -> Socket:
    """Upgrade an HTTP request. The handler owns the socket and calls `wait_closed` at its end."""
    ws = web.WebSocketResponse(
        protocols=subprotocols,
        max_msg_size=frame_bytes_max,
        autoping=False,
        compress=False,
        timeout=CLOSE_TIMEOUT_S,
    )
    await ws.prepare(request)
    transport = request.transport
    return Socket(ws, abort=transport.abort if transport else None)
