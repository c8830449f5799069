"""What happens to a room as one instance sees it, and what it wants done there: the vocabulary of the room machine."""

from dataclasses import dataclass

from lingua_scheduler.core.rooms.room import Listeners, Member, Room
from lingua_scheduler.protocol.ids import InstanceId, SessionId
from lingua_scheduler.protocol.messages import RoomExpired, RoomMembers

# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class RoomSeen:
    """A picture of the room: the store's answer, or what a peer told."""

    room: Room
    expires_in_ms: int | None = None
    """None: the picture does not say."""


@dataclass(frozen=True, slots=True)
class SessionSeated:
    """A session of this instance is a member from now on; the picture that shows it follows."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class SessionUnseated:
    """It is a member no more, or lives on another instance."""

    session_id: SessionId


@dataclass(frozen=True, slots=True)
class SpeechNoted:
    """The store has noted speech; the room lives for another while."""

    version: int
    """Of the room as the store knows it."""


@dataclass(frozen=True, slots=True)
class InstanceLost:
    """A peer died: its sessions may resume elsewhere within their window."""

    instance_id: InstanceId


@dataclass(frozen=True, slots=True)
class RoomEnded:
    """It has expired, or nobody knows it any more."""


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


RoomEvent = RoomSeen | SessionSeated | SessionUnseated | SpeechNoted | InstanceLost | RoomEnded | TimeReached

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class TellMember:
    """To a session of this instance."""

    session_id: SessionId
    message: RoomMembers | RoomExpired


@dataclass(frozen=True, slots=True)
class SetAudience:
    """Who hears a session of this instance from now on. None: it is by itself, and hears itself translated."""

    session_id: SessionId
    member: Member | None
    listeners: Listeners | None


@dataclass(frozen=True, slots=True)
class LookAtRoom:
    """Ask the store for the room, and whether it has expired; answer with `RoomSeen` or `RoomEnded`, or not at all."""


@dataclass(frozen=True, slots=True)
class DropMember:
    """Take a member of a dead instance out of the room, unless it lives on elsewhere by now."""

    session_id: SessionId
    instance_id: InstanceId


@dataclass(frozen=True, slots=True)
class ForgetRoom:
    """No session of this instance is in the room. The last effect a machine ever gives."""


RoomEffect = TellMember | SetAudience | LookAtRoom | DropMember | ForgetRoom
