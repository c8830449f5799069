"""Messages about rooms and between their members, on `/ws/session`: a part of `messages`, which passes them on."""

from typing import Any

from lingua_scheduler.protocol.base import Part, Wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.plain import Int


class RoomCreate(Wire, tag="room_create", frozen=True, kw_only=True):
    """Opens a room and joins it; answered with `room_create_ack` and `room_members`."""

    client_ts: Int
    display_name: str | None = None
    preferred_lang: str | None = None


class RoomJoin(Wire, tag="room_join", frozen=True, kw_only=True):
    """Joins a room; answered with `room_members`, or `room_error`."""

    room_code: str
    display_name: str | None = None
    preferred_lang: str | None = None


class RoomLeave(Wire, tag="room_leave", frozen=True, kw_only=True):
    """Leaves it."""

    room_code: str


class RoomUpdate(Wire, tag="room_update", frozen=True, kw_only=True):
    """1.1: change what was said when joining; absent fields stay as they are."""

    room_code: str
    display_name: str | None = None
    preferred_lang: str | None = None
    """Empty: hear nothing."""
    src_lang: str | None = None
    """What the member speaks from its next utterance on. Empty: as the session was opened."""


class RoomRawVoicePreference(Wire, tag="room_raw_voice_preference", frozen=True, kw_only=True):
    """Whether the sender wants to hear another member's own voice."""

    room_code: str
    target_session_id: str
    receive_raw_voice: bool


class WebrtcOffer(Wire, tag="webrtc_offer", frozen=True, kw_only=True):
    """Passed on to the member that `to` names, who reads the sender there."""

    room_code: str
    to: str
    sdp: Any


class WebrtcAnswer(Wire, tag="webrtc_answer", frozen=True, kw_only=True):
    """Passed on likewise."""

    room_code: str
    to: str
    sdp: Any


class WebrtcIce(Wire, tag="webrtc_ice", frozen=True, kw_only=True):
    """Passed on likewise."""

    room_code: str
    to: str
    candidate: Any


class RoomMember(Part, frozen=True, kw_only=True):
    """Somebody in a room."""

    participant_id: str
    session_id: str
    joined_at: Int
    display_name: str | None = None
    preferred_lang: str | None = None
    raw_voice_preferences: dict[str, bool] = {}


class RoomCreateAck(Wire, tag="room_create_ack", frozen=True, kw_only=True):
    """The room is open: six digits to tell the others."""

    room_code: str
    room_id: str


class RoomMembers(Wire, tag="room_members", frozen=True, kw_only=True):
    """Who is in the room now: the answer to a join, and sent to all at each change."""

    room_code: str
    members: list[RoomMember]


class RoomError(Wire, tag="room_error", frozen=True, kw_only=True):
    """A request about a room was refused; session and room stay as they are."""

    code: ErrorCode
    message: str
    room_code: str | None = None


class RoomExpired(Wire, tag="room_expired", frozen=True, kw_only=True):
    """Nobody spoke for long: the room has ended, and each member goes on alone."""

    room_code: str
