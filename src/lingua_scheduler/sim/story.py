"""The story of a violation: of everything that happened, what concerns its session, and what went wrong around it."""

from lingua_scheduler.sim.checkers import Violation
from lingua_scheduler.sim.history import Event
from lingua_scheduler.sim.run import Run

CONTEXT_MS = 60_000
_ALWAYS = ("fault", "killed", "left", "healed", "bug")
_MUCH = ("sent", "acked")
LINES_MAX = 80


def tell(run: Run, violation: Violation, *, is_long: bool = False) -> list[str]:
    """One line each, oldest first. Not `is_long`: without the chunks, and only the last `LINES_MAX`."""
    session = violation.session
    client = next((e.who for e in run.history.of("opened") if e.facts[0] == session), "")
    own = [event for event in run.history.events if session and _concerns(event, session, client)]
    first_ms = (own[0].at_ms if own else violation.at_ms) - CONTEXT_MS
    last_ms = (own[-1].at_ms if own else violation.at_ms or run.simulated_ms) + CONTEXT_MS
    kept = [
        event
        for event in run.history.events
        if (event.what in _ALWAYS and first_ms <= event.at_ms <= last_ms)
        or (session and _concerns(event, session, client) and (is_long or event.what not in _MUCH))
    ]
    return [_line(event) for event in (kept if is_long else kept[-LINES_MAX:])]


def _concerns(event: Event, session: str, client: str) -> bool:
    return event.who == client or any(session in fact for fact in event.facts if isinstance(fact, str))


def _line(event: Event) -> str:
    facts = " ".join(_short(fact) for fact in event.facts if not isinstance(fact, str) or not fact.startswith("s-"))
    return f"{event.at_ms / 1000:9.3f}  {event.who:10} {event.what:12} {facts}"


def _short(fact: object) -> str:
    text = str(fact)
    if text.startswith("job-s-"):
        return "job-" + text.split("-", 3)[-1]
    return text if len(text) <= 160 else text[:160] + "…"
