"""What was heard in the audio of one job: the recognitions of its batches as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lingua_scheduler.node.aggregation.audio_events import RATE, Batch, Span
from lingua_scheduler.node.aggregation.writing import join
from lingua_scheduler.node.engines.base import AsrResult
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.messages import SegmentsMeta

GOOD_QUALITY = 0.6
SUSPECT_QUALITY = 0.35
"""Below it speech recognition is mostly guessing: measured on noise and on languages that a model does not know."""


@dataclass(frozen=True, slots=True)
class Heard:
    """`text` is blank where nobody spoke."""

    text: str
    language: Language
    language_probability: float
    language_probabilities: Mapping[Language, float]
    quality: float
    span: Span
    """From the first sample to the last, pauses between the batches included."""
    segments: tuple[Span, ...]
    translation: str | None

    @property
    def quality_level(self) -> str:
        if self.quality >= GOOD_QUALITY:
            return "good"
        return "suspect" if self.quality >= SUSPECT_QUALITY else "bad"

    def segments_meta(self) -> SegmentsMeta | None:
        """Seconds: the longest pause between segments and the mean length of one."""
        if not self.segments:
            return None
        gaps = [(b.start - a.stop) / RATE for a, b in zip(self.segments, self.segments[1:], strict=False)]
        mean = sum(map(len, self.segments)) / len(self.segments) / RATE
        return SegmentsMeta(
            count=len(self.segments), max_gap=round(max(gaps, default=0.0), 3), avg_duration=round(mean, 3)
        )


def combine(parts: Sequence[tuple[Batch, AsrResult | None]]) -> Heard | None:
    """The batches of one job in order, those with nothing in them as None; None where no batch says anything.

    Languages and quality are weighted by the length of the audio: a word at the end must not outvote a sentence.
    """
    spoken = [(batch, result) for batch, result in parts if result is not None and result.text.strip()]
    if not spoken:
        return None
    total = sum(batch.samples for batch, _ in spoken)
    likely: dict[Language, float] = {}
    for batch, result in spoken:
        for one, probability in result.language_probabilities.items():
            likely[one] = likely.get(one, 0.0) + probability * batch.samples / total
    first = spoken[0][1]
    chosen = max(likely, key=lambda one: likely[one]) if likely else first.language
    translations = [result.translation for _, result in spoken if result.translation]
    return Heard(
        text=join([result.text for _, result in spoken]),
        language=chosen,
        language_probability=likely.get(chosen, first.language_probability),
        language_probabilities=likely,
        quality=sum(result.quality * batch.samples for batch, result in spoken) / total,
        span=Span(min(b.spans[0].start for b, _ in spoken), max(b.spans[-1].stop for b, _ in spoken)),
        segments=tuple(span for batch, result in spoken for span in _segments(batch, result)),
        translation=join(translations) if translations else None,
    )


def _segments(batch: Batch, result: AsrResult) -> list[Span]:
    """On the session's time line; a batch of several pieces is laid out from its first sample on."""
    start = batch.spans[0].start
    return [Span(start + one.start_samples, start + one.end_samples) for one in result.segments]
