"""What one tenant uses at one instance, what of that the fleet was told, and until when it may not have more.

Theory of operation. An instance does not ask before a tenant uses something: it counts, tells the fleet a moment later,
and hears how far the tenant is ahead of what it may use. Where it is, speech is not taken until time has caught up. So
a quota costs an utterance nothing, may be exceeded by what is under way, and is kept exactly in the long run: what was
used too early is waited for afterwards.
"""

from dataclasses import dataclass
from typing import Protocol

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
JOBS_BURST_MS = 10_000
"""So much of a minute's jobs may come at once."""


class Quota(Protocol):
    """0: as much as there is."""

    @property
    def sessions(self) -> int: ...

    @property
    def jobs_per_minute(self) -> int: ...

    @property
    def audio_minutes_per_day(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What the fleet is to be told, and told again until it has answered."""

    round: int
    jobs_ms: int
    audio_ms: int


class Share:
    """Of one tenant."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.sessions = 0
        self._jobs = 0
        self._audio_ms = 0
        self._told: Told | None = None
        self._round = 0
        self._told_sessions = 0
        self._open_at_ms = 0

    def use(self, jobs: int, audio_ms: int) -> None:
        self._jobs += jobs
        self._audio_ms += audio_ms

    @property
    def is_news(self) -> bool:
        """Whether the fleet knows less than this."""
        return bool(self._jobs or self._audio_ms or self._told) or self.sessions != self._told_sessions

    def tell(self) -> Told:
        """What is to be told now. The same again while nothing was heard of it."""
        if self._told is None:
            jobs, minutes = self.quota.jobs_per_minute, self.quota.audio_minutes_per_day
            self._round += 1
            self._told = Told(
                self._round,
                self._jobs * MINUTE_MS // jobs if jobs else 0,
                self._audio_ms * DAY_MS // (minutes * MINUTE_MS) if minutes else 0,
            )
            self._jobs = self._audio_ms = 0
        return self._told

    def heard(self, told: Told, sessions: int, late_ms: int, now_ms: int) -> None:
        """The fleet's answer; `sessions` are those it was told of."""
        if self._told is told:
            self._told = None
        self._told_sessions = sessions
        self._open_at_ms = now_ms + late_ms

    def closed_for_ms(self, now_ms: int) -> int:
        """0 where the tenant may be heard."""
        return max(0, self._open_at_ms - now_ms)


def is_limited(quota: Quota) -> bool:
    return bool(quota.sessions or quota.jobs_per_minute or quota.audio_minutes_per_day)
