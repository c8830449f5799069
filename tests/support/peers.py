"""Peers of a scheduler for tests: a client and a node that say exactly what a test wants, over real WebSockets."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.store.store import Store
from tests.support.waiting import wait_until

M = TypeVar("M")
RECEIVE_S = 15.0
"""Generous: it bounds a broken test, it does not measure."""


class Peer:
    """One WebSocket and all that came over it, in order."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.received: list[Any] = []

    async def send(self, message: wire.Wire) -> None:
        await self.ws.send_str(codec.encode(message).decode())

    def _decode(self, frame: str | bytes) -> Any:
        raise NotImplementedError

    async def next(self) -> Any:
        """The next message; an AssertionError where the socket closes instead."""
        message = await self.ws.receive(timeout=RECEIVE_S)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise AssertionError(f"the socket ended ({message.type}, {message.data}, {message.extra})")
        decoded = self._decode(message.data)
        self.received.append(decoded)
        return decoded

    async def wait_for(self, kind: type[M], matches: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of a kind, passing over the others (they stay in `received`)."""
        while True:
            message = await self.next()
            if isinstance(message, kind) and matches(message):
                return message

    async def wait_closed(self) -> int | None:
        """Read to the end of the socket; the close code it was sent."""
        while True:
            message = await self.ws.receive(timeout=RECEIVE_S)
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.received.append(self._decode(message.data))
                continue
            # Not `close_code`: that is 1006 where our own reply to the close frame found the socket gone.
            return message.data if message.type is WSMsgType.CLOSE else self.ws.close_code


class ClientPeer(Peer):
    """A client that says what it is told to."""

    session_id = ""
    seq = 0

    def _decode(self, frame: str | bytes) -> Any:
        return codec.decode_server(frame)

    async def open(self, src: str = "en", tgt: str = "pt", **fields: Any) -> wire.SessionInitAck:
        fields = {"client_version": "test", "platform": "test", "audio_format": "pcm16", **fields}
        await self.send(wire.SessionInit(src_lang=src, tgt_lang=tgt, **fields))
        ack = await self.wait_for(wire.SessionInitAck)
        self.session_id = ack.session_id
        return ack

    async def speak(self, ms: int, *, is_final: bool = True, level: int = 1000) -> None:
        """Some PCM16 at 16 kHz, the final with it unless told otherwise."""
        audio = level.to_bytes(2, "little", signed=True) * (16 * ms)
        await self.chunk(codec.encode_audio(audio) if ms else None, is_final=is_final)

    async def chunk(self, payload: str | None, *, is_final: bool) -> None:
        self.seq += 1
        await self.send(wire.AudioChunk(session_id=self.session_id, seq=self.seq, is_final=is_final, payload=payload))


class NodePeer(Peer):
    """A node that answers only when the test says so."""

    node_id = ""
    is_selectable: Callable[[str], Awaitable[bool]] | None = None
    """Tells whether the store has taken the node's heartbeat, which nothing on the wire says."""

    def _decode(self, frame: str | bytes) -> Any:
        return codec.decode_scheduler(frame)[0]

    async def register(self, node_id: str = "node-a", **fields: Any) -> node_wire.NodeRegisterAck:
        """Register and send the first heartbeat: the node is selectable when this returns."""
        await self.send(registration(node_id, **fields))
        ack = await self.wait_for(node_wire.NodeRegisterAck)
        self.node_id = ack.node_id
        await self.heartbeat()
        if (asked := self.is_selectable) is not None:
            await wait_until(lambda: asked(self.node_id), f"{self.node_id} to be selectable")
        return ack

    async def heartbeat(self, **usage: Any) -> None:
        await self.send(
            node_wire.NodeHeartbeat(node_id=self.node_id, timestamp=0, resource_usage=node_wire.ResourceUsage(**usage))
        )

    async def take_job(self) -> node_wire.JobAssign:
        return await self.wait_for(node_wire.JobAssign)

    async def answer(self, job: node_wire.JobAssign, text: str = "", **fields: Any) -> None:
        """A successful result unless `fields` say otherwise."""
        text = text or f"utterance {job.utterance_index}"
        fields = {"success": True, "text_asr": text, "text_translated": f"<{text}>", **fields}
        await self.send(
            node_wire.JobResult(
                job_id=job.job_id,
                attempt_id=fields.pop("attempt_id", job.attempt_id),
                node_id=self.node_id,
                session_id=job.session_id,
                utterance_index=job.utterance_index,
                trace_id=job.trace_id,
                **fields,
            )
        )


def registration(node_id: str | None, src: str = "en", tgt: str = "pt", **fields: Any) -> node_wire.NodeRegister:
    """A faultless registration for one pair, with what `fields` say otherwise."""
    defaults: dict[str, Any] = {
        "version": "test",
        "platform": "linux",
        "hardware": node_wire.Hardware(cpu_cores=1, memory_gb=1.0),
        "installed_models": [],
        "capability_by_type": [node_wire.Capability(type=kind, ready=True) for kind in ("asr", "nmt", "tts")],
        "features_supported": {},
        "accept_public_jobs": True,
        "language_capabilities": node_wire.LanguageCapabilities(
            asr_languages=[src], semantic_languages=[src], tts_languages=[tgt]
        ),
        "protocol_version": "2",
        "capacity": 4,
    }
    return node_wire.NodeRegister(node_id=node_id, **{**defaults, **fields})


class Peers:
    """Opens peers of one scheduler and closes them all at the end."""

    def __init__(self, url: str, http: ClientSession, store: Store | None) -> None:
        self._url = url
        self._http = http
        self._store = store
        self._open: list[Peer] = []
        """A peer that a test lets go stays on the line: aiohttp closes a socket that nobody holds."""

    @classmethod
    @asynccontextmanager
    async def of(cls, url: str, store: Store | None = None) -> AsyncGenerator[Self]:
        async with ClientSession() as http:
            yield cls(url, http, store)

    async def client(self) -> ClientPeer:
        client = ClientPeer(await self._http.ws_connect(f"{self._url}/ws/session"))
        self._open.append(client)
        return client

    async def node(self) -> NodePeer:
        node = NodePeer(await self._http.ws_connect(f"{self._url}/ws/node", max_msg_size=16 << 20))
        if (store := self._store) is not None:

            async def is_selectable(node_id: str) -> bool:
                return any(one.node_id == node_id and one.pairs for one in await store.nodes.snapshot())

            node.is_selectable = is_selectable
        self._open.append(node)
        return node
