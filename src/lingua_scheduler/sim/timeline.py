"""A picture of one session's life in a run: what was said, who worked on it, what was answered, what went wrong."""

from collections.abc import Iterator
from html import escape
from itertools import pairwise

from lingua_scheduler.sim import speech
from lingua_scheduler.sim.history import Event
from lingua_scheduler.sim.run import Run

WIDTH, ROW, LEFT, TOP = 1200, 30, 120, 120
TICKS_MAX = 14
_SPEECH, _CUT, _WORK, _LOST, _RESULT, _MISSING = "#9db8d2", "#2b5f8f", "#d9a441", "#e8dcc3", "#2f7d32", "#b3261e"
_LEGEND = (
    (_SPEECH, "audio sent"), (_CUT, "utterance cut"), (_WORK, "job on a node"), (_LOST, "never answered"),
    (_RESULT, "result"), (_MISSING, "missing result"),
)  # fmt: skip
_RUN_MS = 600
"""Chunks that follow each other so soon are drawn as one stretch of speech."""


class _Canvas:
    """Where times and parties are, and what was drawn so far."""

    def __init__(self, from_ms: int, until_ms: int, parties: list[str]) -> None:
        self.from_ms, self.until_ms = from_ms, until_ms
        self.rows = {who: TOP + ROW * number for number, who in enumerate(parties)}
        self.height = TOP + ROW * len(parties) + 46
        self.parts: list[str] = []

    def x(self, at_ms: int) -> float:
        share = (min(at_ms, self.until_ms) - self.from_ms) / max(1, self.until_ms - self.from_ms)
        return round(LEFT + max(0.0, share) * WIDTH, 1)

    def bar(self, who: str, begin_ms: int, end_ms: int, colour: str, told: str) -> None:
        x, y = self.x(begin_ms), self.rows[who] - 7
        width = max(2.0, self.x(end_ms) - x)
        shape = f'<rect x="{x}" y="{y}" width="{width:.1f}" height="14" rx="2" fill="{colour}">'
        self.parts.append(f"{shape}<title>{escape(told)}</title></rect>")

    def mark(self, event: Event, colour: str, index: int) -> None:
        x, y = self.x(event.at_ms), self.rows[event.who]
        self.parts.append(
            f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"><title>{escape(str(event))}</title></circle>'
            f'<text x="{x}" y="{y - 8}" font-size="8" text-anchor="middle" fill="{colour}">{index}</text>'
        )

    def trouble(self, at_ms: int, name: str) -> None:
        x = self.x(at_ms)
        self.parts.append(
            f'<path d="M{x} {TOP - 18}V{self.height - 40}" stroke="{_MISSING}" stroke-opacity=".45"'
            f' stroke-dasharray="2 4"/><text transform="translate({x + 3} {TOP - 20}) rotate(-55)"'
            f' font-size="9" fill="{_MISSING}">{escape(name)}</text>'
        )

    def frame(self, title: str) -> Iterator[str]:
        """What stands behind everything: paper, rows, a scale, what the colours mean."""
        yield f'<rect width="100%" height="100%" fill="white"/><text x="8" y="18" font-size="13">{escape(title)}</text>'
        for who, y in self.rows.items():
            yield f'<text x="8" y="{y + 4}">{escape(who)}</text><path d="M{LEFT} {y}H{LEFT + WIDTH}" stroke="#ddd"/>'
        span_ms = self.until_ms - self.from_ms
        step_ms = next(one for one in (1, 2, 5, 10, 30, 60, 300, 3_600) if span_ms <= one * 1_000 * TICKS_MAX) * 1_000
        for at_ms in range(-(-self.from_ms // step_ms) * step_ms, self.until_ms, step_ms):
            yield f'<text x="{self.x(at_ms)}" y="{self.height - 28}" text-anchor="middle">{at_ms // 1000} s</text>'
        for number, (colour, meaning) in enumerate(_LEGEND):
            x, y = LEFT + 130 * number, self.height - 10
            yield f'<rect x="{x}" y="{y - 9}" width="12" height="10" fill="{colour}"/><text x="{x + 17}" y="{y}">'
            yield f"{meaning}</text>"


def draw(run: Run, session: str) -> str:
    """An SVG document: one row for each party, time to the right, faults as lines through all rows."""
    own = [event for event in run.history.events if _is_of(event, session)]
    shown = [event for event in own if event.what in ("sent", "utterance", "taken", "result", "missing")]
    parties = sorted(dict.fromkeys(event.who for event in shown), key=_rank)
    first_ms, last_ms = (own[0].at_ms, own[-1].at_ms) if own else (0, run.simulated_ms)
    canvas = _Canvas(first_ms - 1_000, last_ms + 1_000, parties)
    for name, at_ms in _troubles(run):
        if canvas.from_ms <= at_ms <= canvas.until_ms:
            canvas.trouble(at_ms, name)
    _draw_speech(canvas, [event for event in shown if event.what == "sent"])
    _draw_work(canvas, own, {event.who: event.at_ms for event in run.history.of("killed")})
    for event in shown:
        if event.what in ("utterance", "result", "missing"):
            colour = {"utterance": _CUT, "result": _RESULT, "missing": _MISSING}[event.what]
            canvas.mark(event, colour, event.facts[1])
    size = f'viewBox="0 0 {LEFT + WIDTH + 40} {canvas.height}" font-family="sans-serif" font-size="11"'
    title = f"seed {run.plan.seed}, session {session}"
    body = [*canvas.frame(title), *canvas.parts]
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *body, "</svg>", ""])


def _draw_speech(canvas: _Canvas, sent: list[Event]) -> None:
    """Stretches of chunks that follow each other."""
    begin = 0
    for at, (event, following) in enumerate(pairwise([*sent, None])):
        assert event is not None
        if following is None or following.at_ms - event.at_ms > _RUN_MS:
            chunks = sent[begin : at + 1]
            packets = f"packets {chunks[0].facts[2]}–{event.facts[3]}"
            canvas.bar(event.who, chunks[0].at_ms, event.at_ms + 4 * speech.PACKET_MS, _SPEECH, packets)
            begin = at + 1


def _draw_work(canvas: _Canvas, own: list[Event], killed: dict[str, int]) -> None:
    """From when a node took a job until it answered, died, or the picture ends."""
    answered = {(e.who, e.facts[0], e.facts[1]): e.at_ms for e in own if e.what == "answered"}
    for event in own:
        if event.what == "taken":
            end_ms = answered.get((event.who, event.facts[0], event.facts[1]))
            until_ms = end_ms if end_ms is not None else event.at_ms + 1_000
            died_ms = killed.get(event.who, 0)
            if end_ms is None and died_ms > event.at_ms:
                until_ms = min(until_ms, died_ms)
            canvas.bar(event.who, event.at_ms, until_ms, _WORK if end_ms is not None else _LOST, str(event))


def _troubles(run: Run) -> Iterator[tuple[str, int]]:
    for event in run.history.of("fault", "killed", "healed"):
        yield {"fault": event.who, "killed": f"{event.who} dies"}.get(event.what, "healed"), event.at_ms


def _rank(who: str) -> tuple[int, str]:
    """The speaker, then instances, then nodes."""
    return (0 if who.startswith("client") else 2 if who.startswith("node") else 1), who


def _is_of(event: Event, session: str) -> bool:
    return any(session in fact for fact in event.facts if isinstance(fact, str))
