"""How loud audio is, against the noise of its session: what counts as a pause, and what as no speech at all."""

import numpy as np
import numpy.typing as npt

from lingua_scheduler.node.aggregation.audio_events import RATE, Audio

FRAME = RATE // 50
"""20 ms: short enough to see a pause between words, long enough for a few periods of any voice."""

ABSOLUTE_FLOOR_RMS = 0.0005
"""−66 dB of full scale: below it there is nothing to hear, whatever the session sounds like."""
_LOUDEST_FLOOR_RMS = 0.01
"""A session without a quiet moment teaches no floor: speech itself must not become the noise it is judged by."""
_MEMORY_FRAMES = 30 * 50
_FLOOR_PERCENTILE = 10
_LOUD_PERCENTILE = 95
_PAUSE_RATIO = 2.5
_SPEECH_RATIO = 1.5
_SPEECH_FRAMES = 5

Levels = npt.NDArray[np.float64]


def frame_rms(audio: Audio) -> Levels:
    """RMS of each whole 20 ms frame, counted back from the end: frame 0 begins at `len(audio) % FRAME`.

    From the end, so that what a cut leaves behind it is whole frames: whole milliseconds for `carried_ms`, and whole
    packets where the job came as 20 ms Opus packets.
    """
    # Widened at once: einsum would do it piece by piece, which takes half as long again.
    frames = audio[len(audio) % FRAME :].reshape(-1, FRAME).astype(np.float64)
    power = np.einsum("ij,ij->i", frames, frames) / FRAME
    return np.nan_to_num(np.sqrt(power), posinf=1.0)


class SessionLevels:
    """The noise floor of one session, learnt from its last 30 s of audio."""

    def __init__(self) -> None:
        self._recent: Levels = np.zeros(0)

    def hear(self, audio: Audio) -> None:
        self._recent = np.concatenate((self._recent, frame_rms(audio)))[-_MEMORY_FRAMES:]

    @property
    def floor(self) -> float:
        """RMS that a tenth of the recent frames stay under, never below the absolute floor."""
        return _quiet_level(self._recent)

    @property
    def pause_threshold(self) -> float:
        """A frame under this RMS is quiet. Never near the loud parts, however noisy the session."""
        if not self._recent.size:
            return ABSOLUTE_FLOOR_RMS
        loud = _percentile(self._recent, _LOUD_PERCENTILE)
        return max(ABSOLUTE_FLOOR_RMS, min(_PAUSE_RATIO * self.floor, loud / 2))

    def is_silence(self, pieces: tuple[Audio, ...]) -> bool:
        """Whether a batch holds nothing but noise: not even its loudest 100 ms rise above the floor.

        Judged on the batch as a whole, so that a quiet piece is never dropped beside louder ones; and by the quieter of
        the session's floor and the batch's own, so that a soft answer after half a minute of loud speech is heard.
        """
        levels = np.concatenate([frame_rms(piece) for piece in pieces])
        if not levels.size:
            levels = np.array([_rms(piece) for piece in pieces if piece.size] or [0.0])
        floor = min(self.floor, _quiet_level(levels), _LOUDEST_FLOOR_RMS)
        return _loudest(levels) < max(ABSOLUTE_FLOOR_RMS, _SPEECH_RATIO * floor)


def _rms(audio: Audio) -> float:
    return float(np.nan_to_num(np.sqrt(np.mean(np.square(audio, dtype=np.float64))), posinf=1.0))


def _quiet_level(levels: Levels) -> float:
    if not levels.size:
        return ABSOLUTE_FLOOR_RMS
    return max(ABSOLUTE_FLOOR_RMS, _percentile(levels, _FLOOR_PERCENTILE))


def _percentile(levels: Levels, percent: int) -> float:
    """Without numpy's interpolation between neighbours, which costs ten times as much and tells nothing here."""
    rank = (levels.size - 1) * percent // 100
    return float(np.partition(levels, rank)[rank])


def _loudest(levels: Levels) -> float:
    """RMS of the loudest run of frames: a single frame may be a click."""
    width = min(_SPEECH_FRAMES, levels.size)
    means = np.convolve(np.square(levels), np.full(width, 1 / width), mode="valid")
    return float(np.sqrt(means.max()))
