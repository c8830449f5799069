"""Rooms in the store: who is a member and where, by which code, until when, and the last lines for who comes late."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.protocol.ids import InstanceId, Language, RoomId, SessionId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.replies import mapping, number, text

_CREATE = Script("create_room")
_JOIN = Script("join_room")
_LEAVE = Script("leave_room")
_CHANGE = Script("change_member")
_SPEECH = Script("note_speech")
_LOOK = Script("look_room")
_RESTORE = Script("restore_room")

GRACE_MS = 60_000
"""Keys outlive the expiry by this, so that it is a decision that members hear of and not a disappearance."""
GUESS_WINDOW_MS = 60_000
SESSION_GUESSES_MAX = 10
ADDRESS_GUESSES_MAX = 60
"""An address may be that of a whole office."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence that was said in a room, in one language. Text only."""

    speaker: SessionId
    index: int
    src_lang: str
    tgt_lang: str
    text_asr: str
    text_translated: str


@dataclass(frozen=True, slots=True)
class RoomReply:
    """`room` is there with `OK` and `EXPIRED`."""

    word: Word
    room: Room | None = None
    silent_ms: int = 0
    """How long nobody has spoken."""


@dataclass(frozen=True, slots=True)
class Guesser:
    """Who may be guessing codes."""

    session_id: SessionId
    address: str

    @property
    def address_key(self) -> str:
        """Addresses are told to nobody who looks at Redis."""
        return f"address-{hashlib.sha256(self.address.encode()).hexdigest()[:16]}"


class _Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    joined_at_ms: int
    display_name: str | None = None
    preferred_lang: str | None = None
    src_lang: str | None = None


