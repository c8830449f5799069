"""A picture of a report: bars for figures beside their floors and targets, curves for latencies."""

import math
from collections.abc import Iterator
from html import escape

from lingua_scheduler.bench.report import Figure, Latency, Report, shown

WIDTH, LEFT, ROW, BAR = 900, 300, 34, 11
CURVE, TOP = 240, 64
_COLOURS = ("#3b6ea5", "#c08a2e", "#5a8f4e", "#8a5a9e", "#777")
_FLOOR, _GRID, _MISSED = "#b9c4cf", "#e4e4e4", "#b3261e"
_SHARES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def draw(report: Report) -> str:
    """An SVG document."""
    bars = [one for one in report.figures if one.value > 0]
    height = TOP + ROW * len(bars) + (CURVE + 50 + 18 * len(report.latencies) if report.latencies else 0) + 20
    told = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    machine = ", ".join(f"{name} {report.machine[name]}" for name in ("cpu", "cores", "system", "python", "load"))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 40} {height}"',
        ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">lingua bench {escape(report.scenario)}</text>',
        f'<text x="12" y="40" fill="#555">{escape(told)} · {escape(machine)}</text>',
    ]
    for number, one in enumerate(bars):
        parts += _bars(one, TOP + ROW * number)
    if report.latencies:
        parts += _curves(report.latencies, TOP + ROW * len(bars) + 24)
    return "\n".join([*parts, "</svg>", ""])


def _bars(one: Figure, top: int) -> Iterator[str]:
    """The value with its spread, the floor below it, the target as a line; every figure has a scale of its own."""
    reach = max(one.high, one.floor or 0, one.target or 0, (one.floor or 0) * (one.ratio_target or 0)) * 1.4
    yield f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(one.name)}</text>'
    colour = _MISSED if one.is_met is False else _COLOURS[0]
    yield f'<rect x="{LEFT}" y="{top}" width="{_x(one.value, reach)}" height="{BAR}" fill="{colour}"/>'
    low, high = LEFT + _x(one.low, reach), LEFT + _x(one.high, reach)
    yield f'<path d="M{low} {top + BAR / 2}H{high}" stroke="black"/>'
    told = f"{shown(one.value)} {one.unit}" + (f" = × {one.ratio:.2f}" if one.ratio is not None else "")
    yield f'<text x="{high + 8}" y="{top + 10}">{escape(told)}</text>'
    if one.floor is not None:
        width, y = _x(one.floor, reach), top + BAR + 2
        yield f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR - 3}" fill="{_FLOOR}"/>'
        x = LEFT + width + 8
        yield f'<text x="{x}" y="{top + 2 * BAR}" fill="#777">floor {shown(one.floor)}</text>'
    limit = one.target if one.target is not None else (one.floor or 0) * (one.ratio_target or 0)
    if limit:
        x = LEFT + _x(limit, reach)
        yield f'<path d="M{x} {top - 3}v{2 * BAR + 4}" stroke="{_MISSED}" stroke-dasharray="3 2"/>'


def _curves(latencies: list[Latency], top: int) -> Iterator[str]:
    """Milliseconds over percentiles, both on scales on which the tail has room."""
    greatest = max([one.values["max"] for one in latencies] + [1.0])
    decades = max(1, math.ceil(math.log10(greatest / 0.1)))
    for decade in range(decades + 1):
        y = top + CURVE - CURVE * decade / decades
        yield f'<path d="M{LEFT} {y:.0f}h{WIDTH - 60}" stroke="{_GRID}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{10**decade / 10:g} ms</text>'
    step = (WIDTH - 60) / (len(_SHARES) - 1)
    for number, share in enumerate(_SHARES):
        yield f'<text x="{LEFT + number * step:.0f}" y="{top + CURVE + 18}" text-anchor="middle">{share}</text>'
    for number, one in enumerate(latencies):
        colour = _COLOURS[number % len(_COLOURS)]
        for values, dash in ((one.values, ""), (one.floor, ' stroke-dasharray="4 3"')):
            if values is not None:
                points = " ".join(
                    f"{LEFT + at * step:.0f},{_y(values[share], top, decades):.0f}" for at, share in enumerate(_SHARES)
                )
                yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        name = one.name + (" (dashed: its floor)" if one.floor is not None else "")
        yield f'<text x="{LEFT}" y="{top + CURVE + 40 + 18 * number}" fill="{colour}">{escape(name)}</text>'


def _x(value: float, reach: float) -> int:
    return round(value / reach * WIDTH) if reach else 0


def _y(ms: float, top: int, decades: int) -> float:
    return top + CURVE - CURVE * max(0.0, math.log10(max(ms, 0.1) / 0.1)) / decades
