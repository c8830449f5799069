"""Decides whether a recognised text goes on from the one before (MERGE) or starts anew (NEW_STREAM).

Theory of operation
===================

Each session has at most one *stream*: the texts, newest last, that were taken for one run of speech. A text is judged
against the last one of its session, on the audio time line, by the first rule that holds:

| rule | decision |
|---|---|
| this text or the one before was ended by the speaker's hand | NEW_STREAM |
| nothing came before | NEW_STREAM |
| gap ≥ hard | NEW_STREAM |
| gap > switch gap, both languages differ and are sure (p ≥ 0.80, ahead of the next likely by the margin) | NEW_STREAM |
| gap ≤ strong | MERGE |
| score ≥ 2.5 and gap ≤ soft | MERGE |
| else | NEW_STREAM |

MERGE gives the texts before as context and a joined text for display. It never changes what a job reports: that is its
own text, less a beginning which both texts hold because *their audio overlaps in time*. Texts that merely resemble each
other are left alone, and no text is too short to count.

A text whose audio begins before the last one's did came late: it starts nothing and continues nothing, and the last
text stays the last.

Bounds: 500 sessions, of which the longest unused is forgotten; 5 minutes without a text; 10 texts of a stream. Time is
looked at when a text comes, so no timer is needed.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from lingua_scheduler.node.aggregation.audio_events import SAMPLES_PER_MS, Span
from lingua_scheduler.node.aggregation.lexicon import ends_open
from lingua_scheduler.node.aggregation.writing import ends_sentence, join, size, without_repeat
from lingua_scheduler.protocol.ids import Language, SessionId

SESSIONS_MAX = 500
SESSION_TTL_MS = 5 * 60_000
STREAM_TEXTS_MAX = 10

_SURE = 0.80
_SCORE_MIN = 2.5


class Decision(StrEnum):
    MERGE = "MERGE"
    NEW_STREAM = "NEW_STREAM"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long people pause within one thing they say, by the kind of conversation. Milliseconds where not said."""

    strong_ms: int
    soft_ms: int
    hard_ms: int
    switch_gap_ms: int
    switch_margin: float
    short_characters: int
    """Fewer CJK characters are a short text."""
    short_words: int
    low_quality: float


LIVE = Pace(800, 1000, 1500, 500, 0.18, 9, 5, 0.50)
"""Rooms and two-way conversation."""
OFFLINE = Pace(1000, 1200, 2000, 600, 0.15, 10, 6, 0.45)

_VERY_SHORT_CHARACTERS = 4
_VERY_SHORT_WORDS = 3


@dataclass(frozen=True, slots=True)
class Recognized:
    """One job's recognised text. `span` is where it was spoken, on the session's time line at 16 kHz."""

    text: str
    span: Span
    language: Language
    is_manual: bool = False
    quality: float = 1.0
    """0 to 1; 1.0 where the engine does not say."""
    language_probability: float = 1.0
    language_probabilities: Mapping[Language, float] = field(default_factory=dict[Language, float])


