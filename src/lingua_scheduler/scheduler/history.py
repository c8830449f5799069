"""The last ten minutes of the fleet, for the charts: a ring of samples, and what came and went.

A sample says what was true at its moment, and what happened since the one before. Counts of an instance that is seen
for the first time are its starting point, not news.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from lingua_scheduler.scheduler.reports import Report
from lingua_scheduler.scheduler.tally import STAGES, added, percentile_ms
from lingua_scheduler.store.records import NodeSnapshot, PoolSnapshot

SAMPLE_MS = 1900
"""Rounds that follow each other faster share a sample."""
SAMPLES = 315
"""Ten minutes of them."""
LATENCY_SAMPLES = 15
"""Percentiles are of half a minute: of two seconds there would be too few durations."""
EVENTS = 100


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    at_ms: int
    """Wall time."""
    nodes: int
    slots: int
    taken: int
    waiting: int
    jobs_open: int
    sessions: int
    load: float
    """Of the slots in the fleet, 0–1."""
    cpu: float | None
    """Mean of what nodes say of their busiest processor, 0–1."""
    finished: int
    missing: int
    failovers: int
    stages: dict[str, tuple[int, int] | None]
    """p50 and p95 in milliseconds, where anything was measured."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something came, went or changed."""

    at_ms: int
    kind: str
    """`node_joined`, `node_lost`, `node_status`, `instance_joined`, `instance_lost`."""
    who: str
    detail: str = ""


class History:
    """Fed once per round with what the fleet looks like."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self.events: deque[Event] = deque(maxlen=EVENTS)
        self._seq = 0
        self._reports: dict[str, Report] = {}
        self._durations: deque[dict[str, Counter[int]]] = deque(maxlen=LATENCY_SAMPLES)
        self._statuses: dict[str, str] | None = None
        self._instances: set[str] | None = None

    def after(self, seq: int) -> list[Sample]:
        """The samples that whoever saw `seq` has not seen."""
        return [sample for sample in self.samples if sample.seq > seq]

    def add(
        self, wall_ms: int, nodes: list[NodeSnapshot], pools: list[PoolSnapshot], reports: Mapping[str, Report]
    ) -> None:
        """One round. Events are noted at once, a sample only when it is time for one."""
        self._note_nodes(wall_ms, {node.node_id: node.status for node in nodes})
        self._note_instances(wall_ms, set(reports))
        if self.samples and 0 <= wall_ms - self.samples[-1].at_ms < SAMPLE_MS:
            return
        deltas = [_since(report, self._reports.get(name)) for name, report in reports.items()]
        self._reports = dict(reports)
        self._durations.append({stage: added(delta.stages.get(stage, {}) for delta in deltas) for stage in STAGES})
        outcomes = added(delta.outcomes for delta in deltas)
        self._seq += 1
        slots, taken = sum(node.capacity for node in nodes), sum(node.reserved for node in nodes)
        self.samples.append(
            Sample(
                seq=self._seq,
                at_ms=wall_ms,
                nodes=len(nodes),
                slots=slots,
                taken=taken,
                waiting=sum(pool.waiting for pool in pools),
                jobs_open=sum(report.jobs_open for report in reports.values()),
                sessions=sum(report.sessions for report in reports.values()),
                load=round(min(1.0, taken / slots), 4) if slots else 0.0,
                cpu=round(sum(node.load for node in nodes) / len(nodes), 4) if nodes else None,
                finished=outcomes["translated"],
                missing=outcomes.total() - outcomes["translated"],
                failovers=added(delta.retries for delta in deltas).total(),
                stages={stage: self._percentiles(stage) for stage in STAGES},
            )
        )

    def _percentiles(self, stage: str) -> tuple[int, int] | None:
        buckets = added(round_.get(stage, {}) for round_ in self._durations)
        half, most = percentile_ms(buckets, 0.5), percentile_ms(buckets, 0.95)
        return None if half is None or most is None else (half, most)

    def _note_nodes(self, wall_ms: int, statuses: dict[str, str]) -> None:
        before, self._statuses = self._statuses, statuses
        if before is None:
            return
        self._note(wall_ms, "node_joined", statuses.keys() - before.keys())
        self._note(wall_ms, "node_lost", before.keys() - statuses.keys())
        for node_id in sorted(statuses.keys() & before.keys()):
            if statuses[node_id] != before[node_id] and before[node_id] != "registering":
                self.events.append(Event(at_ms=wall_ms, kind="node_status", who=node_id, detail=statuses[node_id]))

    def _note_instances(self, wall_ms: int, names: set[str]) -> None:
        before, self._instances = self._instances, names
        if before is not None:
            self._note(wall_ms, "instance_joined", names - before)
            self._note(wall_ms, "instance_lost", before - names)

    def _note(self, wall_ms: int, kind: str, names: Iterable[str]) -> None:
        self.events.extend(Event(at_ms=wall_ms, kind=kind, who=name) for name in sorted(names))


class _Delta(msgspec.Struct, frozen=True):
    outcomes: dict[str, int]
    retries: dict[str, int]
    stages: dict[str, dict[int, int]]


def _since(report: Report, before: Report | None) -> _Delta:
    if before is None:
        return _Delta({}, {}, {})
    return _Delta(
        _grown(report.outcomes, before.outcomes),
        _grown(report.retries, before.retries),
        {stage: _grown(buckets, before.stages.get(stage, {})) for stage, buckets in report.stages.items()},
    )


def _grown(now: Mapping[Any, int], before: Mapping[Any, int]) -> dict[Any, int]:
    """By how much each count grew; one that shrank belongs to an instance that began anew under its name."""
    return {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}
