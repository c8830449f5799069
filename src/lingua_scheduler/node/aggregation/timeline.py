"""Where the audio of each job lies on its session's time line.

Positions that the scheduler tells are followed where they make sense. Without them a job begins where the one before it
ended, and a missing index leaves a gap. In either case audio that touches is one piece of sound, and audio that does
not touch is not.
"""

from lingua_scheduler.node.aggregation.audio_events import RATE, AudioArrived, Span
from lingua_scheduler.node.aggregation.levels import FRAME

_MISSING = RATE
"""Length given to what is missing where nobody says how long it was: an utterance of less would have been held here."""


def carried_samples(event: AudioArrived) -> int:
    """What the peer says was carried, within what it sent."""
    return max(0, min(event.carried, len(event.audio)))


def own_samples(event: AudioArrived) -> int:
    """The job's audio without its carried head."""
    return len(event.audio) - carried_samples(event)


class TimeLine:
    """Says for a job never heard of where its own audio begins. `begin` and `end` bound all that was ever placed."""

    def __init__(self) -> None:
        self.begin = 0
        self.end = 0
        self.newest_index: int | None = None

    def is_late(self, event: AudioArrived) -> bool:
        """An utterance after this one was here before it."""
        return self.newest_index is not None and event.utterance_index < self.newest_index

    def place_next(self, event: AudioArrived) -> int:
        """Never before `end`: a job never heard of brings new audio, whatever its position claims."""
        told, carried = _told(event), carried_samples(event)
        if self.newest_index is None:
            return carried if told is None else told
        follows = event.utterance_index <= self.newest_index + 1
        if told is None or told < self.end - FRAME:
            return self.end if follows else self.end + _MISSING + carried
        if follows and told <= self.end + FRAME:
            return self.end  # resampling rounds: a gap this small is none
        return max(told, self.end)

    def place_late(self, event: AudioArrived) -> int:
        """Before all the rest where no position is told: there it touches nothing."""
        told = _told(event)
        if told is not None and told + own_samples(event) <= self.end:
            return told
        return self.begin - _MISSING - own_samples(event)

    def cover(self, span: Span) -> None:
        self.begin = min(self.begin, span.start)
        self.end = max(self.end, span.stop)


def _told(event: AudioArrived) -> int | None:
    """Where the peer says the job's own audio begins."""
    return None if event.start is None or event.start < 0 else event.start + carried_samples(event)