Rule = Literal["manual", "first", "late", "hard_gap", "language_switch", "strong_gap", "score", "soft_gap", "blank"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What to do with one text."""

    decision: Decision
    rule: Rule
    text: str
    """The job's own text: what is translated and reported."""
    context: str = ""
    """What the stream said before it; empty with NEW_STREAM."""
    gap_ms: float | None = None
    """Silence since the last text, negative where the audio overlaps; None where nothing came before."""
    score: int | None = None
    """None where an earlier rule decided."""

    @property
    def display(self) -> str:
        """The whole stream up to here, for showing."""
        return join((self.context, self.text))


@dataclass(slots=True)
class _Stream:
    last: Recognized
    used_at_ms: int
    texts: deque[str] = field(default_factory=lambda: deque[str](maxlen=STREAM_TEXTS_MAX))


class UtteranceAggregator:
    """All sessions of a node. See the module's theory of operation."""

    def __init__(self) -> None:
        self._streams: OrderedDict[SessionId, _Stream] = OrderedDict()

    def judge(self, session: SessionId, current: Recognized, pace: Pace, now_ms: int) -> Judgement:
        """Decide on `current` and remember it. Blank text changes nothing."""
        self._forget_expired(now_ms)
        stream = self._streams.get(session)
        if not current.text.strip():
            return Judgement(Decision.NEW_STREAM, "blank", "")
        last = stream.last if stream is not None else None
        rule, score = _rule(last, current, pace)
        merges = rule in {"strong_gap", "score"}
        gap_ms = None if last is None else _gap_ms(last, current)
        text = current.text
        if last is not None and rule != "late":
            shared = min(last.span.stop, current.span.stop) - current.span.start
            text = without_repeat(last.text, text, shared / SAMPLES_PER_MS)
        judgement = Judgement(
            Decision.MERGE if merges else Decision.NEW_STREAM,
            rule,
            text,
            context=join(stream.texts) if stream is not None and merges else "",
            gap_ms=gap_ms,
            score=score,
        )
        if rule != "late":
            self._remember(session, current, judgement, now_ms)
        return judgement

    def forget(self, session: SessionId) -> None:
        """The session ended."""
        self._streams.pop(session, None)

    def check(self) -> None:
        assert len(self._streams) <= SESSIONS_MAX
        used = [stream.used_at_ms for stream in self._streams.values()]
        assert used == sorted(used), "sessions are not in the order of their use"
        assert all(len(stream.texts) <= STREAM_TEXTS_MAX for stream in self._streams.values())

    def _remember(self, session: SessionId, current: Recognized, judgement: Judgement, now_ms: int) -> None:
        stream = self._streams.pop(session, None) or _Stream(current, now_ms)
        stream.last, stream.used_at_ms = current, now_ms
        if judgement.decision is Decision.NEW_STREAM:
            stream.texts.clear()
        stream.texts.append(judgement.text)
        self._streams[session] = stream
        if len(self._streams) > SESSIONS_MAX:
            self._streams.popitem(last=False)

    def _forget_expired(self, now_ms: int) -> None:
        while self._streams:
            session, stream = next(iter(self._streams.items()))
            if now_ms - stream.used_at_ms < SESSION_TTL_MS:
                return
            del self._streams[session]


def _rule(last: Recognized | None, current: Recognized, pace: Pace) -> tuple[Rule, int | None]:
    if last is not None and current.span.start < last.span.start:
        return "late", None
    if current.is_manual or (last is not None and last.is_manual):
        return "manual", None
    if last is None:
        return "first", None
    gap_ms = _gap_ms(last, current)
    if gap_ms >= pace.hard_ms:
        return "hard_gap", None
    if gap_ms > pace.switch_gap_ms and _switches_language(last, current, pace):
        return "language_switch", None
    if gap_ms <= pace.strong_ms:
        return "strong_gap", None
    score = continuation_score(last, current, pace)
    return ("score" if score >= _SCORE_MIN and gap_ms <= pace.soft_ms else "soft_gap"), score


def continuation_score(last: Recognized, current: Recognized, pace: Pace) -> int:
    """How much speaks for `current` being the rest of what `last` began, 0 to 9."""
    gap_ms = _gap_ms(last, current)
    return (
        _shortness(current.text, pace)
        + (2 if gap_ms < pace.strong_ms + 200 else 0)
        + (not ends_sentence(current.text))
        + ends_open(current.text, current.language)
        + (current.quality < pace.low_quality)
        + (not ends_sentence(last.text) and gap_ms <= pace.soft_ms)
    )


def _shortness(text: str, pace: Pace) -> int:
    units, are_characters = size(text)
    if units < (_VERY_SHORT_CHARACTERS if are_characters else _VERY_SHORT_WORDS):
        return 3
    return 2 if units < (pace.short_characters if are_characters else pace.short_words) else 0


def _gap_ms(last: Recognized, current: Recognized) -> float:
    return (current.span.start - last.span.stop) / SAMPLES_PER_MS


def _switches_language(last: Recognized, current: Recognized, pace: Pace) -> bool:
    if last.language.partition("-")[0] == current.language.partition("-")[0]:
        return False
    return all(
        text.language_probability >= _SURE and _lead(text) >= pace.switch_margin - 1e-9 for text in (last, current)
    )


def _lead(text: Recognized) -> float:
    """How far the language is ahead of the next likely, which at most has all the rest of the probability."""
    others = [p for language, p in text.language_probabilities.items() if language != text.language]
    return text.language_probability - max(others, default=1 - text.language_probability)
