"""Reading sound files that the system under test has written."""

import math
import wave
from array import array
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wav:
    """16-bit PCM as it stands in a WAV file; `samples` interleaves the channels."""

    sample_rate: int
    channels: int
    samples: "array[int]"

    @property
    def duration_ms(self) -> int:
        return len(self.samples) // self.channels * 1000 // self.sample_rate

    @property
    def loudness(self) -> float:
        """Root mean square, 0.0 silence to 1.0 full scale; speech lies between 0.02 and 0.3."""
        if not self.samples:
            return 0.0
        return math.sqrt(sum(value * value for value in self.samples) / len(self.samples)) / 32768


def read_wav(path: Path) -> Wav:
    """The file's samples. Raises `wave.Error` where it is not WAV, AssertionError where it is not 16-bit."""
    with wave.open(str(path), "rb") as file:
        assert file.getsampwidth() == 2, f"{path}: {file.getsampwidth() * 8} bits a sample, not 16"
        return Wav(file.getframerate(), file.getnchannels(), array("h", file.readframes(file.getnframes())))
