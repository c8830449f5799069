"""The Python client library: open a session, stream speech, read translations. `session` has an example."""

from lingua_scheduler.client.errors import ClientError, SoundError
from lingua_scheduler.client.events import Disconnected, Reconnected, SessionEvent
from lingua_scheduler.client.machine import Limits
from lingua_scheduler.client.session import Session, SessionOptions, connect

__all__ = [
    "ClientError",
    "Disconnected",
    "Limits",
    "Reconnected",
    "Session",
    "SessionEvent",
    "SessionOptions",
    "SoundError",
    "connect",
]
