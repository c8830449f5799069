"""What happens to a client's session, what it wants done, and what an application hears: the words of `machine`."""

from dataclasses import dataclass

from lingua_scheduler.client.errors import ClientError
from lingua_scheduler.client.rooms import Request
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from lingua_scheduler.protocol.messages import ClientMessage, ServerMessage

# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Started:
    """The application wants a session."""


@dataclass(frozen=True, slots=True)
class SocketOpened:
    """What `Dial` asked for."""


@dataclass(frozen=True, slots=True)
class SocketLost:
    """The socket closed, or none could be opened. Never told of a socket that `HangUp` closed."""

    reason: str


@dataclass(frozen=True, slots=True)
class MessageArrived:
    message: ServerMessage | BinaryPing


@dataclass(frozen=True, slots=True)
class AudioSpoken:
    """Audio as it goes on the wire; empty only with `is_final`."""

    audio: bytes
    is_final: bool


@dataclass(frozen=True, slots=True)
class RoomAsked:
    """Something about rooms; it is sent when there is a connection."""

    request: Request


@dataclass(frozen=True, slots=True)
class FinishRequested:
    """No more audio comes: results are waited for."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The application is gone: nothing is waited for."""


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


ClientEvent = (
    Started
    | SocketOpened
    | SocketLost
    | MessageArrived
    | AudioSpoken
    | RoomAsked
    | FinishRequested
    | Abandoned
    | TimeReached
)

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a socket; the answer is `SocketOpened` or `SocketLost`."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the socket, or give up opening it, after what was sent. Nothing is told of it any more."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    message: ClientMessage | BinaryChunk | BinaryPing


@dataclass(frozen=True, slots=True)
class Tell:
    """To the application, in this order."""

    event: "SessionEvent"


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """The ring takes audio again."""


@dataclass(frozen=True, slots=True)
class End:
    """The session is over; the last effect a machine ever gives. `error` is None where all was concluded."""

    error: ClientError | None


ClientEffect = Dial | HangUp | Send | Tell | MakeRoom | End

# ------------------------------------------------------------------------------------------- for the application


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost; audio is kept and the session will be resumed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The session goes on where it was; `replayed` results follow that were concluded meanwhile."""

    replayed: int


SessionEvent = ServerMessage | Disconnected | Reconnected
"""What `Session.events` gives: the scheduler's messages as they are, and what befalls the connection."""
