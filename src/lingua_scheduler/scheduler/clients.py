"""`/ws/session`: one connection of a client, bound to the one session it opened.

Frames are handled in the order they come. Whatever a client sends, the worst it gets is an `error` and the worst
that it loses is that frame; a bug in its session ends the session, not the connection's siblings.
"""

import asyncio

from lingua_scheduler.core.access import SUBPROTOCOL, SUBPROTOCOL_NAME, AccessError, Grant, token_among
from lingua_scheduler.core.allowances import Allowance
from lingua_scheduler.core.session import events as session
from lingua_scheduler.core.session.numbers import NUMBER_MAX
from lingua_scheduler.core.session.record import Known
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError
from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.protocol.ids import SessionId, TraceId, valid_id
from lingua_scheduler.runtime import ids, sockets
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.allowances import check
from lingua_scheduler.scheduler.auth.guard import unauthorized
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.keeping import tails_of
from lingua_scheduler.scheduler.limits import Pace, crowded, of_whom, rate_limited
from lingua_scheduler.scheduler.opening import read_opening, read_utterance
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions

_log = get_logger("scheduler.clients")

TEXT_BYTES_MAX = 64 << 10
"""Of a message that brings no speech."""
TOLD_AGAIN_MS = 5000
"""Whoever speaks on although nothing brings his minutes back is told so this often."""

Message = wire.ClientMessage | codec.BinaryChunk | codec.BinaryPing
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


_CHUNKS = (wire.AudioChunk, codec.BinaryChunk)
_SILENT = (sockets.Pong, sockets.Extra)
"""As tuples: a union is made anew for each frame that is asked about."""


class _SilenceError(Exception):
    """A frame does not count, and its sender knows why."""


ANSWERED_MAX = 256
"""Of what a client says that it has; clients of ours name 64."""


