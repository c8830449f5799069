"""The rooms that sessions of this instance are in: what changes in them, who hears whom, across instances.

The room itself lives in Redis (`store/rooms.py`); each room with a member here has a machine (`core/rooms`) that this
file drives. Whoever changes a room tells the instances of its members; what a member says goes to the instance of each
who hears it, once for all its members there.
"""

from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, assert_never

import msgspec

from lingua_scheduler.core.rooms import events as room
from lingua_scheduler.core.rooms.machine import RoomMachine
from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.core.session import events as session
from lingua_scheduler.core.utterance import Audience, Speaker
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, RoomId, SessionId
from lingua_scheduler.protocol.messages import ServerMessage, TranslationResult
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.room_desk import RoomDesk
from lingua_scheduler.scheduler.room_lines import HeldLines, History, Paths, SavedRuns
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.rooms import RoomReply

_log = get_logger("scheduler.rooms")

UNPLACED_MAX = 64
LOOK_MS = 15_000
"""How long a picture may be old where a peer's message was lost."""


class Rooms:
    """All rooms with a member here, by id, and which session sits where."""

    def __init__(self, context: Context, sessions: Sessions, bus: Bus) -> None:
        self._context = context
        self._sessions = sessions
        self._bus = bus
        self._open: dict[RoomId, _OpenRoom] = {}
        self._seats: dict[SessionId, RoomId] = {}
        self._left: dict[SessionId, Room] = {}
        """The last picture of a room that a session has left: what it said there is still heard."""
        self._unplaced: dict[SessionId, list[session.SendToRoom]] = {}
        """What was said by a session that is being resumed here: its room is not known again yet."""
        paths = Paths(self._on_line, self._publish_line, lambda session_id: session_id in self._seats)
        self._held = HeldLines(context, paths, self.expiry_ms)
        self._saved = SavedRuns(context.metrics)
        self._history = History(context, self.expiry_ms)
        self.desk = RoomDesk(context, self)

    @property
    def expiry_ms(self) -> int:
        return int(self._context.config.rooms.expiry_minutes * 60_000)

    def room_of(self, session_id: SessionId) -> Room | None:
        """The newest picture of the room that a session here is in."""
        here = self._open_of(session_id)
        return here.machine.room if here is not None else None

    def _open_of(self, session_id: SessionId) -> "_OpenRoom | None":
        seat = self._seats.get(session_id)
        return None if seat is None else self._open.get(seat)

    # ------------------------------------------------------------------------------- members

    def seat(self, actor: SessionActor, reply: RoomReply) -> None:
        """The store says that a session of this instance is a member."""
        assert reply.room is not None
        room_id, session_id = reply.room.room_id, actor.session_id
        if actor.is_ended:
            self._start(self.leave(room_id, session_id), "leave-room")
            return
        self._left.pop(session_id, None)
        self._seats[session_id] = room_id
        if room_id not in self._open:
            self._open[room_id] = _OpenRoom(self._context, self, room_id)
            self._context.metrics.rooms_open.set(len(self._open))
        self._open[room_id].driver.post(room.SessionSeated(session_id))
        self.changed(reply)
        for effect in self._unplaced.pop(session_id, ()):
            self.deliver(session_id, effect)

    def changed(self, reply: RoomReply) -> None:
        """A call to the store changed a room: here it is told at once, elsewhere by the bus."""
        assert reply.room is not None
        here = self._open.get(reply.room.room_id)
        told = set(reply.room.instances())
        if here is not None and here.machine.room is not None:
            told |= here.machine.room.instances()
        if here is not None:
            self._see(here, reply.room, max(0, self.expiry_ms - reply.silent_ms))
        picture = msgspec.msgpack.encode(reply.room)
        self._tell(told, wire.RoomChanged(room_id=reply.room.room_id, picture=picture))

    def _see(self, here: "_OpenRoom", picture: Room, expires_in_ms: int | None = None) -> None:
        """A picture of a room. Sessions that it shows elsewhere have been resumed there."""
        here.driver.post(room.RoomSeen(picture, expires_in_ms))
        if here.machine.room is not picture:
            return
        for session_id in list(here.machine.seated):
            member = picture.member(session_id)
            if member is not None and member.instance_id != self._context.instance_id:
                self.unseat(session_id)
                self._left.pop(session_id, None)

    async def leave(self, room_id: RoomId, session_id: SessionId, *, only_at: InstanceId | None = None) -> None:
        """Take a member out, in the store first: the others hear of it. Raises StoreError."""
        reply = await self._context.store.rooms.leave(room_id, session_id, only_at=only_at)
        if only_at is None:
            self.unseat(session_id)
        if reply.room is not None:
            self.changed(reply)

    def unseat(self, session_id: SessionId) -> None:
        """A session of this instance is in no room any more."""
        if (picture := self.room_of(session_id)) is not None:
            self._left[session_id] = picture
        here = self._open_of(session_id)
        self._seats.pop(session_id, None)
        if here is not None:
            here.driver.post(room.SessionUnseated(session_id))

    def session_ended(self, session_id: SessionId) -> None:
        """A session that is over leaves, unless it lives on at another instance."""
        room_id = self._seats.get(session_id)
        self.unseat(session_id)
        self._left.pop(session_id, None)
        self._unplaced.pop(session_id, None)
        self._saved.forget(session_id)
        if room_id is not None:
            leaving = self.leave(room_id, session_id, only_at=self._context.instance_id)
            self._start(leaving, "leave-room")

    async def adopt(self, actor: SessionActor) -> None:
        """A session was resumed here: whatever room it is in hears where it lives now."""
        if actor.session_id in self._seats:
            return
        rooms, me = self._context.store.rooms, self._context.instance_id
        try:
            room_id = await rooms.room_of(actor.session_id)
            reply = await rooms.look(room_id, expiry_ms=self.expiry_ms) if room_id is not None else None
            member = reply.room.member(actor.session_id) if reply is not None and reply.room is not None else None
            if room_id is None or member is None:
                self._unplaced.pop(actor.session_id, None)
                return
            moved = await rooms.change(room_id, replace(member, instance_id=me))
        except StoreError as error:
            _log.warning("room not found again", session=actor.session_id, cause=str(error))
            return
        if moved.room is not None:
            self.seat(actor, moved)

    def store_returned(self) -> None:
        """Redis is back, perhaps empty."""
        for room_id in list(self._open):
            self._start(self.look(room_id), "look-at-room")

    def instance_gone(self, instance_id: InstanceId) -> None:
        for one in list(self._open.values()):
            one.driver.post(room.InstanceLost(instance_id))

    # ------------------------------------------------------------------------------- what is said

    def spoke(self, session_id: SessionId) -> None:
        if (seat := self._seats.get(session_id)) is not None:
            self._start(self._note(seat), "note-speech")

    def deliver(self, speaker: SessionId, effect: session.SendToRoom) -> None:
        """A concluded line to those who were there when it was said, and to late joiners of its language.

        Whoever has two claims to it hears it once: each session sees to that.
        """
        picture = self.room_of(speaker) or self._left.get(speaker)
        if picture is None:
            waiting = self._unplaced.setdefault(speaker, [])
            del waiting[: 1 - UNPLACED_MAX]
            waiting.append(effect)
            return
        listeners = dict(picture.listeners(speaker)).get(effect.tgt_lang, ())
        there = [one for one in effect.recipients if picture.member(one) is not None]
        recipients = list(dict.fromkeys([*there, *listeners]))
        self._send(picture, recipients, effect.line)
        self._saved.count(speaker, effect, len(there))
        if isinstance(effect.line, TranslationResult):
            self._start(self._remember(picture, recipients, effect), "remember-line")

    def _send(self, picture: Room, recipients: Iterable[SessionId], line: session.Line) -> None:
        by_instance: dict[InstanceId, list[str]] = {}
        for session_id in recipients:
            if (member := picture.member(session_id)) is not None:
                by_instance.setdefault(member.instance_id, []).append(session_id)
        for instance_id, sessions in by_instance.items():
            message = wire.RoomLine(room_id=picture.room_id, recipients=sessions, line=line)
            if instance_id == self._context.instance_id:
                self._on_line(message)
            else:
                self._publish_line(instance_id, message)

    def _publish_line(self, instance_id: InstanceId, message: wire.RoomLine) -> None:
        """Where the instance is gone, its sessions may be resumed elsewhere."""
        self._bus.publish_in_turn(instance_id, message, lambda _: self._held.hold(message, instance_id))

    async def _note(self, room_id: RoomId) -> None:
        word, version = await self._context.store.rooms.spoke(room_id, None, expiry_ms=self.expiry_ms)
        if word is Word.OK and room_id in self._open:
            self._open[room_id].driver.post(room.SpeechNoted(version))

    async def _remember(self, picture: Room, recipients: list[SessionId], effect: session.SendToRoom) -> None:
        """Keep the line for who comes late; who came between the last picture and this moment is sent it now."""
        newer = await self._history.keep(picture, effect)
        if newer is None:
            return
        if picture.room_id in self._open:
            self._see(self._open[picture.room_id], newer)
        came = [one for one in newer.members if picture.member(one.session_id) is None]
        late = [one.session_id for one in came if one.preferred_lang == effect.tgt_lang]
        self._send(newer, [one for one in late if one not in recipients], effect.line)

    # ------------------------------------------------------------------------------- from peers

    def heard(self, message: wire.RoomMessage) -> None:
        """What a peer says of a room with members here."""
        match message:
            case wire.RoomChanged(room_id=room_id, picture=picture):
                here = self._open.get(RoomId(room_id))
                if here is not None and picture is not None:
                    self._see(here, _decoder.decode(picture))
                elif here is not None:
                    here.driver.post(room.RoomEnded())
            case wire.RoomLine():
                self._on_line(message)
            case wire.RoomSignal(room_id=room_id, to=to, signal=signal):
                if self._seats.get(SessionId(to)) == room_id:
                    self.send(SessionId(to), signal)
            case _:
                assert_never(message)

    def signal(self, picture: Room, to: Member, signal: wire.Signal) -> None:
        """To another member's client, wherever it is connected; a client that is away misses it."""
        if to.instance_id == self._context.instance_id:
            self.send(to.session_id, signal)
        else:
            message = wire.RoomSignal(room_id=picture.room_id, to=to.session_id, signal=signal)
            self._bus.publish_in_turn(to.instance_id, message)

    def _on_line(self, message: wire.RoomLine) -> None:
        """To members whose sessions are here; those of others are looked for."""
        strangers: list[str] = []
        for session_id in message.recipients:
            actor = self._sessions.find(SessionId(session_id))
            if actor is not None and self._seats.get(actor.session_id) == message.room_id:
                actor.post(session.LineArrived(message.line))
            else:
                strangers.append(session_id)
        if strangers:
            self._held.hold(msgspec.structs.replace(message, recipients=strangers))

    # ------------------------------------------------------------------------------- for a room

    def send(self, session_id: SessionId, message: ServerMessage) -> None:
        actor = self._sessions.find(session_id)
        if actor is not None and actor.client is not None:
            actor.client.send(message)

    def set_audience(self, effect: room.SetAudience) -> None:
        actor = self._sessions.find(effect.session_id)
        if actor is None:
            return
        audience = None
        if effect.member is not None and effect.listeners is not None:
            audience = Audience(in_room(actor.opening.speaker, effect.member), effect.listeners)
        actor.post(session.AudienceChanged(audience))

    async def look(self, room_id: RoomId) -> None:
        reply = await self._context.store.rooms.look(room_id, expiry_ms=self.expiry_ms)
        here = self._open.get(room_id)
        if here is None:
            return
        if reply.word is Word.OK and reply.room is not None:
            self._see(here, reply.room, max(0, self.expiry_ms - reply.silent_ms))
            return
        picture = here.machine.room
        if (
            reply.word is Word.ROOM_NOT_FOUND
            and picture is not None
            and here.machine.lives_at(self._context.clock.now_ms())
        ):
            reply = await self._context.store.rooms.restore(picture, expiry_ms=self.expiry_ms)
            _log.warning("room written again: Redis had lost it", room=room_id, cause=reply.word)
            if reply.word is Word.OK:
                self.changed(reply)
                return
        if reply.room is not None:
            self._tell(reply.room.instances(), wire.RoomChanged(room_id=room_id, picture=None))
        here.driver.post(room.RoomEnded())

    def forget(self, room_id: RoomId) -> None:
        self._open.pop(room_id, None)
        self._seats = {one: seat for one, seat in self._seats.items() if seat != room_id}
        self._context.metrics.rooms_open.set(len(self._open))

    def start_for_room(self, effect: room.LookAtRoom | room.DropMember, room_id: RoomId) -> None:
        if isinstance(effect, room.LookAtRoom):
            self._start(self.look(room_id), "look-at-room")
        else:
            leaving = self.leave(room_id, effect.session_id, only_at=effect.instance_id)
            self._start(leaving, "drop-member")

    def _tell(self, instances: Iterable[InstanceId], message: wire.RoomChanged) -> None:
        for instance_id in sorted(instances):
            if instance_id != self._context.instance_id:
                self._bus.publish_in_turn(instance_id, message)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._context.scope.start(self._quietly(work, name), name)

    async def _quietly(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Redis away: the next look at the room mends what this would have told."""
        try:
            await work
        except StoreError as error:
            self._context.metrics.store_failures.inc()
            _log.warning("store failed", operation=name, cause=str(error))


class _OpenRoom:
    """A room with a member here, and its machine."""

    def __init__(self, context: Context, rooms: Rooms, room_id: RoomId) -> None:
        self._rooms = rooms
        self._room_id = room_id
        self._log = _log.bind(room=room_id)
        window_ms = context.config.scheduler.web_task_segmentation.resume_window_seconds * 1000
        self.machine = RoomMachine(look_ms=LOOK_MS, resume_window_ms=window_ms)
        self.driver = Driver[room.RoomEvent, room.RoomEffect](
            self.machine, self._perform, room.TimeReached(), context.timers, context.clock, self._crashed
        )

    def _perform(self, effect: room.RoomEffect) -> None:
        match effect:
            case room.TellMember(session_id, message):
                self._rooms.send(session_id, message)
            case room.SetAudience():
                self._rooms.set_audience(effect)
            case room.LookAtRoom() | room.DropMember():
                self._rooms.start_for_room(effect, self._room_id)
            case room.ForgetRoom():
                self._rooms.forget(self._room_id)
            case _:
                assert_never(effect)

    def _crashed(self, error: Exception, story: list[str]) -> None:
        """A bug: the room is lost to the sessions here, loudly; they go on by themselves."""
        self._log.error("room machine failed", cause=repr(error), story=story)
        for session_id in list(self.machine.seated):
            self._rooms.set_audience(room.SetAudience(session_id, None, None))
        self._rooms.forget(self._room_id)


_decoder = msgspec.msgpack.Decoder(Room)


def in_room(speaker: Speaker, member: Member) -> Speaker:
    """A member speaks one language: the one that it named, else its session's, else the one it hears others in."""
    if speaker.mode == "one_way":
        return replace(speaker, src_lang=member.src_lang or speaker.src_lang)
    src_lang = member.src_lang or member.preferred_lang or speaker.lang_a or speaker.src_lang
    return replace(speaker, src_lang=src_lang, mode="one_way", lang_a=None, lang_b=None, auto_langs=())
