"""A room as everybody sees it: its members, who hears whom in which language, who accepts whose voice."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lingua_scheduler.protocol.ids import InstanceId, Language, RoomId, SessionId, TenantId
from lingua_scheduler.protocol.messages import RoomMember, RoomMembers

Listeners = tuple[tuple[Language, tuple[SessionId, ...]], ...]
"""Who hears in which language; each language once, those without a language not at all."""


@dataclass(frozen=True, slots=True)
class Member:
    session_id: SessionId
    instance_id: InstanceId
    """Where its session lives: what is meant for it goes there."""
    joined_at_ms: int
    """Wall time."""
    display_name: str | None = None
    preferred_lang: Language | None = None
    """What it hears the others in; None: nothing."""
    src_lang: Language | None = None
    """What it speaks, where that is not what its session was opened with."""
    voices: Mapping[SessionId, bool] = field(default_factory=dict[SessionId, bool])
    """Whose untranslated voice it said that it accepts, or does not."""


@dataclass(frozen=True, slots=True)
class Room:
    room_id: RoomId
    code: str
    """Six digits, behind `<tenant>/` where its members have a tenant: each tenant has rooms of its own."""
    version: int
    """Grows with every change of its members: of two pictures the higher one is the newer."""
    members: tuple[Member, ...]
    """Who came first stands first."""

    @property
    def digits(self) -> str:
        """What members are told."""
        return self.code.rpartition("/")[2]

    def member(self, session_id: str) -> Member | None:
        return next((one for one in self.members if one.session_id == session_id), None)

    def listeners(self, speaker: SessionId) -> Listeners:
        """Who hears `speaker`, without the speaker."""
        found: dict[Language, tuple[SessionId, ...]] = {}
        for one in self.members:
            if one.session_id != speaker and one.preferred_lang is not None:
                found[one.preferred_lang] = (*found.get(one.preferred_lang, ()), one.session_id)
        return tuple(found.items())

    def instances(self) -> frozenset[InstanceId]:
        return frozenset(one.instance_id for one in self.members)

    def accepts_voice(self, listener: str, speaker: str) -> bool:
        """Whether signalling from `speaker` is for `listener`: both are members, and it was not declined."""
        member = self.member(listener)
        if member is None or self.member(speaker) is None:
            return False
        return member.voices.get(SessionId(speaker), True)

    def to_wire(self) -> RoomMembers:
        return RoomMembers(room_code=self.digits, members=[_to_wire(one) for one in self.members])


def code_of(tenant_id: TenantId, digits: str) -> str:
    """The code of a tenant's room. No tenant's id has a slash."""
    return f"{tenant_id}/{digits}" if tenant_id else digits


def _to_wire(member: Member) -> RoomMember:
    return RoomMember(
        participant_id=member.session_id,
        session_id=member.session_id,
        joined_at=member.joined_at_ms,
        display_name=member.display_name,
        preferred_lang=member.preferred_lang,
        raw_voice_preferences={str(speaker): accepts for speaker, accepts in member.voices.items()},
    )