class ClientConnection:
    """One socket of a client."""

    def __init__(
        self, context: Context, sessions: Sessions, socket: sockets.Socket, address: str = "", token: str | None = None
    ) -> None:
        """`token` is the one that came with the handshake; a message may bring another."""
        self._context = context
        self._address = address
        self._token = token
        self._grant: Grant | None = None
        self._is_barred = False
        """Its token was refused or taken back: nothing that it still sends counts."""
        self._sessions = sessions
        self._socket = socket
        self._actor: SessionActor | None = None
        self._closed_session: SessionId | None = None
        self._pace = Pace(context.config.limits, context.clock.now_ms())
        self._silent_since_ms = context.clock.now_ms()
        self._told_until_ms = 0
        self._is_over = False

    async def run(self) -> None:
        """Handle frames until the socket is closed."""
        self._watch_silence()
        try:
            await self._socket.serve(self._take)
        finally:
            self._is_over = True
            self._context.guard.let_go(self)
            if self._actor is not None and self._actor.client is self:
                self._actor.client = None
                self._actor.post(session.ConnectionLost())
            await self._socket.wait_closed()

    def send(self, message: wire.ServerMessage) -> None:
        self._socket.send_text_nowait(codec.encode(message))

    @property
    def queued_bytes(self) -> int:
        """What the client has not read yet."""
        return self._socket.queued_bytes

    def session_ended(self, reason: str) -> None:
        """The session is over; the connection may open another."""
        if self._actor is not None:
            self._closed_session = self._actor.session_id
            self._actor = None
            self._silent_since_ms = self._context.clock.now_ms()
            self._watch_silence()
        if reason == "idle":
            self._socket.close_nowait(sockets.GOING_AWAY, "session idle")

    def close(self, reason: str) -> None:
        self._socket.close_nowait(sockets.GOING_AWAY, reason)

    def taken_over(self) -> None:
        """A newer connection resumed the session: this one has nothing to say any more."""
        self._actor = None
        self._socket.close_nowait(sockets.SESSION_TAKEN_OVER, "session resumed elsewhere")

    def _watch_silence(self) -> None:
        """A connection without a session is not kept for long."""
        if self._is_over or self._actor is not None or self._socket.is_closed:
            return
        due_ms = self._silent_since_ms + self._context.config.limits.silence_ms
        if self._context.clock.now_ms() >= due_ms:
            self._socket.close_nowait(sockets.TRY_AGAIN_LATER, "no session was opened")
        else:
            self._context.timers.wake_at(due_ms, self._watch_silence)

    def _refuse(self, error: PeerError) -> None:
        """Told; and shown out where it was not let in in the first place, or is refused all the time."""
        if error.code is ErrorCode.UNAUTHORIZED and self._actor is None:
            self._bar(error.message)
            return
        self.send(wire.ErrorMessage(code=error.code, message=error.message, details=error.details))
        if not self._pace.may_be_refused(self._context.clock.now_ms()):
            self._is_barred = True
            self._context.metrics.denied.labels("flood").inc()
            _log.warning("client refused too often", address=self._address)
            self._socket.close_nowait(sockets.TRY_AGAIN_LATER, "refused too often")

    def _bar(self, why: str) -> None:
        self._is_barred = True
        self._context.metrics.denied.labels("client").inc()
        _log.warning("client not allowed", address=self._address, cause=why)
        self.send(wire.ErrorMessage(code=ErrorCode.UNAUTHORIZED, message=why))
        self._socket.close_nowait(sockets.NOT_ALLOWED, "not allowed")

    def _admit(self, token: str | None, *, resumes: bool = False) -> Grant | None:
        """What the client may; None where nobody asks. PeerError UNAUTHORIZED where it may not be here."""
        grant = self._context.guard.client(token or self._token, "session", resumes=resumes)
        self._grant = grant
        self._context.guard.hold(self, (grant,) if grant is not None else (), self._token_taken_back)
        return grant

    def _token_taken_back(self) -> None:
        self._bar("the token was revoked")

    def _check_languages(self, *codes: str | None) -> None:
        if self._grant is not None:
            try:
                self._grant.check_languages(codes)
            except AccessError as error:
                raise unauthorized(error) from None

    def _take(self, frame: sockets.Frame) -> sockets.Work | None:
        if isinstance(frame, _SILENT):
            return self._pace.silent(frame, self._context.clock.now_ms())
        if self._is_barred:
            return None
        if wait_ms := self._pace.frame(len(frame), self._context.clock.now_ms()):
            return self._take_later(frame, wait_ms)
        return self._on_frame(frame)

    async def _take_later(self, frame: str | bytes, wait_ms: int) -> None:
        await asyncio.sleep(wait_ms / 1000)
        if (work := self._on_frame(frame)) is not None:
            await work

    def _on_frame(self, frame: str | bytes) -> sockets.Work | None:
        """Most are chunks, which are handled at once; work for everything else."""
        try:
            message = codec.decode_client(frame)
            if not isinstance(message, _CHUNKS) or self._is_rationed():
                return self._work_on(message, len(frame))
            self._on_chunk(message)
        except PeerError as error:
            self._refuse(error)
        return None

    async def _work_on(self, message: Message, size: int) -> None:
        try:
            await self._check(message, size)
            await self._on_message(message)
        except _SilenceError:
            return
        except PeerError as error:
            self._refuse(error)

    async def _on_message(self, message: Message) -> None:
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

    async def _check(self, message: object, size: int) -> None:
        """PeerError where it is too long, or there may be no speech now."""
        if isinstance(message, wire.AudioChunk | codec.BinaryChunk | wire.UtteranceMessage):
            await self._check_share()
        elif size > TEXT_BYTES_MAX:  # what it says is kept, told to peers and sent to nodes with each job
            raise PeerError(ErrorCode.INVALID_MESSAGE, f"more than {TEXT_BYTES_MAX} bytes without speech")

    def _is_rationed(self) -> bool:
        return self._sessions.shares.is_used or bool(self._actor is not None and self._actor.allowance)

    async def _check_share(self) -> None:
        """PeerError where its tenant or token has used up what it may; without a word where it was told already."""
        if self._actor is None or not self._is_rationed():
            return
        try:
            check(self._actor.allowance)
            await self._sessions.shares.hear(self._actor.opening.speaker.tenant_id)
        except PeerError as error:
            now_ms = self._context.clock.now_ms()
            if now_ms < self._told_until_ms:
                raise _SilenceError from None
            self._told_until_ms = now_ms + (error.retry_after_ms or TOLD_AGAIN_MS)
            raise

    def _on_chunk(self, chunk: wire.AudioChunk | codec.BinaryChunk) -> None:
        actor = self._bound(chunk.session_id)
        stamp_ms = chunk.timestamp_ms if isinstance(chunk, codec.BinaryChunk) else chunk.client_timestamp_ms
        actor.post(session.ChunkArrived(chunk.seq, codec.chunk_audio(chunk), chunk.is_final, stamp_ms))

    def _on_utterance(self, message: wire.UtteranceMessage) -> None:
        actor = self._bound(message.session_id)
        self._check_languages(*_languages(message))
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
        self._check_pace()
        self._context.limits.check_new_session(len(self._sessions))
        grant = self._admit(init.token)
        self._check_languages(*_languages(init))
        allowance = await self._sessions.shares.allowances.of(grant)
        check(allowance)
        opening = read_opening(init, ids.new_session_id(), trace_id, grant)
        actor, ack = await self._sessions.open(opening)
        self._attach(actor, allowance)
        self.send(ack)
        # Tells of an outage that is under way, and starts the idle clock of a client that never says more than this.
        actor.post(session.DependencyChanged(self._context.health.is_up))

    async def _on_resume(self, message: wire.SessionResume) -> None:
        if self._actor is not None:
            raise PeerError(ErrorCode.INVALID_MESSAGE, "this connection has a session; close it first")
        self._check_pace()
        grant = self._admit(message.token, resumes=True)
        holder = grant.tenant_id if grant is not None else ""
        session_id = SessionId(message.session_id)
        resume = self._sessions.resumes.resume
        actor, token = await resume(session_id, message.resume_token, holder, _known(message))
        self._attach(actor, await self._sessions.shares.allowances.of(grant))
        actor.post(session.Resumed(message.last_result_seq, token))
        await self._sessions.rooms.adopt(actor)

    def _check_pace(self) -> None:
        """PeerError RATE_LIMITED where it opens sessions all the time."""
        if wait_ms := self._pace.open(self._context.clock.now_ms()):
            raise rate_limited(wait_ms)

    def _attach(self, actor: SessionActor, allowance: Allowance | None) -> None:
        if isinstance(actor.client, ClientConnection):
            actor.client.taken_over()
        actor.client, actor.allowance = self, allowance
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
        if wait_ms := self._pace.room_request(self._context.clock.now_ms()):
            raise rate_limited(wait_ms)
        if self._grant is not None and "room" not in self._grant.claims.scopes:
            code = None if isinstance(message, wire.RoomCreate) else message.room_code[:16]
            why = "the token is not for this (room)"
            self.send(wire.RoomError(code=ErrorCode.UNAUTHORIZED, message=why, room_code=code))
            return
        if isinstance(message, wire.RoomCreate | wire.RoomJoin | wire.RoomUpdate):
            self._check_languages(message.preferred_lang, getattr(message, "src_lang", None))
        self._actor.post(session.RoomAsked())
        await self._sessions.rooms.desk.handle(self._actor, message, self._address)


