"""The seam to whatever serves WebSockets: frames in, frames out, a bounded queue to a slow reader.

Behind it: `endpoint.py`, our own, or `library_sockets.py`, by aiohttp (`server.websocket`; docs/decisions/018).
Neither negotiates compression: speech does not compress, and a small frame must not be able to unfold into a large one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lingua_scheduler.protocol.websocket import Pong

MAX_FRAME_BYTES = 1 << 20
"""1 MiB: four base64 seconds of PCM16 take 0.2. Larger messages close the socket with 1009."""
QUEUE_BYTES_MAX = 8 << 20
"""What may wait for one slow reader: some eighty spoken sentences. Past it the socket closes with 1013."""
CLOSE_TIMEOUT_S = 2.0
LINGER_S = 5.0
"""A peer that reads nothing gets this long to find the close frame behind what it left unread; then it is cut off."""

GOING_AWAY, INTERNAL_ERROR, TRY_AGAIN_LATER = 1001, 1011, 1013
SESSION_TAKEN_OVER, NOT_ALLOWED = 4000, 4003


@dataclass(frozen=True, slots=True)
class Extra:
    """Frames that say nothing to whoever serves, and cost time: pings, which are answered, and parts of messages."""

    count: int = 1


Frame = str | bytes | Pong | Extra
Work = Coroutine[Any, Any, None]
Handle = Callable[[Frame], Work | None]
"""Handles a frame at once, or begins to: the next frame is handled when the work that it returns has been done."""


class Socket(Protocol):
    """One open WebSocket of the server. Text frames are `str`, binary frames `bytes`."""

    @property
    def is_closed(self) -> bool:
        """Nothing that is sent now arrives."""
        ...

    @property
    def queued_bytes(self) -> int:
        """What the reader has not taken yet."""
        ...

    def send_text_nowait(self, data: bytes) -> bool:
        """Queue one text frame (UTF-8). False where the socket is closed, or closes now as its reader is too slow."""
        ...

    def send_binary_nowait(self, data: bytes) -> bool: ...

    def ping_nowait(self) -> bool: ...

    async def serve(self, handle: Handle) -> None:
        """Hand over one frame after the other, in order, until the socket is closed, however that comes about.

        Pings are answered without asking, and told as `Extra`; so are parts of messages, by our own endpoint alone.
        What `handle` or its work raises ends the serving and is raised here.
        """
        ...

    def close_nowait(self, code: int, reason: str) -> None:
        """Send what is queued as far as the reader takes it, then close. Repeats are ignored."""
        ...

    async def wait_closed(self) -> None:
        """The end of the one who serves: wait for a close that is under way."""
        ...


class Caller(Protocol):
    """Somebody who asks for a WebSocket. Who neither accepts nor refuses drops the connection."""

    @property
    def host(self) -> str:
        """As it calls us."""
        ...

    @property
    def origin(self) -> str | None:
        """The page that asks; None where no browser does."""
        ...

    @property
    def protocols(self) -> list[str]:
        """Subprotocols that it offers."""
        ...

    @property
    def remote(self) -> str:
        """Its address, also behind proxies that are trusted; "" where it has none."""
        ...

    @property
    def transport(self) -> asyncio.BaseTransport | None: ...

    async def accept(self, *, frame_bytes_max: int = MAX_FRAME_BYTES, subprotocols: Sequence[str] = ()) -> Socket:
        """Upgrade. Of `subprotocols`, the first that it offers is taken. Its end is to be waited for: `wait_closed`."""
        ...
