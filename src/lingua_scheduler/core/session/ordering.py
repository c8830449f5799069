"""The order in which the results of one target language reach the client.

A place is taken when an utterance ends. A place without an outcome holds back the ones behind it; a result that has
been held back for `hold_ms` makes every unfinished place before it step aside. What stepped aside is announced as
pending and delivered whenever it is done.
"""

from bisect import insort
from dataclasses import dataclass
from operator import attrgetter

from lingua_scheduler.core.utterance import Outcome, Speaker, Utterance, Written
from lingua_scheduler.protocol.ids import GroupId, JobId, Language, SessionId


@dataclass(slots=True, eq=False)
class KeptUtterance:
    """What is remembered of an utterance until its last result is delivered and its audio is free."""

    index: int
    speaker: Speaker
    group_id: GroupId
    part_index: int
    speech_start_ms: int
    """On the session's audio time line, as the next one."""
    speech_end_ms: int
    finalized_at_ms: int
    web_to_scheduler_ms: int | None
    first_seq: int | None
    """Lowest chunk number in it; None where the audio did not come in chunks."""
    audio_bytes: int
    """Audio still kept for it; 0 once it is free."""
    slots_open: int
    """Targets whose result has not been delivered."""
    said: Utterance
    """Without its audio."""
    last_seq: int
    """Highest chunk number up to its end."""
    size_bytes: int
    is_unsaid: bool = False
    """A later utterance has its end to say, or all of it: its audio is needed beyond its results."""
    mark: str = ""
    """In the ids of its jobs: by whom it was cut."""
    partials_of: JobId | None = None
    """The job whose partial texts the client is shown: several may recognise the same speech."""


@dataclass(slots=True, eq=False)
class Slot:
    """One utterance in one target language, from its end to its delivery."""

    job_id: JobId
    tgt_lang: Language
    utterance: KeptUtterance
    recipients: tuple[SessionId, ...] | None = None
    """Members of the room that hear it; None: the client itself."""
    outcome: Outcome | Written | None = None
    ready_at_ms: int = 0
    has_stepped_aside: bool = False

    @property
    def index(self) -> int:
        return self.utterance.index


class ResultOrder:
    """The places of one target, by utterance index. At most `results_open_max` exist: the machine sees to that."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: list[Slot] = []

    @property
    def is_empty(self) -> bool:
        return not self._queue

    def add(self, slot: Slot) -> None:
        """Also between others: a client may send its own indices late."""
        insort(self._queue, slot, key=attrgetter("index"))

    def release(self) -> list[Slot]:
        """What can be delivered now, in order; it leaves the queue."""
        ready = 0
        for slot in self._queue:
            if slot.outcome is None:
                break
            ready += 1
        released = self._queue[:ready]
        del self._queue[:ready]
        return released

    def step_aside(self, now_ms: int, hold_ms: int) -> list[Slot]:
        """Unfinished places that held a result back for too long; they leave the queue."""
        last = max((at for at, slot in enumerate(self._queue) if _is_held_since(slot, now_ms - hold_ms)), default=0)
        aside = [slot for slot in self._queue[:last] if slot.outcome is None]
        for slot in aside:
            slot.has_stepped_aside = True
            self._queue.remove(slot)
        return aside

    def let_pass(self, index: int) -> None:
        """That result is out: unfinished places before it hold nothing back any more. `release` is to follow."""
        for slot in [slot for slot in self._queue if slot.outcome is None and slot.index < index]:
            slot.has_stepped_aside = True
            self._queue.remove(slot)

    def deadline_ms(self, hold_ms: int) -> int | None:
        """When the result that has been held back longest has waited enough."""
        held = [slot.ready_at_ms for slot in self._queue if slot.outcome is not None]
        return min(held) + hold_ms if held else None

    def check(self) -> None:
        indices = [slot.index for slot in self._queue]
        assert indices == sorted(set(indices)), "places are in order, one per utterance"
        assert not self._queue or self._queue[0].outcome is None, "what can be delivered is delivered"
        assert not any(slot.has_stepped_aside for slot in self._queue)


def _is_held_since(slot: Slot, at_ms: int) -> bool:
    return slot.outcome is not None and slot.ready_at_ms <= at_ms
