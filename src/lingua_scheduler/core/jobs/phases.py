"""The phases of a job, and every way from one to another: the table that the machine is held to.

`docs/states.md` is drawn from it. A phase is finer than the status that others see: what a pending job is waiting for
decides what ends the wait.
"""

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """Where a job stands. The timer that runs in each is named in brackets."""

    GATED = "gated"
    """Waits for earlier jobs of its lane to be sent: a node may keep their audio for it. [none: theirs run]"""
    SELECTING = "selecting"
    """The store was asked for a node. [none: it answers or fails]"""
    WAITING = "waiting"
    """No node yet: asks again. [the next question, the end of the pending window]"""
    PARKED = "parked"
    """Placed, unsent: what its predecessor leaves to it is not known yet. [park]"""
    ASSIGNED = "assigned"
    """Sent. [lease]"""
    ACCEPTED = "accepted"
    """The node has acknowledged it. [lease]"""
    RUNNING = "running"
    """The node works on it. [lease]"""
    HELD = "held"
    """The node keeps its audio for the session's next job. [lease]"""
    WITHHELD = "withheld"
    """The result is here, but its tail is carried and nobody is known to follow. [carry wait]"""
    REQUEUING = "requeuing"
    """The store was asked for the next attempt. [the repetition, where the store failed]"""
    FINISHING = "finishing"
    """The outcome is settled, the store was told. [none: it answers or fails]"""
    CLOSING = "closing"
    """Concluded; the store has not answered yet. [the repetition, at most for the length of a lease]"""
    GONE = "gone"
    """Concluded and forgotten."""


UNPLACED = frozenset({Phase.GATED, Phase.SELECTING, Phase.WAITING, Phase.REQUEUING})
UNSENT = UNPLACED | {Phase.PARKED}
SENT = frozenset({Phase.ASSIGNED, Phase.ACCEPTED, Phase.RUNNING, Phase.HELD})
SETTLED = frozenset({Phase.FINISHING, Phase.CLOSING, Phase.GONE})

STATUS: Mapping[Phase, str] = {
    Phase.GATED: "pending",
    Phase.SELECTING: "pending",
    Phase.WAITING: "pending",
    Phase.REQUEUING: "pending",
    Phase.PARKED: "assigned",
    Phase.ASSIGNED: "assigned",
    Phase.ACCEPTED: "accepted",
    Phase.RUNNING: "running",
    Phase.HELD: "held",
    Phase.WITHHELD: "running",
    Phase.FINISHING: "final",
    Phase.CLOSING: "final",
    Phase.GONE: "final",
}
"""The status that a phase is shown as; `final` stands for completed, completed_no_text, failed or cancelled."""

_LEAVES_NODE = "lease over, node lost, rejected, a retryable failure, or a merge that came to nothing"
_ENDS = "a result, a failure for good, no attempt left, or cancelled"

TRANSITIONS: Mapping[tuple[Phase, Phase], str] = {
    (Phase.GATED, Phase.SELECTING): "earlier jobs that bind it to a node are sent",
    (Phase.GATED, Phase.FINISHING): "cancelled between attempts",
    (Phase.GATED, Phase.GONE): "cancelled before the store knew of it",
    (Phase.SELECTING, Phase.PARKED): "a node was selected",
    (Phase.SELECTING, Phase.WAITING): "queued, no node yet, or the store failed",
    (Phase.SELECTING, Phase.SELECTING): "the store knows a newer attempt, or a slot was offered meanwhile",
    (Phase.SELECTING, Phase.FINISHING): "no node serves the pair, or cancelled",
    (Phase.SELECTING, Phase.GONE): "the store knows it as done",
    (Phase.WAITING, Phase.SELECTING): "a slot is offered, or it is time to ask again",
    (Phase.WAITING, Phase.FINISHING): "the pending window is over, or cancelled",
    (Phase.PARKED, Phase.ASSIGNED): "sent",
    (Phase.PARKED, Phase.REQUEUING): "node lost, or an earlier job must be sent first",
    (Phase.PARKED, Phase.FINISHING): "no attempt left, or cancelled",
    (Phase.ASSIGNED, Phase.ACCEPTED): "job_ack",
    (Phase.ASSIGNED, Phase.RUNNING): "job_started or asr_partial",
    (Phase.ASSIGNED, Phase.HELD): "job_held",
    (Phase.ACCEPTED, Phase.RUNNING): "job_started or asr_partial",
    (Phase.ACCEPTED, Phase.HELD): "job_held",
    (Phase.RUNNING, Phase.HELD): "job_held",
    (Phase.HELD, Phase.RUNNING): "job_started or asr_partial",
    **{(phase, Phase.REQUEUING): _LEAVES_NODE for phase in sorted(SENT)},
    **{(phase, Phase.WITHHELD): "a result with a carried tail that nobody follows" for phase in sorted(SENT)},
    **{(phase, Phase.FINISHING): _ENDS for phase in sorted(SENT)},
    (Phase.WITHHELD, Phase.FINISHING): "speech goes on, no attempt left, or cancelled",
    (Phase.WITHHELD, Phase.REQUEUING): "nobody followed: to be processed whole",
    (Phase.REQUEUING, Phase.GATED): "the next attempt is open",
    (Phase.REQUEUING, Phase.FINISHING): "cancelled",
    (Phase.FINISHING, Phase.GONE): "the store answered: concluded",
    (Phase.FINISHING, Phase.CLOSING): "the store failed: concluded all the same",
    (Phase.CLOSING, Phase.GONE): "the store answered, or its own lease has run out",
}
"""Every change of phase that can happen, and why it does."""
