"""What a session's log proves: which utterances were answered, how, how late, and whether any was lost or doubled.

It sees only what a client sees. An utterance is known to exist when the scheduler names its index in any message, or
when the client ended one itself: each final behind audio closes an utterance, whatever else did before.

Latency runs from the end of speech, the moment the last voiced sample of the utterance was spoken, to the moment its
text arrived (its speech: was ready to be played). The scheduler says in `speech_end_ms` where on the session's audio
time line an utterance ends; when that was spoken is remembered here, for the last `MARKS_MAX` chunks.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

from lingua_scheduler.client.events import SessionEvent
from lingua_scheduler.client.session import SAMPLE_RATE
from lingua_scheduler.protocol.audio import ms_to_samples
from lingua_scheduler.protocol.messages import AsrPartial, MissingResult, TranslationResult, UiEvent

MARKS_MAX = 36_000
"""An hour of chunks of 100 ms. Of what was said before, no latency is known."""

_SILENT = frozenset({"silence_detected", "no_speech", "merged"})
_PENDING = "gap_timeout"
"""Announces that a result is late; it may still come and then takes this one's place."""

Outcome = TranslationResult | MissingResult


@dataclass(slots=True)
class Utterance:
    """One answered utterance."""

    outcome: Outcome
    spoken_at_ms: int | None
    """When its last voiced sample was spoken; None where nothing tells, or there is no text."""
    text_at_ms: int
    sound_at_ms: int | None = None

    @property
    def index(self) -> int:
        return self.outcome.utterance_index

    @property
    def text_latency_ms(self) -> int | None:
        return None if self.spoken_at_ms is None else self.text_at_ms - self.spoken_at_ms

    @property
    def sound_latency_ms(self) -> int | None:
        """None also where there is no speech."""
        return None if self.spoken_at_ms is None or self.sound_at_ms is None else self.sound_at_ms - self.spoken_at_ms


@dataclass(frozen=True, slots=True)
class Tally:
    """`lost` and `duplicated` count utterances without an answer, and answers beyond the first."""

    utterances: int
    translated: int
    without_speech: int
    failed: int
    lost: int
    duplicated: int


class SessionLog:
    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._answered: dict[int, Utterance] = {}
        self._known_count = 0
        self._finals = 0
        self._has_audio = False
        self._duplicated = 0
        self._marks: deque[tuple[int, int]] = deque(maxlen=MARKS_MAX)
        """Where on the audio time line, in samples, voiced audio ended, and when that was spoken."""

    @property
    def utterances(self) -> list[Utterance]:
        """Answered ones, by index."""
        return [self._answered[index] for index in sorted(self._answered)]

    def spoke(self, up_to_samples: int, at_ms: int) -> None:
        """Voiced audio was sent, its last sample at `up_to_samples` of the time line, spoken at `at_ms`."""
        self._has_audio = True
        self._marks.append((up_to_samples, at_ms))

    def ended_utterance(self) -> None:
        """A final was sent."""
        self._finals += self._has_audio
        self._has_audio = False

    def received(self, event: SessionEvent, at_ms: int) -> Utterance | None:
        """Note an event; the utterance that it answers, if it is the first to."""
        match event:
            case TranslationResult() | MissingResult() if event.session_id == self._session_id:
                self._know(event.utterance_index)
                return self._answer(event, at_ms)
            case AsrPartial() | UiEvent() if event.session_id == self._session_id:
                self._know(event.utterance_index)
            case _:
                pass
        return None

    def tally(self) -> Tally:
        outcomes = [utterance.outcome for utterance in self._answered.values()]
        missing = [outcome.reason for outcome in outcomes if isinstance(outcome, MissingResult)]
        silent = sum(reason in _SILENT for reason in missing)
        expected = max(self._known_count, self._finals)
        return Tally(
            utterances=expected,
            translated=len(outcomes) - len(missing),
            without_speech=silent,
            failed=len(missing) - silent,
            lost=expected - len(outcomes),
            duplicated=self._duplicated,
        )

    def _know(self, index: int) -> None:
        self._known_count = max(self._known_count, index + 1)

    def _answer(self, outcome: Outcome, at_ms: int) -> Utterance | None:
        before = self._answered.get(outcome.utterance_index)
        if before is not None and getattr(before.outcome, "reason", "") != _PENDING:
            self._duplicated += 1
            return None
        utterance = Utterance(outcome, self._spoken_at_ms(outcome), at_ms)
        self._answered[outcome.utterance_index] = utterance
        return utterance

    def _spoken_at_ms(self, outcome: Outcome) -> int | None:
        if isinstance(outcome, MissingResult) or outcome.speech_end_ms is None:
            return None
        # Milliseconds are rounded down: up to one of them may belong to the next utterance, which begins unvoiced.
        end_samples = ms_to_samples(outcome.speech_end_ms + 1, SAMPLE_RATE)
        at = bisect_right(self._marks, end_samples, key=lambda mark: mark[0])
        return self._marks[at - 1][1] if at else None


def percentile(values: list[int], percent: int) -> int | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(rank, 1) - 1]
