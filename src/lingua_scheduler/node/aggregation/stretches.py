"""Audio on a session's time line: whose it is, who will report it, and how it is taken apart and put together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lingua_scheduler.node.aggregation.audio_events import Audio, Span
from lingua_scheduler.protocol.ids import JobId


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A run of samples that one job brought."""

    start: int
    audio: Audio
    origin: JobId
    """The job that brought it."""
    taker: JobId | None
    """The open job that will report it, or be merged into the one that does; None while it waits for a successor."""
    left_by: JobId | None = None
    """The successor that had taken it and was dropped."""

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.audio))

    def part(self, span: Span) -> "Stretch":
        """The part inside `span`, which must overlap. It shares the samples."""
        start, stop = max(span.start, self.start), min(span.stop, self.start + len(self.audio))
        audio = self.audio[start - self.start : stop - self.start]
        return replace(self, start=start, audio=audio)

    def belongs_to(self, job: JobId) -> bool:
        return job in {self.origin, self.taker}


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Audio without a gap in it, wherever it came from."""

    start: int
    audio: Audio

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.audio))

    def cut(self, points: Sequence[int]) -> "list[Piece]":
        """At `points`, in samples from its start, ascending."""
        edges = [0, *points, len(self.audio)]
        return [Piece(self.start + start, self.audio[start:stop]) for start, stop in pairwise(edges)]


def samples(stretches: Iterable[Stretch]) -> int:
    return sum(len(stretch.audio) for stretch in stretches)


def joined(stretches: Sequence[Stretch]) -> list[Piece]:
    """Stretches in order, those that touch put together (a copy where several do)."""
    runs: list[list[Stretch]] = []
    for stretch in stretches:
        if runs and runs[-1][-1].span.stop == stretch.start:
            runs[-1].append(stretch)
        else:
            runs.append([stretch])
    return [
        Piece(run[0].start, run[0].audio if len(run) == 1 else np.concatenate([part.audio for part in run]))
        for run in runs
    ]


def split_at(stretches: Iterable[Stretch], position: int) -> tuple[list[Stretch], list[Stretch]]:
    """What lies before `position` and what lies after it."""
    before: list[Stretch] = []
    after: list[Stretch] = []
    for stretch in stretches:
        span = stretch.span
        if span.start < position:
            before.append(stretch.part(Span(span.start, position)))
        if span.stop > position:
            after.append(stretch.part(Span(position, span.stop)))
    return before, after


def outside(whole: Span, taken: Iterable[Span]) -> list[Span]:
    """The parts of `whole` that are in none of `taken`, in order."""
    left: list[Span] = []
    at = whole.start
    for span in sorted(taken):
        if span.start > at and at < whole.stop:
            left.append(Span(at, min(span.start, whole.stop)))
        at = max(at, span.stop)
    if at < whole.stop:
        left.append(Span(at, whole.stop))
    return left
