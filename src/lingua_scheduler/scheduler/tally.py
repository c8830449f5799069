"""What an instance counts for the pages: how long each stage took, and the jobs that were concluded last.

Durations are counted in buckets that grow by a quarter: a percentile read from them is within about a tenth of the true
one, counts of several instances can be added, and the difference of two readings is what happened in between.
"""

import bisect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from lingua_scheduler.core.jobs.events import Conclude
from lingua_scheduler.core.utterance import Missing, Speaker, Translated
from lingua_scheduler.protocol.ids import JobId

STAGES = ("total", "scheduler", "node", "asr", "nmt", "tts")
"""`total`: end of an utterance to its outcome; `node`: assignment to result; `scheduler`: all of it that is not `node`;
the others as the node measured them."""
BOUNDS_MS = tuple(round(5 * 1.25**step, 1) for step in range(44))
"""Upper ends of the buckets, 5 ms to 73 s; one more holds what took longer."""
RECENT_JOBS = 200

Buckets = Counter[int]


class RecentJob(msgspec.Struct, frozen=True, kw_only=True):
    """A concluded job, for the list. No text; of the session only the head of its id."""

    job_id: JobId
    session: str
    index: int
    src: str
    tgt: str
    outcome: str
    """`translated`, or why there is no text."""
    node_id: str
    attempt: int
    total_ms: int
    at_ms: int
    """Wall time of the outcome."""


class Tally:
    """The counts of one instance, from its start."""

    def __init__(self, timed: Callable[[str, float], None] | None = None) -> None:
        """`timed` hears of each duration as well: the stage, and seconds."""
        self._timed = timed
        self.stages: dict[str, Buckets] = {stage: Counter() for stage in STAGES}
        self.outcomes: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.recent: deque[RecentJob] = deque(maxlen=RECENT_JOBS)

    def retried(self, cause: str) -> None:
        """A job needs a further attempt."""
        self.retries[cause] += 1

    def concluded(self, end: Conclude, speaker: Speaker, total_ms: int, wall_ms: int) -> None:
        """A job of this instance has its outcome."""
        outcome = end.outcome
        node_id, attempt = "", 0
        if isinstance(outcome, Translated):
            node_id, attempt = outcome.node_id, outcome.result.attempt_id
            self._time(outcome, total_ms)
        word = outcome.reason if isinstance(outcome, Missing) else "translated"
        self.outcomes[word] += 1
        self.recent.append(
            RecentJob(
                job_id=end.job_id, session=shortened(speaker.session_id), index=end.index, src=speaker.src_lang,
                tgt=end.tgt_lang, outcome=word, node_id=node_id, attempt=attempt, total_ms=total_ms, at_ms=wall_ms,
            )
        )  # fmt: skip

    def _time(self, outcome: Translated, total_ms: int) -> None:
        node_ms = min(max(0, outcome.arrived_at_ms - outcome.assigned_at_ms), total_ms)
        self._add("total", total_ms)
        self._add("node", node_ms)
        self._add("scheduler", total_ms - node_ms)
        timings = (outcome.result.extra or {}).get("service_timings")
        if isinstance(timings, Mapping):
            for stage in ("asr", "nmt", "tts"):
                self._add_reported(stage, timings.get(f"{stage}_ms"))

    def _add_reported(self, stage: str, ms: Any) -> None:
        """What a node claims: 0 means that the stage did not run, and anything odd is left out."""
        if isinstance(ms, int | float) and 0 < ms < 1e9:
            self._add(stage, ms)

    def _add(self, stage: str, ms: float) -> None:
        self.stages[stage][bisect.bisect_left(BOUNDS_MS, ms)] += 1
        if self._timed is not None:
            self._timed(stage, ms / 1000)


def percentile_ms(buckets: Mapping[int, int], share: float) -> int | None:
    """The duration that `share` (0–1) of what was counted did not exceed; None where nothing was."""
    total = sum(buckets.values())
    if total == 0:
        return None
    wanted, below = share * total, 0
    for at in sorted(buckets):
        count = buckets[at]
        if below + count >= wanted:
            low = BOUNDS_MS[at - 1] if at else 0.0
            high = BOUNDS_MS[at] if at < len(BOUNDS_MS) else low
            return round(low + (high - low) * max(0.0, wanted - below) / count)
        below += count
    raise AssertionError("counts changed while they were read")


def added(parts: Iterable[Mapping[Any, int]]) -> Counter[Any]:
    """The sum of counts."""
    total: Counter[Any] = Counter()
    for part in parts:
        total.update(part)
    return total


def shortened(session_id: str) -> str:
    """Enough of a session's id to tell two apart, too little to speak for it."""
    return f"{session_id[:8]}…"
