"""A picture of one session's life in a run: what was said, who worked on it, what was answered, what went wrong."""

from html import escape

from lingua_scheduler.sim.history import Event
from lingua_scheduler.sim.world import Run

WIDTH, ROW, LEFT, TOP = 1200, 26, 130, 40
_COLOURS = {
    "utterance": "#3b6ea5",
    "taken": "#c08a2e",
    "answered": "#5a8f4e",
    "result": "#2f7d32",
    "missing": "#b3261e",
}


def draw(run: Run, session: str) -> str:
    """An SVG document: one row for each party, time to the right, faults as lines through all rows."""
    own = [event for event in run.history.events if _is_of(event, session) and event.what in _COLOURS]
    parties = list(dict.fromkeys(event.who for event in own))
    until_ms = max([event.at_ms for event in own] or [run.simulated_ms]) + 2_000
    rows = {who: TOP + ROW * number for number, who in enumerate(parties)}
    height = TOP + ROW * (len(parties) + 1)
    title = f"seed {run.plan.seed}, session {escape(session)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}"',
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="8" y="18">{title}</text>',
    ]
    for who, y in rows.items():
        parts.append(f'<text x="8" y="{y + 4}">{escape(who)}</text>')
        parts.append(f'<path d="M{LEFT} {y}H{LEFT + WIDTH}" stroke="#ddd"/>')
    for event in run.history.of("fault", "killed"):
        if event.at_ms <= until_ms:
            x = _x(event.at_ms, until_ms)
            name = event.who if event.what == "fault" else f"killed {event.who}"
            line = f'<path d="M{x} {TOP - 12}V{height}" stroke="#b3261e" stroke-dasharray="2 4">'
            parts.append(f"{line}<title>{escape(name)}</title></path>")
    for event in own:
        x, y = _x(event.at_ms, until_ms), rows[event.who]
        dot = f'<circle cx="{x}" cy="{y}" r="4" fill="{_COLOURS[event.what]}">'
        parts.append(f"{dot}<title>{escape(str(event))}</title></circle>")
    return "\n".join([*parts, "</svg>", ""])


def _is_of(event: Event, session: str) -> bool:
    return any(session in fact for fact in event.facts if isinstance(fact, str))


def _x(at_ms: int, until_ms: int) -> int:
    return LEFT + at_ms * WIDTH // max(1, until_ms)
