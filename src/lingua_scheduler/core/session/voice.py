"""What the client is told beside its results: errors, progress, and nothing while it is away."""

from typing import Literal

from lingua_scheduler.core.session import replies
from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.session.events import Send, SessionEffect
from lingua_scheduler.core.session.replies import Subject
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import ErrorMessage, ServerMessage, UiEventName

Effects = list[SessionEffect]

Oddity = Literal[
    "repeated_seq",
    "missing_seq",
    "refused_audio",
    "stale_trigger",
    "stale_event",
    "unknown_job",
    "repeated_utterance",
    "repeated_line",
    "undelivered_result",
    "unstable_partial",
]
"""What is survived and counted."""


class Voice:
    """`counts` says how often each oddity was met."""

    __slots__ = ("counts", "identity", "is_connected")

    def __init__(self, identity: SessionIdentity) -> None:
        self.identity = identity
        self.is_connected = True
        self.counts: dict[Oddity, int] = {}

    def count(self, oddity: Oddity, times: int = 1) -> None:
        self.counts[oddity] = self.counts.get(oddity, 0) + times

    def send(self, message: ServerMessage, out: Effects) -> None:
        if self.is_connected:
            out.append(Send(message))

    def refuse(self, code: ErrorCode, message: str, out: Effects) -> None:
        self.send(ErrorMessage(code=code, message=message), out)

    def tell(
        self,
        event: UiEventName,
        subject: Subject,
        out: Effects,
        *,
        elapsed_ms: int | None = None,
        code: ErrorCode | None = None,
        shortage: str = "",
    ) -> None:
        """Progress, as a `ui_event`."""
        if self.is_connected:
            hint = replies.hint(self.identity, code, shortage)
            out.append(Send(replies.ui_event(self.identity, subject, event, elapsed_ms, code, hint)))
