"""`/ws/session`: one connection of a client, bound to the one session it opened.

Frames are handled in the order they come. Whatever a client sends, the worst it gets is an `error` and the worst
that it loses is that frame; a bug in its session ends the session, not the connection's siblings.
"""

from aiohttp import web

from lingua_scheduler.core.session import events as session
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError
from lingua_scheduler.protocol.ids import SessionId, TraceId, valid_id
from lingua_scheduler.runtime import ids, sockets
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.opening import read_opening, read_utterance
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions

_log = get_logger("scheduler.clients")

RoomMessage = (
    wire.RoomCreate
    | wire.RoomJoin
    | wire.RoomLeave
    | wire.RoomUpdate
    | wire.RoomRawVoicePreference
    | wire.WebrtcOffer
    | wire.WebrtcAnswer
    | wire.WebrtcIce
)


class ClientConnection:
    """One socket of a client."""

    def __init__(self, context: Context, sessions: Sessions, socket: sockets.Socket, address: str = "") -> None:
        self._context = context
        self._address = address
        self._sessions = sessions
        self._socket = socket
        self._actor: SessionActor | None = None
        self._closed_session: SessionId | None = None

    async def run(self) -> None:
        """Handle frames until the socket is closed."""
        try:
            while (frame := await self._socket.receive()) is not None:
                if isinstance(frame, sockets.Pong):
                    continue
                try:
                    await self._on_frame(frame)
                except PeerError as error:
                    self.send(wire.ErrorMessage(code=error.code, message=error.message))
        finally:
            if self._actor is not None and self._actor.client is self:
                self._actor.client = None
                self._actor.post(session.ConnectionLost())
            await self._socket.wait_closed()

    def send(self, message: wire.ServerMessage) -> None:
        self._socket.send_text_nowait(codec.encode(message))

    def session_ended(self, reason: str) -> None:
        """The session is over; the connection may open another."""
        if self._actor is not None:
            self._closed_session = self._actor.session_id
            self._actor = None
        if reason == "idle":
            self._socket.close_nowait(sockets.GOING_AWAY, "session idle")

    def close(self, reason: str) -> None:
        self._socket.close_nowait(sockets.GOING_AWAY, reason)

    def taken_over(self) -> None:
        """A newer connection resumed the session: this one has nothing to say any more."""
        self._actor = None
        self._socket.close_nowait(sockets.SESSION_TAKEN_OVER, "session resumed elsewhere")

    async def _on_frame(self, frame: str | bytes) -> None:
        message = codec.decode_client(frame)
        match message:
            case wire.AudioChunk() | codec.BinaryChunk():
                self._on_chunk(message)
            case wire.SessionInit():
                await self._on_init(message)
            case wire.SessionResume():
                await self._on_resume(message)
            case wire.UtteranceMessage():
                self._on_utterance(message)
            case wire.ClientHeartbeat():
                self._bound(message.session_id).post(session.HeartbeatArrived(message.timestamp))
            case wire.TtsStarted():
                self._bound(message.session_id).post(session.TtsStarted(message.group_id))
            case wire.TtsPlayEnded():
                self._bound(message.session_id).post(session.TtsEnded(message.group_id))
            case wire.SessionClose():
                self._bound(message.session_id).post(session.CloseRequested(message.reason[:200]))
            case wire.ResultAck():
                self._bound(message.session_id).post(session.ResultsAcked(message.result_seq))
            case codec.BinaryPing():
                self._on_ping(message)
            case _:
                await self._on_room(message)

    def _on_chunk(self, chunk: wire.AudioChunk | codec.BinaryChunk) -> None:
        actor = self._bound(chunk.session_id)
        stamp_ms = chunk.timestamp_ms if isinstance(chunk, codec.BinaryChunk) else chunk.client_timestamp_ms
        actor.post(session.ChunkArrived(chunk.seq, codec.chunk_audio(chunk), chunk.is_final, stamp_ms))

    def _on_utterance(self, message: wire.UtteranceMessage) -> None:
        actor = self._bound(message.session_id)
        speaker, tgt_lang = read_utterance(message, actor.opening.speaker)
        actor.post(
            session.UtteranceArrived(
                index=message.utterance_index,
                audio=codec.decode_audio(message.audio),
                audio_format=message.audio_format,
                sample_rate=message.sample_rate,
                manual_cut=message.manual_cut,
                speaker=speaker,
                tgt_lang=tgt_lang,
            )
        )

    def _on_ping(self, ping: codec.BinaryPing) -> None:
        if not ping.is_pong:
            pong = codec.BinaryPing(ping.session_id, ping.seq, ping.timestamp_ms, is_pong=True)
            self._socket.send_binary_nowait(codec.encode_ping(pong))

    async def _on_init(self, init: wire.SessionInit) -> None:
        if self._actor is not None:
            raise PeerError(ErrorCode.INVALID_MESSAGE, "this connection has a session; close it first")
        trace_id = TraceId(init.trace_id) if init.trace_id and valid_id(init.trace_id) else ids.new_trace_id()
        opening = read_opening(init, ids.new_session_id(), trace_id)
        actor, ack = await self._sessions.open(opening)
        self._attach(actor)
        self.send(ack)
        # Tells of an outage that is under way, and starts the idle clock of a client that never says more than this.
        actor.post(session.DependencyChanged(self._context.health.is_up))

    async def _on_resume(self, message: wire.SessionResume) -> None:
        if self._actor is not None:
            raise PeerError(ErrorCode.INVALID_MESSAGE, "this connection has a session; close it first")
        actor, token = await self._sessions.resumes.resume(SessionId(message.session_id), message.resume_token)
        self._attach(actor)
        actor.post(session.Resumed(message.last_result_seq, token))
        await self._sessions.rooms.adopt(actor)

    def _attach(self, actor: SessionActor) -> None:
        if isinstance(actor.client, ClientConnection):
            actor.client.taken_over()
        actor.client = self
        self._actor = actor
        self._closed_session = None

    def _bound(self, session_id: str) -> SessionActor:
        """The session of this connection. PeerError where the message names another, or it is over."""
        if self._actor is not None and session_id == self._actor.session_id:
            if self._actor.used_token is not None:
                self._actor.confirm_token()
            return self._actor
        if session_id == self._closed_session:
            raise PeerError(ErrorCode.SESSION_CLOSED, HINTS[ErrorCode.SESSION_CLOSED].en)
        raise PeerError(ErrorCode.INVALID_SESSION, HINTS[ErrorCode.INVALID_SESSION].en)

    async def _on_room(self, message: RoomMessage) -> None:
        if self._actor is None:
            raise PeerError(ErrorCode.INVALID_SESSION, HINTS[ErrorCode.INVALID_SESSION].en)
        self._actor.post(session.RoomAsked())
        await self._sessions.rooms.desk.handle(self._actor, message, self._address)


async def serve_client(context: Context, sessions: Sessions, request: web.Request) -> web.StreamResponse:
    """The handler of `/ws/session`."""
    socket = await sockets.accept(request)
    await ClientConnection(context, sessions, socket, request.remote or "").run()
    return socket.response