def _known(message: wire.SessionResume) -> Known | None:
    """None from a client that does not tell."""
    if message.acked_seq is None or message.answered is None:
        return None
    # Whoever claims numbers that cannot be only harms its own session.
    answered = frozenset(one for one in message.answered[-ANSWERED_MAX:] if 0 <= one <= NUMBER_MAX)
    tails = tails_of(message.memo, message.session_id)
    return Known(message.last_result_seq, min(message.acked_seq, NUMBER_MAX), answered, tails)


def _languages(message: wire.SessionInit | wire.UtteranceMessage) -> list[str | None]:
    """All that is spoken or listened to."""
    return [message.src_lang, message.tgt_lang, message.lang_a, message.lang_b, *(message.auto_langs or ())]


def foreign_page(context: Context) -> Denial:
    """The answer to a page of somebody else that runs in the browser of one of ours."""
    context.metrics.denied.labels("origin").inc()
    return Denial(403, "pages of other hosts may not connect (security.allowed_origins)\n")


async def serve_client(context: Context, sessions: Sessions, caller: sockets.Caller) -> Denial | None:
    """Serves `/ws/session`, or says why not."""
    if sessions.is_draining:  # before the handshake: a proxy may still try the next instance
        return Denial(503, "this instance is leaving; connect again for another\n")
    if not context.guard.is_own_page(caller):
        return foreign_page(context)
    address = of_whom(caller.remote)
    if wait_ms := context.limits.connect(address):
        return crowded(context.metrics, wait_ms)
    try:
        token = token_among(caller.protocols)
        # Browsers insist on an answer to what they offer; one that offers nothing else gets its token back.
        socket = await caller.accept(
            frame_bytes_max=context.config.security.max_frame_bytes,
            subprotocols=[SUBPROTOCOL_NAME, f"{SUBPROTOCOL}{token}"] if token else (),
        )
        await ClientConnection(context, sessions, socket, address, token).run()
    finally:
        context.limits.leave(address)
    return None
