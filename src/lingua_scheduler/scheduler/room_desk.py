"""What clients ask of rooms: create, join, leave, change, prefer, signal. A fault is told as `room_error`."""

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from lingua_scheduler.core.rooms.room import Member, Room, code_of
from lingua_scheduler.core.session import events as session
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import HINTS, ErrorCode
from lingua_scheduler.protocol.ids import Language, SessionId, language
from lingua_scheduler.runtime import ids
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.room_lines import History
from lingua_scheduler.scheduler.sessions import SessionActor
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.rooms import Guesser, RoomReply

if TYPE_CHECKING:
    from lingua_scheduler.scheduler.rooms import Rooms

CODES_TRIED = 16
"""With half of all codes taken, none of so many is free once in 65,536 times."""
NAME_CHARS_MAX = 64

Request = (
    wire.RoomCreate
    | wire.RoomJoin
    | wire.RoomLeave
    | wire.RoomUpdate
    | wire.RoomRawVoicePreference
    | wire.WebrtcOffer
    | wire.WebrtcAnswer
    | wire.WebrtcIce
)

_CODES = {
    Word.ROOM_NOT_FOUND: ErrorCode.ROOM_NOT_FOUND,
    Word.ROOM_FULL: ErrorCode.ROOM_FULL,
    Word.ALREADY_IN_ROOM: ErrorCode.ALREADY_IN_ROOM,
    Word.RATE_LIMITED: ErrorCode.RATE_LIMITED,
    Word.NOT_A_MEMBER: ErrorCode.INVALID_SESSION,
    Word.NO_CODE: ErrorCode.NODE_OVERLOADED,
}


