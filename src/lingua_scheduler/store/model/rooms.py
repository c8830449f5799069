"""What `RoomStore` does, on plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.protocol.ids import InstanceId, RoomId, SessionId
from lingua_scheduler.store.model.world import World
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.rooms import (
    ADDRESS_GUESSES_MAX,
    GRACE_MS,
    GUESS_WINDOW_MS,
    SESSION_GUESSES_MAX,
    Guesser,
    Line,
    RoomReply,
)


@dataclass(slots=True)
class StoredRoom:
    code: str
    version: int
    spoken_ms: int
    until_ms: int
    members: dict[SessionId, Member]
    lines: list[Line] = field(default_factory=list[Line])


class RoomModel:
    """See `RoomStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rooms: dict[RoomId, StoredRoom] = {}
        self._guesses: dict[str, tuple[int, int]] = {}

    def create(self, room_id: RoomId, codes: Sequence[str], member: Member, *, expiry_ms: int) -> RoomReply:
        current = self.room_of(member.session_id)
        if current is not None:
            return self._reply(Word.OK, room_id) if current == room_id else RoomReply(Word.ALREADY_IN_ROOM)
        free = next((code for code in codes if self._by_code(code) is None), None)
        if free is None:
            return RoomReply(Word.NO_CODE)
        now = self._world.now
        self._rooms[room_id] = StoredRoom(free, 1, now, now + expiry_ms + GRACE_MS, {member.session_id: member})
        return self._reply(Word.OK, room_id)

    def join(self, code: str, member: Member, guesser: Guesser, *, members_max: int, expiry_ms: int) -> RoomReply:
        del expiry_ms
        limits = {guesser.session_id: SESSION_GUESSES_MAX, guesser.address_key: ADDRESS_GUESSES_MAX}
        if any(self._guessed(who) >= most for who, most in limits.items()):
            return RoomReply(Word.RATE_LIMITED)
        room_id, current = self._by_code(code), self.room_of(member.session_id)
        if current is not None:
            known = self._rooms[current].members[member.session_id]
            is_same = current == room_id and replace(known, voices={}) == replace(member, voices={})
            return self._reply(Word.OK, current) if is_same else RoomReply(Word.ALREADY_IN_ROOM)
        if room_id is None:
            for who in limits:
                count, until = self._guessed(who), self._guesses.get(who, (0, 0))[1]
                self._guesses[who] = (count + 1, until if count else self._world.now + GUESS_WINDOW_MS)
            return RoomReply(Word.ROOM_NOT_FOUND)
        room = self._rooms[room_id]
        if len(room.members) >= members_max:
            return RoomReply(Word.ROOM_FULL)
        room.members[member.session_id] = member
        room.version += 1
        return self._reply(Word.OK, room_id)

    def leave(self, room_id: RoomId, session_id: SessionId, *, only_at: InstanceId | None = None) -> RoomReply:
        room = self._room(room_id)
        member = room.members.get(session_id) if room else None
        if room is None or member is None or only_at not in {None, member.instance_id}:
            return RoomReply(Word.NOT_A_MEMBER)
        del room.members[session_id]
        for other, one in room.members.items():
            voices = {speaker: accepts for speaker, accepts in one.voices.items() if speaker != session_id}
            room.members[other] = replace(one, voices=voices)
        room.version += 1
        return self._reply(Word.OK, room_id)

    def change(self, room_id: RoomId, member: Member) -> RoomReply:
        room = self._room(room_id)
        known = room.members.get(member.session_id) if room else None
        if room is None or known is None:
            return RoomReply(Word.NOT_A_MEMBER)
        room.members[member.session_id] = replace(member, voices=known.voices)
        room.version += 1
        return self._reply(Word.OK, room_id)

    def accept(self, room_id: RoomId, listener: SessionId, speaker: SessionId, *, accepts: bool) -> RoomReply:
        room = self._room(room_id)
        if room is None or not {listener, speaker} <= set(room.members):
            return RoomReply(Word.NOT_A_MEMBER)
        known = room.members[listener]
        room.members[listener] = replace(known, voices={**known.voices, speaker: accepts})
        room.version += 1
        return self._reply(Word.OK, room_id)

    def spoke(self, room_id: RoomId, line: Line | None, *, expiry_ms: int, lines_max: int = 1) -> tuple[Word, int]:
        room = self._room(room_id)
        if room is None:
            return Word.ROOM_NOT_FOUND, 0
        room.spoken_ms = self._world.now
        room.until_ms = room.spoken_ms + expiry_ms + GRACE_MS
        if line is not None:
            room.lines = [*room.lines, line][-lines_max:]
        return Word.OK, room.version

    def look(self, room_id: RoomId, *, expiry_ms: int) -> RoomReply:
        room = self._room(room_id)
        if room is None:
            return RoomReply(Word.ROOM_NOT_FOUND)
        if self._world.now - room.spoken_ms < expiry_ms:
            return self._reply(Word.OK, room_id)
        reply = self._reply(Word.EXPIRED, room_id)
        del self._rooms[room_id]
        return reply

    def restore(self, room: Room, *, expiry_ms: int) -> RoomReply:
        if self._room(room.room_id) is None:
            if self._by_code(room.code) is not None:
                return RoomReply(Word.NO_CODE)
            now = self._world.now
            members = {one.session_id: one for one in room.members}
            until_ms = now + expiry_ms + GRACE_MS
            self._rooms[room.room_id] = StoredRoom(room.code, room.version + 1, now, until_ms, members)
        return self._reply(Word.OK, room.room_id)

    def room_of(self, session_id: SessionId) -> RoomId | None:
        for room_id in list(self._rooms):
            room = self._room(room_id)
            if room is not None and session_id in room.members:
                return room_id
        return None

    def lines(self, room_id: RoomId) -> list[Line]:
        room = self._room(room_id)
        return list(room.lines) if room else []

    def _room(self, room_id: RoomId) -> StoredRoom | None:
        room = self._rooms.get(room_id)
        if room is not None and room.until_ms <= self._world.now:
            del self._rooms[room_id]
            return None
        return room

    def _by_code(self, code: str) -> RoomId | None:
        return next((one for one in list(self._rooms) if (room := self._room(one)) and room.code == code), None)

    def _guessed(self, who: str) -> int:
        count, until = self._guesses.get(who, (0, 0))
        return count if until > self._world.now else 0

    def _reply(self, word: Word, room_id: RoomId) -> RoomReply:
        room = self._rooms[room_id]
        ordered = sorted(room.members.values(), key=lambda one: (one.joined_at_ms, one.session_id))
        seen = Room(room_id, room.code, room.version, tuple(ordered))
        return RoomReply(word, seen, self._world.now - room.spoken_ms)
