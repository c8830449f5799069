"""How long stages took and how jobs ended: the numbers of `processing_metrics` and of a job's `service_timings`."""

from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Literal

from lingua_scheduler.node.engines.base import Stage

Phase = Literal["decode", "asr", "semantic", "nmt", "tts", "encode", "total"]
Ending = Literal["completed", "empty", "merged", "failed", "cancelled", "rejected"]
_KEPT = 200
"""Durations of each phase from which percentiles are taken."""

PHASE_OF: dict[Stage, Phase] = {Stage.ASR: "asr", Stage.MT: "nmt", Stage.TTS: "tts", Stage.SEMANTIC: "semantic"}


class Meter:
    """Counts for the whole node."""

    def __init__(self) -> None:
        self._durations: dict[Phase, deque[float]] = {}
        self._endings: Counter[Ending] = Counter()

    def took(self, phase: Phase, ms: float) -> None:
        self._durations.setdefault(phase, deque(maxlen=_KEPT)).append(ms)

    def ended(self, how: Ending) -> None:
        self._endings[how] += 1

    def count(self, how: Ending) -> int:
        return self._endings[how]

    def snapshot(self) -> dict[str, Any]:
        """`{jobs: {completed: 3, …}, phases: {asr: {count, p50_ms, p95_ms}, …}}` over the last 200 of each phase."""
        phases: dict[str, Any] = {}
        for phase, durations in self._durations.items():
            ranked = sorted(durations)
            phases[phase] = {
                "count": len(ranked),
                "p50_ms": round(ranked[len(ranked) // 2], 1),
                "p95_ms": round(ranked[len(ranked) * 95 // 100], 1),
            }
        return {"jobs": dict(self._endings), "phases": phases}


class Stopwatch:
    """The durations of one job's phases in milliseconds, as measured around each; repeats add up."""

    def __init__(self, now: Callable[[], float], meter: Meter) -> None:
        self._now = now
        self._meter = meter
        self._began = now()
        self.ms: dict[Phase, float] = {}
        self.spans: list[tuple[Phase, float, float]] = []
        """When each measured stretch began and ended, by the clock that it was given."""

    @contextmanager
    def measure(self, phase: Phase) -> Generator[None]:
        began = self._now()
        try:
            yield
        finally:
            ended = self._now()
            self.spans.append((phase, began, ended))
            self.add(phase, (ended - began) * 1000)

    def add(self, phase: Phase, ms: float) -> None:
        self.ms[phase] = self.ms.get(phase, 0.0) + ms
        self._meter.took(phase, ms)

    def total_ms(self) -> float:
        return (self._now() - self._began) * 1000
