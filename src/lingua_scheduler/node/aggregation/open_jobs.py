"""The jobs that an AudioAggregator knows: which wait, which are being recognised, and which it has seen before."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from lingua_scheduler.node.aggregation.audio_events import AudioArrived
from lingua_scheduler.protocol.ids import JobId

HoldReason = Literal["short", "unflagged", "no_complete_batch"]


class State(StrEnum):
    HELD = "held"
    """Its audio waits for a successor, at most until its deadline."""
    WORKING = "working"
    """Its text is being recognised, or that of the job it is merged into."""
    CLOSED = "closed"
    """Its result was handed over, or it was dropped."""


@dataclass(slots=True)
class Job:
    id: JobId
    attempt: int
    index: int
    own_start: int
    """Where its own audio, after any carried head, begins on the time line: the same for every attempt."""
    state: State = State.WORKING
    hold_reason: HoldReason = "short"
    deadline_ms: int = 0


class JobBook:
    """Jobs in the order in which they came. Bounded: beyond `capacity` the longest closed is forgotten."""

    def __init__(self, capacity: int) -> None:
        self._jobs: dict[JobId, Job] = {}
        self._capacity = capacity

    def get(self, job: JobId) -> Job | None:
        return self._jobs.get(job)

    def enter(self, event: AudioArrived, own_start: int) -> Job:
        """Write down an attempt that is taken on; a later attempt takes its job to the end of the order."""
        self._jobs.pop(event.job, None)
        job = Job(event.job, event.attempt, event.utterance_index, own_start)
        self._jobs[job.id] = job
        if len(self._jobs) > self._capacity:
            self._jobs.pop(next(known.id for known in self._jobs.values() if known.state is State.CLOSED))
        return job

    def held(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state is State.HELD]

    def open_count(self) -> int:
        return sum(job.state is not State.CLOSED for job in self._jobs.values())

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())
