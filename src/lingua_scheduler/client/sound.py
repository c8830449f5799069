"""Sound files to 16 kHz PCM16 and back, Opus packets in and out: what a client needs of codecs, by PyAV.

PCM here is always signed 16-bit little endian, mono. A *frame* is 20 ms of it.
"""

import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.error import FFmpegError

from lingua_scheduler.client.errors import SoundError
from lingua_scheduler.protocol.audio import PCM16_BYTES_PER_SAMPLE, join_packets, split_packets
from lingua_scheduler.protocol.errors import PeerError

SAMPLE_RATE = 16_000
FRAME_MS = 20
FRAME_SAMPLES = SAMPLE_RATE * FRAME_MS // 1000
FRAME_BYTES = FRAME_SAMPLES * PCM16_BYTES_PER_SAMPLE
OPUS_BITS_PER_SECOND = 24_000


def read_sound_file(path: Path) -> Iterator[bytes]:
    """The file as frames, whatever its format, rate and channels; the last is filled up with silence.

    Reads as it goes, so that an hour of sound takes no more memory than a second. SoundError, with one clear line,
    where the file cannot be opened, is no sound, or holds none; damage further in raises when it is reached.
    """
    waiting = bytearray()
    is_empty = True
    for pcm in _decode_file(path):
        waiting += pcm
        whole = len(waiting) // FRAME_BYTES * FRAME_BYTES
        for at in range(0, whole, FRAME_BYTES):
            yield bytes(waiting[at : at + FRAME_BYTES])
            is_empty = False
        del waiting[:whole]
    if waiting:
        yield bytes(waiting).ljust(FRAME_BYTES, b"\0")
    elif is_empty:
        raise SoundError(f"{path} holds no sound")


def sound_duration_ms(path: Path) -> int | None:
    """How long the file says it is; None where it does not say. SoundError as `read_sound_file`."""
    try:
        with av.open(str(path)) as container:
            return None if container.duration is None else container.duration * 1000 // av.time_base
    except (OSError, FFmpegError) as error:
        raise SoundError(_why(path, error)) from None


def write_wav(path: Path, pcm: bytes, sample_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(PCM16_BYTES_PER_SAMPLE)
        file.setframerate(sample_rate)
        file.writeframes(pcm)


class OpusEncoder:
    """PCM to length-prefixed packets of 20 ms. One per session: its prediction runs on across utterances."""

    def __init__(self) -> None:
        self._codec = AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = SAMPLE_RATE
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.bit_rate = OPUS_BITS_PER_SECOND
        self._codec.options = {"application": "voip", "frame_duration": str(FRAME_MS)}
        self._waiting = bytearray()

    def encode(self, pcm: bytes) -> tuple[bytes, int]:
        """The packets that are complete by now, and their length in samples; the rest of a frame waits for more."""
        self._waiting += pcm
        whole = len(self._waiting) // FRAME_BYTES * FRAME_BYTES
        frames = bytes(self._waiting[:whole])
        del self._waiting[:whole]
        return join_packets(self._packets(frames)), whole // PCM16_BYTES_PER_SAMPLE

    def flush(self) -> tuple[bytes, int]:
        """As `encode` for the waiting part of a frame, filled up with silence; nothing where none waits."""
        return self.encode(bytes(-len(self._waiting) % FRAME_BYTES))

    def _packets(self, pcm: bytes) -> Iterator[bytes]:
        for at in range(0, len(pcm), FRAME_BYTES):
            frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
            frame.sample_rate = SAMPLE_RATE
            frame.planes[0].update(pcm[at : at + FRAME_BYTES])
            # A packet is a buffer, which its type does not say.
            yield from map(bytes, cast("list[bytes]", self._codec.encode(frame)))


def decode_speech(audio: bytes, audio_format: str, sample_rate: int) -> tuple[bytes, int]:
    """The spoken translation as PCM and its sample rate. `audio_format` is `opus`, `pcm16` or `wav`.

    Opus comes out at `sample_rate`, which for PCM16 is the one it has. SoundError where it cannot be decoded.
    """
    match audio_format:
        case "pcm16":
            return audio, sample_rate
        case "wav":
            return _decode_wav(audio)
        case "opus":
            return _decode_opus(audio, sample_rate), sample_rate
        case _:
            raise SoundError(f"the spoken translation came as {audio_format!r}, which this client cannot decode")


def _decode_wav(audio: bytes) -> tuple[bytes, int]:
    try:
        with wave.open(io.BytesIO(audio)) as file:
            return file.readframes(file.getnframes()), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise SoundError(f"the spoken translation is not WAV: {error}") from None


def _decode_opus(audio: bytes, sample_rate: int) -> bytes:
    codec = AudioCodecContext.create("libopus", "r")
    codec.layout = "mono"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate)
    try:
        frames = [f for packet in split_packets(audio) for f in codec.decode(av.Packet(bytes(packet)))]
        return b"".join(_pcm(resampler, frames))
    except (PeerError, FFmpegError) as error:
        raise SoundError(f"the spoken translation is not Opus: {error}") from None


def _decode_file(path: Path) -> Iterator[bytes]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise SoundError(f"{path} holds no sound")
            for frame in container.decode(container.streams.audio[0]):
                yield from _resample(resampler, frame)
            yield from _resample(resampler, None)
    except (OSError, FFmpegError) as error:
        raise SoundError(_why(path, error)) from None


def _pcm(resampler: av.AudioResampler, frames: list[av.AudioFrame]) -> Iterator[bytes]:
    for frame in frames:
        yield from _resample(resampler, frame)
    if frames:
        yield from _resample(resampler, None)


def _resample(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[bytes]:
    for resampled in resampler.resample(frame):
        yield bytes(resampled.planes[0])[: resampled.samples * PCM16_BYTES_PER_SAMPLE]


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    if isinstance(error, IsADirectoryError):
        return f"{path} is a folder, not a sound file"
    if isinstance(error, PermissionError):
        return f"{path} may not be read"
    return f"{path} is not a sound file that can be read ({_reason(error)})"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
