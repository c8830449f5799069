"""Which ends of utterances are still to be said when a session goes on at another instance.

The record names the ends that were left (`Tail`); results that came while the session had no owner say, as nodes tell
it, which of them they took over, and which they left themselves. Pure: computed once, from what was read.
"""

from collections.abc import Iterator, Mapping, Sequence

from lingua_scheduler.core.session.events import JobConcluded
from lingua_scheduler.core.utterance import JobSpec, Missing, Tail, Translated, Written
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.messages import MissingResult
from lingua_scheduler.protocol.node import JobResult


class Leftovers:
    """`specs`: open jobs; `outcomes`: of those of them that have one."""

    def __init__(self, specs: Sequence[JobSpec], outcomes: Mapping[JobId, JobConcluded], tails: Sequence[Tail]) -> None:
        self._specs = {spec.job_id: spec for spec in specs}
        self._outcomes = outcomes
        self._taken = dict(self._taken_over())
        taken = {job_id: ms * self._rate(job_id) // 1000 for job_id, ms in self._taken.items()}
        ends = {tail.job_id: tail.samples for tail in tails if tail.is_said} | taken
        self.said_samples = {job_id: samples for job_id, samples in ends.items() if job_id in self._specs}
        """How much of the ends of open utterances is in the results of others."""
        noted = {tail.job_id for tail in tails}
        left = [*tails, *(tail for tail in self._left() if tail.job_id not in noted)]
        self.unsaid = [tail for tail in left if self._is_unsaid(tail)]
        self.said_indices = {tail.index for tail in left} - {tail.index for tail in self.unsaid}

    def merged(self) -> dict[JobId, JobConcluded]:
        """Open utterances that are in the results of others from end to end."""
        found: dict[JobId, JobConcluded] = {}
        for job_id, ms in self._taken.items():
            spec = self._specs.get(job_id)
            if spec is not None and job_id not in self._outcomes and ms >= spec.utterance.duration_ms:
                found[job_id] = JobConcluded(job_id, spec.utterance.index, spec.tgt_lang, Missing("merged"))
        return found

    def _reports(self) -> Iterator[tuple[JobSpec, JobResult]]:
        for job_id, event in self._outcomes.items():
            if isinstance(event.outcome, Translated):
                yield self._specs[job_id], event.outcome.result

    def _taken_over(self) -> Iterator[tuple[JobId, int]]:
        for spec, result in self._reports():
            for one in result.taken_over or ():
                if one.job_id != spec.job_id:
                    yield JobId(one.job_id), one.ms

    def _rate(self, job_id: JobId) -> int:
        spec = self._specs.get(job_id)
        return spec.utterance.sample_rate if spec is not None else 0

    def _left(self) -> Iterator[Tail]:
        for spec, result in self._reports():
            if result.carried_ms:
                utterance = spec.utterance
                samples = min(-(-result.carried_ms * utterance.sample_rate // 1000), utterance.samples)
                yield Tail(spec.job_id, utterance.index, spec.tgt_lang, samples, None)

    def _is_unsaid(self, tail: Tail) -> bool:
        """Not while its own job is open, which says it all; nor where whoever was to say it has a result."""
        is_open = tail.job_id in self._specs and tail.job_id not in self._outcomes
        if tail.is_said or is_open or tail.job_id in self._taken:
            return False
        heir = tail.heir or self._next_job(tail)
        if heir is None or heir not in self._outcomes:
            return heir is None or heir in self._specs
        outcome = self._outcomes[heir].outcome
        if isinstance(outcome, Translated) and outcome.result.taken_over is not None:
            return heir not in {one.job_id for one in outcome.result.taken_over}
        told = outcome.message if isinstance(outcome, Written) else outcome
        return isinstance(told, MissingResult | Missing) and told.reason != "merged"

    def _next_job(self, tail: Tail) -> JobId | None:
        """Who took it over, or is to: the tail was noted before that job was sent."""
        later = [
            spec
            for spec in self._specs.values()
            if spec.tgt_lang == tail.tgt_lang and spec.utterance.index > tail.index
        ]
        return min(later, key=lambda spec: spec.utterance.index).job_id if later else None
