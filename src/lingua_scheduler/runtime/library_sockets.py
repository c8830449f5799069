"""WebSockets by aiohttp: of the client and the node always, of the server where `server.websocket` says so."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from aiohttp import ClientWebSocketResponse, WSMsgType, web

from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.runtime.sockets import (
    CLOSE_TIMEOUT_S,
    LINGER_S,
    MAX_FRAME_BYTES,
    QUEUE_BYTES_MAX,
    TRY_AGAIN_LATER,
    Extra,
    Frame,
    Handle,
    Pong,
)


class LibrarySocket:
    """One open WebSocket, of a server or of a client: as `sockets.Socket`, and frames can be asked for one by one."""

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

    async def serve(self, handle: Handle) -> None:
        while (frame := await self._next()) is not None:
            if (work := handle(frame)) is not None:
                await work

    async def receive(self) -> str | bytes | Pong | None:
        """The next frame; None once the socket is closed, however that came about. Pings are answered here."""
        while isinstance(frame := await self._next(), Extra):
            pass
        return frame

    async def _next(self) -> Frame | None:
        message = await self._ws.receive()
        match message.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                return message.data
            case WSMsgType.PONG:
                return Pong()
            case WSMsgType.PING:
                self._put(message.data, WSMsgType.PONG)
                return Extra()
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


def as_response(denial: Denial) -> web.Response:
    response = web.Response(status=denial.status, text=denial.text)
    if denial.retry_after_s is not None:
        response.headers["Retry-After"] = str(denial.retry_after_s)
    return response


class LibraryCaller:
    """A request to a route of the application, as `sockets.Caller`."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.WebSocketResponse | None = None
        """What aiohttp wants its handler to return; None until `accept`."""

    @property
    def host(self) -> str:
        return self._request.host

    @property
    def origin(self) -> str | None:
        return self._request.headers.get("Origin")

    @property
    def protocols(self) -> list[str]:
        offered = self._request.headers.get("Sec-WebSocket-Protocol", "")
        return [one.strip() for one in offered.split(",")]

    @property
    def remote(self) -> str:
        return self._request.remote or ""

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        return self._request.transport

    async def accept(
        self, *, frame_bytes_max: int = MAX_FRAME_BYTES, subprotocols: Sequence[str] = ()
    ) -> LibrarySocket:
        ws = web.WebSocketResponse(
            protocols=subprotocols,
            max_msg_size=frame_bytes_max,
            autoping=False,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
        )
        await ws.prepare(self._request)
        self.response = ws
        transport = self._request.transport
        return LibrarySocket(ws, abort=transport.abort if transport else None)
