"""Finds where speech begins and pauses, by loudness against the noise around it.

Theory of operation. Each frame of 20 ms is *voiced* or not: its loudness, averaged over three frames, is compared with
the noise floor, the lowest tenth of such averages of the last four seconds. Speech of a few seconds always dips towards
the noise between its words, so the floor follows a fan that is switched on, and hardly a speaker who goes on and on.

| state | becomes | when |
|---|---|---|
| learning | quiet | a second has passed; what was heard in it is then judged, so a recording may begin with speech |
| quiet | speaking | 3 of the last 5 frames are voiced; the 300 ms before them go along, so no first syllable is cut |
| speaking | quiet | `pause_ms` without a voiced frame: a pause is reported |

In `speaking` every frame passes, silence included; in `quiet` none does. A doubt is decided for speech: noise that
passes costs an utterance without words, speech that does not is lost. The gate knows no clock and no limit on the
length of an utterance: ending one that has no pause is the scheduler's part.
"""

import math
from array import array
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise

from lingua_scheduler.client.sound import FRAME_MS

PAUSE_MS = 500
"""Longer than a stop inside a word (up to 150 ms) or a breath between phrases (up to 400), shorter than patience."""

_LEARNING_FRAMES = 1000 // FRAME_MS
_PRE_ROLL_FRAMES = 300 // FRAME_MS
_ONSET_FRAMES, _ONSET_VOICED = 5, 3
_SMOOTH_FRAMES = 3
_FLOOR_FRAMES = 4000 // FRAME_MS
_OPENS_AT, _STAYS_AT = 3.0, 2.0
"""Times the floor: 9.5 dB to begin, 6 dB to go on."""
_QUIETEST = 8.0
"""Loudness below which nothing is speech: digital silence has no floor to compare with. Speech is at 100 to 5,000."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A frame to send. `position` counts frames since the gate was made, passed or not."""

    frame: bytes
    position: int
    is_voiced: bool


@dataclass(frozen=True, slots=True)
class Paused:
    """The speaker paused: what has passed since the last pause is one utterance."""


Heard = Passed | Paused


class _State(Enum):
    LEARNING = auto()
    QUIET = auto()
    SPEAKING = auto()


class SpeechGate:
    """Feed it every frame in order; it gives back what to send."""

    def __init__(self, pause_ms: int = PAUSE_MS) -> None:
        self._pause_frames = max(1, pause_ms // FRAME_MS)
        self._state = _State.LEARNING
        self._position = 0
        self._floor = _NoiseFloor()
        self._recent: deque[float] = deque(maxlen=_SMOOTH_FRAMES)
        self._held: deque[tuple[bytes, int, float]] = deque()
        """Frames that did not pass yet: all of `learning`, then the pre-roll of `quiet`."""
        self._onset: deque[bool] = deque(maxlen=_ONSET_FRAMES)
        self._unvoiced = 0

    @property
    def is_speaking(self) -> bool:
        return self._state is _State.SPEAKING

    def feed(self, frame: bytes) -> list[Heard]:
        """`frame` is 20 ms of 16 kHz PCM16. At most one `Paused` comes back, unless a second of learning ends here."""
        self._recent.append(_loudness(frame))
        level = sum(self._recent) / len(self._recent)
        self._floor.add(level)
        position, self._position = self._position, self._position + 1
        if self._state is not _State.LEARNING:
            return self._judge(frame, position, level)
        self._held.append((frame, position, level))
        return self._learnt() if len(self._held) >= _LEARNING_FRAMES else []

    def flush(self) -> list[Heard]:
        """The sound has ended: what is held back is judged, and speech that is under way ends in a pause."""
        heard = self._learnt() if self._state is _State.LEARNING else []
        if self._state is _State.SPEAKING:
            self._rest()
            heard.append(Paused())
        return heard

    def _learnt(self) -> list[Heard]:
        held = list(self._held)
        self._rest()
        return [heard for frame, position, level in held for heard in self._judge(frame, position, level)]

    def _judge(self, frame: bytes, position: int, level: float) -> list[Heard]:
        if self._state is _State.SPEAKING:
            return self._go_on(frame, position, level)
        self._held.append((frame, position, level))
        self._onset.append(level > self._threshold(_OPENS_AT))
        if sum(self._onset) >= _ONSET_VOICED:
            return self._begin()
        while len(self._held) > _PRE_ROLL_FRAMES:
            self._held.popleft()
        return []

    def _begin(self) -> list[Heard]:
        self._state = _State.SPEAKING
        self._unvoiced = 0
        threshold = self._threshold(_OPENS_AT)
        passed: list[Heard] = [Passed(frame, position, level > threshold) for frame, position, level in self._held]
        self._held.clear()
        return passed

    def _go_on(self, frame: bytes, position: int, level: float) -> list[Heard]:
        is_voiced = level > self._threshold(_STAYS_AT)
        self._unvoiced = 0 if is_voiced else self._unvoiced + 1
        passed = Passed(frame, position, is_voiced)
        if self._unvoiced < self._pause_frames:
            return [passed]
        self._rest()
        return [passed, Paused()]

    def _rest(self) -> None:
        self._state = _State.QUIET
        self._held.clear()
        self._onset.clear()

    def _threshold(self, times: float) -> float:
        return max(_QUIETEST, times * self._floor.level)


class _NoiseFloor:
    """The lowest tenth of the levels of the last four seconds: kept sorted beside their order."""

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    @property
    def level(self) -> float:
        return self._sorted[len(self._sorted) // 10]

    def add(self, level: float) -> None:
        self._order.append(level)
        insort(self._sorted, level)
        if len(self._order) > _FLOOR_FRAMES:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]


def _loudness(frame: bytes) -> float:
    """Root mean square of the differences between neighbouring samples of PCM16.

    A difference is a high-pass filter: rumble and hum, which make up most of the sound of a room and sway from one
    frame to the next, hardly count, and consonants do.
    """
    samples = array("h", frame)
    return math.sqrt(sum((b - a) ** 2 for a, b in pairwise(samples)) / len(samples)) if samples else 0.0
