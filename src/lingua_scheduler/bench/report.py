"""What a scenario found out: figures beside their floors and targets, latencies, errors; for people and as JSON."""

import statistics
from collections.abc import Iterator, Sequence

import msgspec

from lingua_scheduler.bench.histogram import Histogram
from lingua_scheduler.bench.machine import described


class Figure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Medians of the rounds; `low` and `high` are the least and the greatest."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    rounds: int = 1
    floor: float | None = None
    ratio: float | None = None
    """To the floor: the median of the ratios of rounds that alternated."""
    target: float | None = None
    ratio_target: float | None = None
    at_least: bool = False
    """Whether the target is to be reached, not kept."""

    @property
    def is_met(self) -> bool | None:
        """None: nothing was promised."""
        judged = [
            (one >= limit) if self.at_least else (one <= limit)
            for one, limit in ((self.value, self.target), (self.ratio, self.ratio_target))
            if one is not None and limit is not None
        ]
        return all(judged) if judged else None


class Latency(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Milliseconds from when something was due."""

    name: str
    values: dict[str, float]
    targets: dict[str, float] = {}
    """By percentile."""
    floor: dict[str, float] | None = None

    @property
    def is_met(self) -> bool | None:
        return all(self.values[name] <= limit for name, limit in self.targets.items()) if self.targets else None


class Report(msgspec.Struct, kw_only=True):
    """Of one scenario. What was counted per round is in the figures; errors are of all rounds."""

    scenario: str
    settings: dict[str, str | int | float]
    figures: list[Figure] = []
    latencies: list[Latency] = []
    errors: dict[str, int] = {}
    notes: list[str] = []
    machine: dict[str, str] = msgspec.field(default_factory=described)

    @property
    def is_met(self) -> bool:
        """Whether nothing was lost and no target missed."""
        return not self.errors and all(one.is_met is not False for one in (*self.figures, *self.latencies))

    def add_errors(self, errors: dict[str, int]) -> None:
        for name, count in errors.items():
            self.errors[name] = self.errors.get(name, 0) + count

    def lines(self) -> Iterator[str]:
        """For people."""
        told = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        yield f"{self.scenario}: {told}"
        yield "  " + ", ".join(f"{name} {value}" for name, value in self.machine.items())
        for figure in self.figures:
            yield "  " + figure_line(figure)
        for latency in self.latencies:
            yield "  " + latency_line(latency)
        yield "  errors: " + (", ".join(f"{count} × {name}" for name, count in self.errors.items()) or "none")
        yield from (f"  {note}" for note in self.notes)


def figure(name: str, unit: str, values: Sequence[float], floors: Sequence[float] = ()) -> Figure:
    """Of alternating rounds: the i-th value was measured next to the i-th floor."""
    ratios = [value / floor for value, floor in zip(values, floors, strict=False) if floor]
    return Figure(
        name=name, unit=unit, value=statistics.median(values), low=min(values), high=max(values), rounds=len(values),
        floor=statistics.median(floors) if floors else None, ratio=statistics.median(ratios) if ratios else None,
    )  # fmt: skip


def latency(name: str, counted: Histogram, targets: dict[str, float] | None = None) -> Latency:
    return Latency(name=name, values=counted.summary_ms(), targets=targets or {})


def figure_line(figure: Figure) -> str:
    """`frame, JSON 21.4 µs (19.8–25.0 in 5 rounds), floor 14.1, × 1.52 (target × 2.0: met)`."""
    told = f"{figure.name:34} {shown(figure.value)} {figure.unit}"
    if figure.rounds > 1:
        told += f" ({shown(figure.low)}–{shown(figure.high)} in {figure.rounds} rounds)"
    if figure.floor is not None:
        told += f", floor {shown(figure.floor)}"
    if figure.ratio is not None:
        told += f", × {figure.ratio:.2f}"
    limits = [f"× {figure.ratio_target}"] if figure.ratio_target is not None else []
    limits += [f"{shown(figure.target)} {figure.unit}"] if figure.target is not None else []
    if limits:
        told += f" (target {', '.join(limits)}: {'met' if figure.is_met else 'missed'})"
    return told


def latency_line(latency: Latency) -> str:
    """`dispatch p50 1.20 p90 … max 9.33 ms of 812 (p99 ≤ 15: met)`."""
    values = latency.values
    told = f"{latency.name:34} " + "  ".join(f"{name} {values[name]:.2f}" for name in values if name != "count")
    told += f" ms of {values['count']:.0f}"
    if latency.floor is not None:
        told += f"; floor p50 {latency.floor['p50']:.2f}, p99 {latency.floor['p99']:.2f}"
    if latency.targets:
        wanted = ", ".join(f"{name} ≤ {limit:g}" for name, limit in latency.targets.items())
        told += f" ({wanted}: {'met' if latency.is_met else 'missed'})"
    return told


def shown(value: float) -> str:
    """Three digits, or all that there are."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
