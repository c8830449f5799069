"""The node's end of the connection to a scheduler: register, heartbeat, reconnect, and lose no result on the way.

One task reads, one beats, one watches; none of them ever waits for a model. What the node *is* (capabilities, load,
running jobs) comes from its `Agent`; what the scheduler asks goes to it.

| what ends a connection | what follows |
|---|---|
| nobody listens yet, the network, close 1001, 4001 … | again after a back-off with jitter, under the same node id |
| silence for four pings, 20 s | the same |
| close 4002 (another process registered this id), 4003, UNAUTHORIZED, INVALID_CAPABILITY_SCHEMA | `LinkRefused` |
| an address that is no scheduler's: HTTP 401, 403, 404 | `LinkRefused` |

Of several addresses each attempt takes the next in turn: a node whose instance is gone goes on at another of the fleet.
An outage is told once, however long it lasts. Results wait in the `Outbox` until the scheduler has read them; all other
messages speak of the moment and are dropped while there is no connection.
"""

import asyncio
import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec

from lingua_scheduler.node.backoff import Backoff
from lingua_scheduler.node.outbox import Outbox, Outgoing
from lingua_scheduler.node.tls import NodeTls
from lingua_scheduler.protocol.codec import decode_scheduler, encode, encode_result
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.messages import ErrorMessage, Wire
from lingua_scheduler.protocol.node import (
    ActiveJob,
    JobAssign,
    JobCancel,
    JobPreview,
    JobResult,
    NodeControl,
    NodeError,
    NodeHeartbeat,
    NodeRegister,
    NodeRegisterAck,
    SchedulerMessage,
)
from lingua_scheduler.runtime.config import ConfigError
from lingua_scheduler.runtime.library_sockets import LibrarySocket
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.sockets import Pong

MAX_FRAME_BYTES = 16 << 20
"""A job is at most some 4 MiB of audio, base64 adds a third."""
QUEUE_BYTES_MAX = 48 << 20
"""More than the outbox holds, so that sending all of it again never counts as a slow reader."""
CONNECT_TIMEOUT_S = 10.0
REGISTER_TIMEOUT_S = 15.0
PING_MS = 5_000
SILENT_PINGS_MAX = 4
"""Pings and not milliseconds: a process that was stopped for a while must not blame the other side for it."""

_CLOSE_REGISTER_AGAIN, _CLOSE_REPLACED, _CLOSE_FORBIDDEN = 4001, 4002, 4003
_FATAL_CODES = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.INVALID_CAPABILITY_SCHEMA})
_FATAL_STATUS = {
    401: "it wants other credentials",
    403: "it forbids access",
    404: "no scheduler answers under this path",
}

SPEECH_BYTES_MAX = 11 << 20
"""Of one result: as base64 in JSON it stays within the 16 MiB that schedulers take."""
SPEECH_TOO_LONG = "TTS_TOO_LONG"

_log = get_logger("node.link")


class LinkRefused(Exception):  # noqa: N818 - an answer of the other side, not a fault of this one
    """The scheduler will not have this node, and trying again cannot help. The message is one line for people."""


