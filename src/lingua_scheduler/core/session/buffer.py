"""The audio of the utterance being collected, on the session's time line.

Time is counted in samples. Utterances lie on the line end to end in the order in which they ended; silence that the
client did not send takes no room.
"""

from lingua_scheduler.core.utterance import AudioFormat
from lingua_scheduler.protocol.audio import count_samples, sniff_format


class AudioBuffer:
    """`samples` and `size_bytes` of what is collected, and where it will lie on the line."""

    __slots__ = ("_parts", "audio_format", "line_samples", "sample_rate", "samples", "size_bytes")

    def __init__(self, audio_format: AudioFormat | None, sample_rate: int) -> None:
        self.audio_format: AudioFormat | None = audio_format
        self.sample_rate = sample_rate
        self.samples = 0
        self.size_bytes = 0
        self.line_samples = 0
        self._parts: list[bytes] = []

    @property
    def chunks(self) -> tuple[bytes, ...]:
        """What is collected, as it came."""
        return tuple(self._parts)

    def append(self, audio: bytes) -> None:
        """Keep a chunk; PeerError INVALID_MESSAGE, and nothing kept, where it is not whole.

        The first chunk that is whole decides the format where none was declared.
        """
        audio_format = self.audio_format or sniff_format(audio)
        self.samples += count_samples(audio, audio_format, self.sample_rate)
        self.audio_format = audio_format
        self.size_bytes += len(audio)
        self._parts.append(audio)

    def take(self) -> tuple[bytes, int, int]:
        """What was collected, its start on the line and its length in samples; the buffer is empty afterwards."""
        audio, samples = b"".join(self._parts), self.samples
        start_samples = self.place(samples, self.sample_rate)
        self._parts = []
        self.samples = self.size_bytes = 0
        return audio, start_samples, samples

    def place(self, samples: int, sample_rate: int) -> int:
        """Give `samples` of another recording the next stretch of the line; its start, in samples of `sample_rate`.

        A rate other than the line's is rounded so that stretches never overlap.
        """
        start = -(-self.line_samples * sample_rate // self.sample_rate)
        end = start + samples
        self.line_samples = -(-end * self.sample_rate // sample_rate)
        return start

    def check(self) -> None:
        assert self.size_bytes == sum(map(len, self._parts)), "bytes are counted right"
        assert (self.samples == 0) == (self.size_bytes == 0), "audio has a length, no audio has none"