class RefusedError(Exception):
    """What a client asked cannot be."""

    def __init__(self, code: ErrorCode, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message or HINTS[code].en


class RoomDesk:
    """Requests of one session are handled one after the other, in the order they came."""

    def __init__(self, context: Context, rooms: "Rooms") -> None:
        self._context = context
        self._rooms = rooms
        self._history = History(context, rooms.expiry_ms)

    async def handle(self, actor: SessionActor, request: Request, address: str) -> None:
        code = None if isinstance(request, wire.RoomCreate) else request.room_code[:16]
        try:
            await self._handle(actor, request, address)
        except RefusedError as fault:
            told = wire.RoomError(code=fault.code, message=fault.message, room_code=code)
            self._rooms.send(actor.session_id, told)
        except StoreError as error:
            self._context.metrics.store_failures.inc()
            self._context.health.failed(str(error))
            down = ErrorCode.SCHEDULER_DEPENDENCY_DOWN
            self._rooms.send(actor.session_id, wire.RoomError(code=down, message=HINTS[down].en, room_code=code))

    async def _handle(self, actor: SessionActor, request: Request, address: str) -> None:
        match request:
            case wire.RoomCreate():
                await self._create(actor, request)
            case wire.RoomJoin():
                await self._join(actor, request, address)
            case wire.RoomLeave():
                await self._rooms.leave(self._room(actor, request.room_code).room_id, actor.session_id)
            case wire.RoomUpdate():
                await self._update(actor, request)
            case wire.RoomRawVoicePreference():
                await self._prefer(actor, request)
            case wire.WebrtcOffer() | wire.WebrtcAnswer() | wire.WebrtcIce():
                self._signal(actor, request)
            case _:
                assert_never(request)

    async def _create(self, actor: SessionActor, request: wire.RoomCreate) -> None:
        member = self._member(actor, request.display_name, request.preferred_lang)
        tenant_id = actor.opening.speaker.tenant_id
        codes = [code_of(tenant_id, code) for code in ids.new_room_codes(CODES_TRIED)]
        reply = await self._context.store.rooms.create(
            ids.new_room_id(), codes, member, expiry_ms=self._rooms.expiry_ms
        )
        made = _granted(reply)
        ack = wire.RoomCreateAck(room_code=made.digits, room_id=made.room_id)
        self._rooms.send(actor.session_id, ack)
        self._rooms.seat(actor, reply)

    async def _join(self, actor: SessionActor, request: wire.RoomJoin, address: str) -> None:
        code = request.room_code.strip()
        if len(code) != 6 or not code.isascii() or not code.isdigit():
            raise RefusedError(ErrorCode.INVALID_ROOM_CODE)
        member = self._member(actor, request.display_name, request.preferred_lang)
        reply = await self._context.store.rooms.join(
            code_of(actor.opening.speaker.tenant_id, code),
            member,
            Guesser(actor.session_id, address),
            members_max=self._context.config.rooms.max_members,
            expiry_ms=self._rooms.expiry_ms,
        )
        joined = _granted(reply)
        self._rooms.seat(actor, reply)
        for line in await self._history.for_member(joined.room_id, member):
            actor.post(session.LineArrived(line))

    async def _update(self, actor: SessionActor, request: wire.RoomUpdate) -> None:
        picture = self._room(actor, request.room_code)
        member = picture.member(actor.session_id)
        if member is None:
            raise RefusedError(ErrorCode.ROOM_NOT_FOUND)
        if request.display_name is not None:
            member = replace(member, display_name=_name(request.display_name))
        if request.preferred_lang is not None:
            member = replace(member, preferred_lang=_language(request.preferred_lang, "preferred_lang"))
        if request.src_lang is not None:
            member = replace(member, src_lang=_language(request.src_lang, "src_lang"))
        reply = await self._context.store.rooms.change(picture.room_id, member)
        _granted(reply)
        self._rooms.changed(reply)

    async def _prefer(self, actor: SessionActor, request: wire.RoomRawVoicePreference) -> None:
        picture = self._room(actor, request.room_code)
        speaker = SessionId(request.target_session_id)
        if picture.member(speaker) is None:
            raise RefusedError(ErrorCode.INVALID_SESSION, "no such member in this room")
        reply = await self._context.store.rooms.accept(
            picture.room_id, actor.session_id, speaker, accepts=request.receive_raw_voice
        )
        _granted(reply)
        self._rooms.changed(reply)

    def _signal(self, actor: SessionActor, request: wire.WebrtcOffer | wire.WebrtcAnswer | wire.WebrtcIce) -> None:
        picture = self._room(actor, request.room_code)
        member = picture.member(request.to)
        if member is None or request.to == actor.session_id:
            raise RefusedError(ErrorCode.INVALID_SESSION, "no such member in this room")
        if not picture.accepts_voice(request.to, actor.session_id):
            raise RefusedError(ErrorCode.UNAUTHORIZED, "that member does not receive your voice")
        match request:
            case wire.WebrtcOffer(sdp=sdp):
                told = wire.WebrtcOffer(room_code=picture.digits, to=actor.session_id, sdp=sdp)
            case wire.WebrtcAnswer(sdp=sdp):
                told = wire.WebrtcAnswer(room_code=picture.digits, to=actor.session_id, sdp=sdp)
            case wire.WebrtcIce(candidate=candidate):
                told = wire.WebrtcIce(room_code=picture.digits, to=actor.session_id, candidate=candidate)
        self._rooms.signal(picture, member, told)

    def _room(self, actor: SessionActor, code: str) -> Room:
        """The room that the client is in, which the message must name."""
        picture = self._rooms.room_of(actor.session_id)
        if picture is None or picture.digits != code.strip():
            raise RefusedError(ErrorCode.ROOM_NOT_FOUND, "you are not in this room")
        return picture

    def _member(self, actor: SessionActor, name: str | None, preferred: str | None) -> Member:
        return Member(
            session_id=actor.session_id,
            instance_id=self._context.instance_id,
            joined_at_ms=self._context.clock.wall_ms(),
            display_name=_name(name),
            preferred_lang=_language(preferred, "preferred_lang"),
        )


def _granted(reply: RoomReply) -> Room:
    if reply.word is not Word.OK or reply.room is None:
        raise RefusedError(_CODES[reply.word])
    return reply.room


def _name(text: str | None) -> str | None:
    return (text or "").strip()[:NAME_CHARS_MAX] or None


def _language(text: str | None, field: str) -> Language | None:
    if text is None or not text.strip():
        return None
    if (found := language(text)) is None:
        raise RefusedError(ErrorCode.INVALID_MESSAGE, f"{field}: {text[:20]!r} is not a language code such as en or zh")
    return found