class Agent(Protocol):
    """What the link asks of the node. All of it is called on the loop and returns at once."""

    def registration(self) -> NodeRegister:
        """Without `node_id` and `active_jobs`, which the link adds."""
        ...

    def heartbeat(self) -> NodeHeartbeat: ...

    def active_jobs(self) -> list[ActiveJob]:
        """The jobs in hand, held ones included."""
        ...

    def registered(self) -> None:
        """The scheduler took the node; what it must know beside the registration may be sent now."""
        ...

    def receive(self, message: JobAssign | JobPreview | JobCancel | NodeControl, audio: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class LinkSettings:
    urls: tuple[str, ...]
    node_id: NodeId
    heartbeat_ms: int
    binary_audio: bool = True
    ping_ms: int = PING_MS
    silent_pings_max: int = SILENT_PINGS_MAX
    tls: NodeTls | None = None
    """None: as the machine does it, and no certificate shown."""


def addresses(text: str) -> tuple[str, ...]:
    """Those of a fleet's instances, with commas between them. ConfigError where one can be none."""
    urls = tuple(one.strip() for one in text.split(","))
    for url in urls:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError(f"{url!r} is not a scheduler's address: write ws://HOST:PORT/ws/node")
    return urls


class Link:
    """A connection that comes back. `run` owns it; everything else may be called at any time from the loop."""

    def __init__(self, settings: LinkSettings, agent: Agent, report: Callable[[str], None]) -> None:
        self.node_id = settings.node_id
        self.outbox = Outbox()
        self._settings = settings
        self._urls = itertools.cycle(settings.urls)
        self._url = settings.urls[0]
        """That of this attempt."""
        self._agent = agent
        self._report = report
        self._socket: LibrarySocket | None = None
        """Set while registered."""
        self._silent_pings = 0
        self._told = ""
        """The outage that people know of; empty while connected."""
        self._was_registered = False
        self._outbox_changed = asyncio.Event()

    @property
    def is_registered(self) -> bool:
        return self._socket is not None

    async def run(self) -> None:
        """Connect, and again, until cancelled. LinkRefused where the scheduler says that there is no point."""
        backoff = Backoff(random.Random())
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                self._url = next(self._urls)
                why = await self._connect(http, backoff)
                wait_ms = backoff.next_ms()
                if not self._told:
                    self._report(f"{why}; trying again until it answers")
                    self._told = why
                _log.debug("connection ended", cause=why, wait_ms=wait_ms)
                await asyncio.sleep(wait_ms / 1000)

    def send(self, message: Wire) -> bool:
        """Send now, or not at all where there is no connection."""
        return self._socket is not None and self._socket.send_text_nowait(encode(message))

    def send_result(self, result: JobResult, audio: bytes) -> None:
        """Send now or after the next registration; kept until the scheduler has read it.

        Of speech that no scheduler would read the text is sent alone: the frame would end each connection.
        """
        if len(audio) > SPEECH_BYTES_MAX:
            _log.warning("speech dropped: too long for a message", job=result.job_id, bytes=len(audio))
            reasons = [*(result.reason_codes or ()), SPEECH_TOO_LONG]
            result, audio = (
                msgspec.structs.replace(result, tts_format=None, tts_sample_rate=None, reason_codes=reasons),
                b"",
            )
        outgoing = Outgoing(result, audio)
        for dropped in self.outbox.add(outgoing):
            _log.warning("result dropped: too many wait for a scheduler", job=dropped.result.job_id)
        if self._socket is not None:
            self._post(self._socket, outgoing)
            self._ping(self._socket)

    def heartbeat_now(self) -> None:
        """Tell of a change at once; the regular beat goes on."""
        self.send(self._agent.heartbeat())

    def register_again(self) -> None:
        """Tell of new capabilities on the connection there is; the next one begins with them anyway."""
        self.send(self._registration())
        self.heartbeat_now()

    async def wait_delivered(self) -> None:
        """Until every result so far has been read by the scheduler."""
        while len(self.outbox):
            self._outbox_changed.clear()
            await self._outbox_changed.wait()

    # ------------------------------------------------------------------------------------- one connection

    async def _connect(self, http: aiohttp.ClientSession, backoff: Backoff) -> str:
        """One connection from its first byte to its end; why it ended."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                ws = await http.ws_connect(
                    self._url,
                    max_msg_size=MAX_FRAME_BYTES,
                    autoping=False,
                    autoclose=True,
                    compress=0,
                    ssl=True if self._settings.tls is None else self._settings.tls.context(),
                )
        except aiohttp.WSServerHandshakeError as error:
            if (reason := _FATAL_STATUS.get(error.status)) and not self._was_registered:
                raise LinkRefused(f"{self._url} answered HTTP {error.status}: {reason}") from None
            return f"{self._url} answered HTTP {error.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return f"no scheduler answers at {self._url} ({_cause(error)})"
        socket = LibrarySocket(ws, queue_bytes_max=QUEUE_BYTES_MAX)
        try:
            return await self._converse(socket, ws, backoff)
        finally:
            self._socket = None
            self.outbox.connection_lost()
            socket.close_nowait(1000, "")
            await socket.wait_closed()

    async def _converse(self, socket: LibrarySocket, ws: aiohttp.ClientWebSocketResponse, backoff: Backoff) -> str:
        try:
            async with asyncio.timeout(REGISTER_TIMEOUT_S):
                acknowledged = await self._register(socket)
        except TimeoutError:
            return f"{self._url} does not answer the registration"
        if not acknowledged:
            return self._ended(ws)
        backoff.succeeded()
        background = Scope(self._background_failed)
        background.start(self._beat(), "node-heartbeat")
        background.start(self._watch(socket), "node-watch")
        try:
            while (frame := await socket.receive()) is not None:
                self._silent_pings = 0
                self._on_frame(socket, frame)
        finally:
            await background.close()
        return self._ended(ws)

    async def _register(self, socket: LibrarySocket) -> bool:
        """Whether the scheduler took the node. What it says before the answer belongs to nobody and is left."""
        socket.send_text_nowait(encode(self._registration()))
        while (frame := await socket.receive()) is not None:
            if isinstance(frame, Pong) or (message := self._decode(frame)) is None:
                continue
            match message[0]:
                case NodeRegisterAck() as ack:
                    self._registered(socket, ack)
                    return True
                case ErrorMessage() as error:
                    self._on_error(error)
                case _:
                    _log.warning("message before the registration was answered", kind=type(message[0]).__name__)
        return False

    def _registration(self) -> NodeRegister:
        return msgspec.structs.replace(
            self._agent.registration(),
            node_id=self.node_id,
            binary_audio=self._settings.binary_audio,
            active_jobs=self._agent.active_jobs() + self.outbox.active_jobs(),
        )

    def _registered(self, socket: LibrarySocket, ack: NodeRegisterAck) -> None:
        if ack.node_id:
            self.node_id = NodeId(ack.node_id)
        self._socket = socket
        self._silent_pings = 0
        again = "again " if self._was_registered else ""
        self._report(f"registered {again}at {self._url} as {self.node_id}")
        self._was_registered = True
        self._told = ""
        self._agent.registered()
        self.heartbeat_now()
        for outgoing in self.outbox.waiting():
            self._post(socket, outgoing)
        self._ping(socket)

    def _ended(self, ws: aiohttp.ClientWebSocketResponse) -> str:
        code = ws.close_code
        if code == _CLOSE_REPLACED:
            raise LinkRefused(
                f"another process registered as {self.node_id} and took over; give each node its own --node-id"
            )
        if code == _CLOSE_FORBIDDEN:
            raise LinkRefused(f"{self._url} does not allow this node (close {code})")
        if code == _CLOSE_REGISTER_AGAIN:
            return "the scheduler asks the node to register again"
        return f"the connection to {self._url} was lost"

    # ------------------------------------------------------------------------------------- messages

    def _on_frame(self, socket: LibrarySocket, frame: str | bytes | Pong) -> None:
        if isinstance(frame, Pong):
            self._on_pong(socket)
        elif (message := self._decode(frame)) is not None:
            self._on_message(*message)

    def _on_message(self, message: SchedulerMessage, audio: bytes) -> None:
        match message:
            case NodeRegisterAck():
                return  # some schedulers repeat it when the status changes
            case ErrorMessage() as error:
                self._on_error(error)
            case JobAssign() | JobPreview() | JobCancel() | NodeControl():
                self._agent.receive(message, audio)

    def _on_error(self, error: ErrorMessage) -> None:
        _log.warning("the scheduler reports an error", code=error.code, detail=error.message)
        if error.code in _FATAL_CODES:
            raise LinkRefused(f"the scheduler refused the node: {error.code}: {error.message}")

    def _on_pong(self, socket: LibrarySocket) -> None:
        self.outbox.confirm()
        self._outbox_changed.set()
        if len(self.outbox):
            self._ping(socket)

    def _decode(self, frame: str | bytes) -> tuple[SchedulerMessage, bytes] | None:
        try:
            return decode_scheduler(frame)
        except PeerError as error:
            _log.warning("message of the scheduler not understood", cause=error.message)
            self.send(NodeError(node_id=self.node_id, code=error.code, message=error.message[:500]))
            return None

    def _post(self, socket: LibrarySocket, outgoing: Outgoing) -> None:
        result = msgspec.structs.replace(outgoing.result, node_id=self.node_id)
        frame = encode_result(result, outgoing.audio, binary=self._settings.binary_audio)
        if isinstance(frame, str):
            socket.send_text_nowait(frame.encode())
        else:
            socket.send_binary_nowait(frame)

    def _ping(self, socket: LibrarySocket) -> None:
        if self.outbox.cover():
            socket.ping_nowait()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_ms / 1000)
            self.heartbeat_now()

    async def _watch(self, socket: LibrarySocket) -> None:
        """Close a connection on which even pings are not answered: the network dropped it without a word."""
        while True:
            await asyncio.sleep(self._settings.ping_ms / 1000)
            self._silent_pings += 1
            if self._silent_pings > self._settings.silent_pings_max:
                socket.close_nowait(1001, "no answer")
                return
            self._ping(socket)

    def _background_failed(self, name: str, error: BaseException) -> None:
        _log.error("a task of the link failed", task=name, cause=repr(error))
        if self._socket is not None:
            self._socket.close_nowait(1011, "internal error")


def _cause(error: Exception) -> str:
    """Why a connection did not come about, in the system's own words where it has some."""
    if isinstance(error, TimeoutError):
        return "timed out"
    os_error = getattr(error, "os_error", error)
    number = getattr(os_error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return str(getattr(os_error, "strerror", None) or error or type(error).__name__).splitlines()[0]
