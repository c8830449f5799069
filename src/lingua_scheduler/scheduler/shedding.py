"""What an instance gives up before its memory is exhausted.

Beyond `Limits.memory_bytes` it takes no new sessions; where what it has goes on growing all the same, the sessions that
keep most (audio, and what their clients do not read) are closed: told so, with what is under way still delivered within
the grace of any close. Sessions that keep little are never worth it, whatever the memory is used by.
"""

from lingua_scheduler.core.session import events as session
from lingua_scheduler.protocol.messages import ErrorMessage
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.limits import FULL_RETRY_MS, Limits, rate_limited
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions

_log = get_logger("scheduler.shedding")

WORTH_BYTES = 256 << 10
SLOW_BYTES = 1 << 20
"""A client that has so much unread would not read the rest in time."""


def shed(sessions: Sessions, limits: Limits) -> None:
    """Called by the clock."""
    excess = limits.excess_bytes()
    if not excess:
        return
    heaviest = sorted(((_kept(actor), actor) for actor in sessions.all()), key=lambda one: one[0], reverse=True)
    count = 0
    for size, actor in heaviest:
        if excess <= 0 or size < WORTH_BYTES:
            break
        excess -= size
        count += 1
        _close(actor)
    if count:
        _log.warning("sessions closed for want of memory", sessions=count)


def _kept(actor: SessionActor) -> int:
    return actor.machine.kept_bytes + (actor.client.queued_bytes if actor.client is not None else 0)


def _close(actor: SessionActor) -> None:
    client = actor.client
    actor.post(session.CloseRequested("no memory"))
    if client is None:
        return
    error = rate_limited(FULL_RETRY_MS)
    client.send(ErrorMessage(code=error.code, message=error.message, details=error.details))
    if client.queued_bytes > SLOW_BYTES:
        client.close("no memory")
