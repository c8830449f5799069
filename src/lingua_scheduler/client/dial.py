"""Opens the WebSocket of a client: an address as people write it, and a clear word where it cannot be reached."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import aiohttp

from lingua_scheduler.client.errors import ClientError
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.library_sockets import LibrarySocket

SESSION_PATH = "/ws/session"
MAX_FRAME_BYTES = 16 << 20
"""The spoken translation of a long utterance as base64 WAV has some 2 MiB."""
CONNECT_TIMEOUT_S = 10.0

_SCHEMES = {"": "ws", "ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}
_STATUS = {
    401: "it wants credentials",
    403: "it forbids access",
    404: "no scheduler answers under this path",
    503: "it takes no new sessions now",
}


def session_url(text: str) -> str:
    """The address of the session endpoint: `ws://host:5010/ws/session` for `host:5010` or `http://host:5010`.

    A path of its own is kept. ClientError where the text is no address.
    """
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = urlsplit(""), False
    if not usable:
        raise ClientError(ErrorCode.WS_DISCONNECTED, f"{text!r} is not a scheduler's address: write ws://HOST:PORT")
    path = parts.path if parts.path not in ("", "/") else SESSION_PATH
    query = f"?{parts.query}" if parts.query else ""
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}{path}{query}"


@contextlib.asynccontextmanager
async def dial(url: str) -> AsyncGenerator[LibrarySocket]:
    """An open socket, closed with the block. ClientError WS_DISCONNECTED, in one line, where none can be had."""
    async with aiohttp.ClientSession() as http:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                ws = await http.ws_connect(url, max_msg_size=MAX_FRAME_BYTES, autoping=False, compress=0)
        except aiohttp.WSServerHandshakeError as error:
            what = _STATUS.get(error.status, "this is no scheduler's answer")
            raise ClientError(ErrorCode.WS_DISCONNECTED, f"{url} answered HTTP {error.status}: {what}") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = f"no scheduler answers at {url} ({_cause(error)})"
            raise ClientError(ErrorCode.WS_DISCONNECTED, message) from None
        socket = LibrarySocket(ws)
        try:
            yield socket
        finally:
            socket.close_nowait(1000, "")
            await socket.wait_closed()


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    inner = getattr(error, "os_error", error)
    if isinstance(inner, OSError) and inner.errno is not None and inner.errno > 0:
        return os.strerror(inner.errno).lower()  # asyncio's own text names the address a second time
    text = getattr(inner, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
