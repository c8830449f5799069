"""The life of a session as tables: what each event does in each state, and which state follows which."""

from collections.abc import Mapping
from enum import StrEnum

from lingua_scheduler.core.session.events import (
    AudienceChanged,
    AudioFreed,
    ChunkArrived,
    CloseRequested,
    ConnectionLost,
    DependencyChanged,
    DrainStarted,
    HeartbeatArrived,
    JobConcluded,
    JobProgressed,
    LineArrived,
    PartialArrived,
    ResultsAcked,
    Resumed,
    RoomAsked,
    SessionEvent,
    TimeReached,
    TtsEnded,
    TtsStarted,
    UtteranceArrived,
)


class Life(StrEnum):
    """Where a session stands. The timers that run in each are named in brackets; gap hold runs while connected."""

    OPEN = "OPEN"
    """A client is connected and may speak. [pause, hangover, idle, drain]"""
    CLOSING = "CLOSING"
    """Nothing more is said; what is pending is delivered, then the session ends. [grace]"""
    AWAY = "AWAY"
    """1.1: the connection is lost and may come back; results are kept. [resume window, resume flush]"""
    QUIET = "QUIET"
    """1.0: the connection is lost for good; jobs finish for whoever else listens. [grace]"""
    ENDED = "ENDED"
    """`EndSession` was the last effect."""


class Rule(StrEnum):
    HANDLED = "handled"
    REFUSED = "refused"
    """Answered with `error SESSION_CLOSED`."""
    IGNORED = "ignored"
    """Counted as stale."""


_H, _R, _I = Rule.HANDLED, Rule.REFUSED, Rule.IGNORED

RULES: dict[type[SessionEvent], dict[Life, Rule]] = {
    event: dict(zip(Life, rules, strict=True))
    for event, rules in {
        #                OPEN CLOSING AWAY QUIET ENDED
        ChunkArrived: (_H, _R, _I, _I, _I),
        UtteranceArrived: (_H, _R, _I, _I, _I),
        TtsStarted: (_H, _H, _I, _I, _I),
        TtsEnded: (_H, _H, _I, _I, _I),
        HeartbeatArrived: (_H, _H, _I, _I, _I),
        RoomAsked: (_H, _H, _I, _I, _I),
        ResultsAcked: (_H, _H, _I, _I, _I),
        CloseRequested: (_H, _I, _I, _I, _I),
        ConnectionLost: (_H, _H, _I, _I, _I),
        Resumed: (_H, _H, _H, _I, _I),
        JobConcluded: (_H, _H, _H, _H, _I),
        AudioFreed: (_H, _H, _H, _H, _I),
        JobProgressed: (_H, _H, _I, _I, _I),
        PartialArrived: (_H, _H, _I, _I, _I),
        AudienceChanged: (_H, _H, _H, _H, _I),
        LineArrived: (_H, _H, _H, _I, _I),
        DependencyChanged: (_H, _H, _H, _H, _I),
        DrainStarted: (_H, _I, _H, _I, _I),
        TimeReached: (_H, _H, _H, _H, _I),
    }.items()
}

FROM_CLIENT = frozenset(
    {
        ChunkArrived,
        UtteranceArrived,
        TtsStarted,
        TtsEnded,
        HeartbeatArrived,
        RoomAsked,
        ResultsAcked,
        CloseRequested,
        Resumed,
    }
)
"""What shows that the client is alive."""

TRANSITIONS: Mapping[tuple[Life, Life], str] = {
    (Life.OPEN, Life.CLOSING): "CloseRequested, idle for too long, or the instance drains",
    (Life.OPEN, Life.AWAY): "ConnectionLost, protocol 1.1",
    (Life.OPEN, Life.QUIET): "ConnectionLost, protocol 1.0",
    (Life.CLOSING, Life.AWAY): "ConnectionLost, protocol 1.1",
    (Life.CLOSING, Life.QUIET): "ConnectionLost, protocol 1.0",
    (Life.CLOSING, Life.ENDED): "nothing is pending, or the grace is over",
    (Life.AWAY, Life.OPEN): "Resumed",
    (Life.AWAY, Life.CLOSING): "Resumed after CloseRequested",
    (Life.AWAY, Life.ENDED): "the resume window is over",
    (Life.QUIET, Life.ENDED): "nothing is pending, or the grace is over",
}