class RoomStore:
    """One call each for what happens to a room; every call is safe to repeat with the same arguments."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys

    async def create(self, room_id: RoomId, codes: Sequence[str], member: Member, *, expiry_ms: int) -> RoomReply:
        """Words: OK, ALREADY_IN_ROOM, NO_CODE (each of `codes` is another room's)."""
        ttl_ms = expiry_ms + GRACE_MS
        reply = await self._run(_CREATE, room_id, member.session_id, _stored(member), ttl_ms, ",".join(codes))
        return room_reply(room_id, reply)

    async def join(self, code: str, member: Member, guesser: Guesser, *, members_max: int, expiry_ms: int) -> RoomReply:
        """Words: OK, ALREADY_IN_ROOM, ROOM_NOT_FOUND, ROOM_FULL, RATE_LIMITED."""
        reply = await self._run(
            _JOIN, code, member.session_id, _stored(member), members_max, expiry_ms + GRACE_MS, guesser.address_key,
            SESSION_GUESSES_MAX, ADDRESS_GUESSES_MAX, GUESS_WINDOW_MS,
        )  # fmt: skip
        return room_reply(RoomId(text(reply[3])) if len(reply) > 3 else RoomId(""), reply)

    async def leave(self, room_id: RoomId, session_id: SessionId, *, only_at: InstanceId | None = None) -> RoomReply:
        """`only_at`: unless the member lives elsewhere by now. Words: OK, NOT_A_MEMBER."""
        return room_reply(room_id, await self._run(_LEAVE, room_id, session_id, only_at or ""))

    async def change(self, room_id: RoomId, member: Member) -> RoomReply:
        """What a member says of itself, and where it lives. Words: OK, NOT_A_MEMBER."""
        return room_reply(room_id, await self._run(_CHANGE, room_id, member.session_id, _stored(member), "", ""))

    async def accept(self, room_id: RoomId, listener: SessionId, speaker: SessionId, *, accepts: bool) -> RoomReply:
        """Whether `listener` accepts the untranslated voice of `speaker`. Words: OK, NOT_A_MEMBER (either)."""
        return room_reply(room_id, await self._run(_CHANGE, room_id, listener, "", speaker, int(accepts)))

    async def spoke(
        self, room_id: RoomId, line: Line | None, *, expiry_ms: int, lines_max: int = 1
    ) -> tuple[Word, int]:
        """The room lives for another `expiry_ms`. Words: OK (with its version), ROOM_NOT_FOUND.

        A line is kept, and of the lines before it so many that there are `lines_max`.
        """
        said = "" if line is None else msgspec.json.encode(line).decode()
        reply = await self._run(_SPEECH, room_id, expiry_ms + GRACE_MS, said, lines_max)
        return Word(text(reply[0])), number(reply[1]) if len(reply) > 1 else 0

    async def look(self, room_id: RoomId, *, expiry_ms: int) -> RoomReply:
        """Words: OK, EXPIRED (it was removed by this call), ROOM_NOT_FOUND."""
        return room_reply(room_id, await self._run(_LOOK, room_id, expiry_ms))

    async def restore(self, room: Room, *, expiry_ms: int) -> RoomReply:
        """Redis has lost the room: write it as it was last seen. Words: OK (also where it is there), NO_CODE."""
        fields: list[str | int] = ["version", room.version + 1]
        for member in room.members:
            fields += [f"member:{member.session_id}", _stored(member)]
            for speaker, accepts in member.voices.items():
                fields += [f"voice:{member.session_id}:{speaker}", int(accepts)]
        reply = await self._run(_RESTORE, room.room_id, room.code, expiry_ms + GRACE_MS, *fields)
        return room_reply(room.room_id, reply)

    async def room_of(self, session_id: SessionId) -> RoomId | None:
        """The room that a session is in, or was in when it expired."""
        found = text(await self._client.call("GET", self._keys.room_of(session_id)))
        return RoomId(found) if found else None

    async def lines(self, room_id: RoomId) -> list[Line]:
        """What is kept, oldest first; once for each language that it was said in."""
        fields = mapping(await self._client.call("HGETALL", self._keys.room_lines(room_id)))
        fields.pop("count", None)
        return [msgspec.json.decode(fields[name], type=Line) for name in sorted(fields, key=int)]


def _stored(member: Member) -> str:
    facts = _Facts(member.joined_at_ms, member.display_name, member.preferred_lang, member.src_lang)
    return f"{member.instance_id}|{msgspec.json.encode(facts).decode()}"


def room_reply(room_id: RoomId, reply: Sequence[Reply]) -> RoomReply:
    """word, now, the room's fields; what follows the word may be missing."""
    word = Word(text(reply[0]))
    if len(reply) < 3:
        return RoomReply(word)
    fields = mapping(reply[2])
    return RoomReply(word, _room(room_id, fields), number(reply[1]) - number(fields.get("spoken_ms")))


def _room(room_id: RoomId, fields: Mapping[str, str]) -> Room:
    members: dict[SessionId, Member] = {}
    for name, value in fields.items():
        if name.startswith("member:"):
            instance, _, facts = value.partition("|")
            session_id = SessionId(name.removeprefix("member:"))
            members[session_id] = _member(session_id, InstanceId(instance), msgspec.json.decode(facts, type=_Facts))
    voices: dict[SessionId, dict[SessionId, bool]] = {}
    for name, value in sorted(fields.items()):
        if name.startswith("voice:"):
            _, listener, speaker = name.split(":")
            voices.setdefault(SessionId(listener), {})[SessionId(speaker)] = value == "1"
    ordered = sorted(members.values(), key=lambda one: (one.joined_at_ms, one.session_id))
    seated = tuple(replace(one, voices=voices.get(one.session_id, {})) for one in ordered)
    return Room(room_id, fields.get("code", ""), number(fields.get("version")), seated)


def _member(session_id: SessionId, instance_id: InstanceId, facts: _Facts) -> Member:
    return Member(
        session_id=session_id,
        instance_id=instance_id,
        joined_at_ms=facts.joined_at_ms,
        display_name=facts.display_name,
        preferred_lang=Language(facts.preferred_lang) if facts.preferred_lang else None,
        src_lang=Language(facts.src_lang) if facts.src_lang else None,
    )
