"""What happens to the audio of one session on a node, and what it wants done: the AudioAggregator's vocabulary.

All audio is 16 kHz mono float32. Positions and lengths are samples on the session's audio time line; `now_ms` and
deadlines are loop time. Arrays are read-only by agreement and shared, never copied.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from lingua_scheduler.protocol.ids import JobId

RATE = 16_000
SAMPLES_PER_MS = RATE // 1000

Audio = npt.NDArray[np.float32]


class Cut(StrEnum):
    """Why the scheduler ended the utterance, as far as its job says."""

    MANUAL = "manual"
    TIMEOUT = "timeout"
    MAX_DURATION = "max_duration"
    NONE = "none"

    @classmethod
    def of_flags(cls, *, manual: bool, timeout: bool, max_duration: bool) -> "Cut":
        """From a job's three flags; where a peer sets several, the one that waits least wins."""
        if manual:
            return cls.MANUAL
        if timeout:
            return cls.TIMEOUT
        return cls.MAX_DURATION if max_duration else cls.NONE


# ------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True, eq=False)
class AudioArrived:
    """A job with its decoded audio. Jobs of one aggregator come in the order in which the node took them on."""

    job: JobId
    attempt: int
    utterance_index: int
    audio: Audio
    cut: Cut
    carried: int = 0
    """Samples at the head of `audio` that were sent before, with an earlier job (`carried_audio_ms`)."""
    start: int | None = None
    """Where `audio`, its carried head included, begins on the session's time line; None from older schedulers."""


@dataclass(frozen=True, slots=True)
class JobReported:
    """The job's one result, and those of the jobs merged into it, were handed to the link."""

    job: JobId


@dataclass(frozen=True, slots=True)
class JobDropped:
    """The job gets no text here: the scheduler cancelled it, or a stage failed and the error was handed to the link.

    Its audio is forgotten, the carried audio that it took over included: the scheduler sends both with a new attempt.
    """

    job: JobId


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """No further audio is expected: what waits is processed now, and so is whatever comes all the same."""


@dataclass(frozen=True, slots=True)
class TimeReached:
    """`next_deadline_ms` has come."""


AudioEvent = AudioArrived | JobReported | JobDropped | SessionEnded | TimeReached

# ------------------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The samples from `start` up to, not including, `stop` of the session's time line."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Batch:
    """Audio for one recognition. `spans` are its pieces in order; pieces that touch may be recognised as one."""

    number: int
    """Counts from 1 in its aggregator and is never used twice."""
    spans: tuple[Span, ...]
    audio: tuple[Audio, ...] = field(compare=False, repr=False)
    """One array for each span, of the span's length."""

    @property
    def samples(self) -> int:
        return sum(map(len, self.spans))

    def joined(self) -> Audio:
        """The whole batch as one array: a copy where it has several pieces."""
        return self.audio[0] if len(self.audio) == 1 else np.concatenate(self.audio)


@dataclass(frozen=True, slots=True)
class Recognize:
    """Recognise `batch`. Batches of a session are given in the order of their audio.

    `job` will own the text; None where carried audio found no successor in time (the next job's `Conclude` claims it).
    """

    batch: Batch
    job: JobId | None


@dataclass(frozen=True, slots=True)
class Dismiss:
    """`batch` has nothing but the room's noise in it: its text is empty, no engine need hear it."""

    batch: Batch
    job: JobId | None


@dataclass(frozen=True, slots=True)
class Taken:
    """Audio of an earlier job that a result says; `job` is the reporting one for what was sent in front of its own."""

    job: JobId
    samples: int

    @property
    def ms(self) -> int:
        """Rounded up."""
        return -(-self.samples // SAMPLES_PER_MS)


@dataclass(frozen=True, slots=True)
class Conclude:
    """`job` reports the texts of `batches`, joined in this order; where all are blank its result is ASR_EMPTY.

    `merged` are earlier jobs whose audio is part of it: each ends as merged into `job`, told only once `job`'s own
    result is there, immediately before it. A second `Conclude` for a job replaces the first (see `Discard`).
    """

    job: JobId
    batches: tuple[int, ...]
    merged: tuple[JobId, ...] = ()
    carried: int = 0
    """Samples at the end of the job's own audio that are kept for the session's next job, which owns them."""
    taken: tuple[Taken, ...] = ()
    """What of the text is not the job's own, by whose it was."""

    @property
    def carried_ms(self) -> int:
        """Rounded up, so that whoever sends the carried audio again sends all of it."""
        return -(-self.carried // SAMPLES_PER_MS)


@dataclass(frozen=True, slots=True)
class Hold:
    """`job` waits for the session's next job, at most until `deadline_ms`. Given again for a later attempt."""

    job: JobId
    attempt: int
    reason: Literal["short", "unflagged", "no_complete_batch"]
    deadline_ms: int
    """Loop time, as `now_ms`."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """A later attempt of a job whose audio is being recognised: no new work, but its result names this attempt."""

    job: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class Ignore:
    """The event changes nothing: log and count it."""

    job: JobId
    attempt: int
    why: Literal["duplicate", "stale_attempt"]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Too many jobs of this session are open here: the attempt is not taken (`job_reject`)."""

    job: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class Discard:
    """The texts of `batches` are not wanted any more, whether their recognition still runs or not."""

    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The session ended, and no job is left that could report the text of `batches`: the carried tail of `job`."""

    job: JobId
    batches: tuple[int, ...]


AudioEffect = Recognize | Dismiss | Conclude | Hold | Adopt | Ignore | Refuse | Discard | Unclaimed
