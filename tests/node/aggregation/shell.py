"""A pipeline without models: it runs an AudioAggregator, and its recogniser answers with the spans it was given."""

from dataclasses import dataclass, field

import numpy as np

from lingua_scheduler.node.aggregation.audio import AudioAggregator
from lingua_scheduler.node.aggregation.audio_events import (
    RATE,
    Adopt,
    Audio,
    AudioArrived,
    AudioEffect,
    AudioEvent,
    Batch,
    Conclude,
    Cut,
    Discard,
    Dismiss,
    Hold,
    Ignore,
    JobDropped,
    JobReported,
    Recognize,
    Refuse,
    SessionEnded,
    Span,
    TimeReached,
    Unclaimed,
)
from lingua_scheduler.node.aggregation.limits import AudioLimits
from lingua_scheduler.protocol.ids import JobId

_SCALE = 2.0**-24
_ABOVE_SILENCE = 2**22


def true_audio(start: int, samples: int) -> Audio:
    """Sample k of a true time line says by its value that it is number k: exact in float32 for 13 minutes."""
    return ((np.arange(start, start + samples) + _ABOVE_SILENCE) * _SCALE).astype(np.float32)


def noise(seconds: float, rms: float = 0.1, seed: int = 0) -> Audio:
    return (np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * rms).astype(np.float32)


def speech(*seconds: float, rms: float = 0.1, pause_s: float = 0.4, noise_rms: float = 0.001) -> Audio:
    """Loud runs of the given lengths with pauses between them."""
    parts: list[Audio] = []
    for number, length in enumerate(seconds):
        parts += [noise(pause_s, noise_rms, 100 + number)] if number else []
        parts.append(noise(length, rms, number))
    return np.concatenate(parts)


def job(number: int) -> JobId:
    return JobId(f"job-{number}")


def arrived(
    number: int,
    audio: Audio | float,
    cut: Cut = Cut.MANUAL,
    *,
    attempt: int = 1,
    index: int | None = None,
    carried: int = 0,
    start: int | None = None,
) -> AudioArrived:
    """Job `number`, by default with its own number as its index; audio as a number is so many seconds of noise."""
    samples = noise(audio, seed=number) if isinstance(audio, int | float) else audio
    return AudioArrived(job(number), attempt, number if index is None else index, samples, cut, carried, start)


def as_spans(spans: list[Span]) -> list[Span]:
    """Neighbours put together."""
    whole: list[Span] = []
    for span in spans:
        if whole and whole[-1].stop == span.start:
            whole[-1] = Span(whole[-1].start, span.stop)
        else:
            whole.append(span)
    return whole


@dataclass
class Shell:
    """Feeds events, obeys effects, and counts on what they promise."""

    limits: AudioLimits = field(default_factory=AudioLimits)
    now_ms: int = 0
    batches: dict[int, Batch] = field(default_factory=dict[int, Batch])
    dismissed: set[int] = field(default_factory=set[int])
    plans: dict[JobId, Conclude] = field(default_factory=dict[JobId, Conclude])
    attempts: dict[JobId, int] = field(default_factory=dict[JobId, int])
    held: dict[JobId, Hold] = field(default_factory=dict[JobId, Hold])
    results: list[tuple[JobId, int, Conclude]] = field(default_factory=list[tuple[JobId, int, Conclude]])
    merged: dict[JobId, JobId] = field(default_factory=dict[JobId, JobId])
    unclaimed: list[int] = field(default_factory=list[int])
    refused: list[JobId] = field(default_factory=list[JobId])

    def __post_init__(self) -> None:
        self.machine = AudioAggregator(self.limits)

    def feed(self, event: AudioEvent, at_ms: int | None = None) -> list[AudioEffect]:
        self.now_ms = self.now_ms if at_ms is None else at_ms
        effects = self.machine.handle(event, self.now_ms)
        self.machine.check()
        if isinstance(event, AudioArrived) and not any(isinstance(effect, Ignore | Refuse) for effect in effects):
            self.attempts[event.job] = event.attempt
        for effect in effects:
            self._obey(effect)
        return effects

    def _obey(self, effect: AudioEffect) -> None:
        match effect:
            case Recognize(batch) | Dismiss(batch):
                assert batch.number not in self.batches
                assert [len(audio) for audio in batch.audio] == [len(span) for span in batch.spans]
                self.batches[batch.number] = batch
                self.dismissed |= {batch.number} if isinstance(effect, Dismiss) else set()
            case Conclude():
                assert all(number in self.batches for number in effect.batches)
                self.plans[effect.job] = effect
                for ended in (effect.job, *effect.merged):
                    self.held.pop(ended, None)
            case Hold():
                assert effect.deadline_ms >= self.now_ms
                self.held[effect.job] = effect
            case Discard():
                gone = set(effect.batches)
                self.plans = {key: plan for key, plan in self.plans.items() if not gone & set(plan.batches)}
            case Unclaimed():
                self.unclaimed += effect.batches
            case Refuse():
                self.refused.append(effect.job)
            case Adopt() | Ignore():
                pass

    def report(self, job_id: JobId) -> None:
        """The pipeline is through with a job: its result and those merged into it go out."""
        plan = self.plans.pop(job_id)
        for member in plan.merged:
            assert member not in self.merged
            self.merged[member] = job_id
        self.results.append((job_id, self.attempts[job_id], plan))
        self.feed(JobReported(job_id))

    def report_all(self) -> None:
        for job_id in list(self.plans):
            self.report(job_id)

    def drop(self, job_id: JobId) -> list[AudioEffect]:
        self.plans.pop(job_id, None)
        self.held.pop(job_id, None)
        return self.feed(JobDropped(job_id))

    def run_timers(self, until_ms: int) -> None:
        while (deadline := self.machine.next_deadline_ms()) is not None and deadline <= until_ms:
            self.feed(TimeReached(), max(deadline, self.now_ms))
        self.now_ms = until_ms

    def end(self) -> None:
        self.feed(SessionEnded())
        self.report_all()

    def spans_of(self, plan: Conclude) -> list[Span]:
        return [span for number in plan.batches for span in self.batches[number].spans]

    def heard(self) -> list[Span]:
        """What all results said, in the order in which they went out."""
        return as_spans([span for _, _, plan in self.results for span in self.spans_of(plan)])

    def true_samples(self, numbers: list[int]) -> list[Span]:
        """Read back from the audio itself which samples of the true time line the batches hold."""
        spans: list[Span] = []
        for number in numbers:
            for audio in self.batches[number].audio:
                first = round(float(audio[0]) / _SCALE) - _ABOVE_SILENCE
                assert np.array_equal(audio, true_audio(first, len(audio))), "a piece holds samples out of order"
                spans.append(Span(first, first + len(audio)))
        return spans

    def said(self) -> list[Span]:
        """What all results said, as samples of the true time line."""
        return [span for _, _, plan in self.results for span in self.true_samples(list(plan.batches))]
