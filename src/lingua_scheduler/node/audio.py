"""Sound between the wire and the engines: Opus or PCM to 16 kHz samples, speech to Opus, PCM or WAV.

A job of n samples at rate r always becomes n × 16000 / r samples, rounded down, whatever is in it: nothing that a
decoder or resampler holds back or adds can shift a session's time line. Opus keeps one decoder for each session (its
packets predict from the ones before); resampling keeps no state between jobs, so the same job gives the same samples
on any node and at any attempt. What a resampler cannot know beyond the edge of a job it takes for silence: that
touches the outermost millisecond.

All of it is blocking work of milliseconds: about 20 ms to decode ten seconds, 3 ms to encode one second. On a loop,
call it through `asyncio.to_thread`, one call at a time for one `SessionDecoder`.
"""

import wave
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal

import av
import av.error
import numpy as np
import soxr

from lingua_scheduler.node.engines.base import ASR_RATE, Audio, EngineError, Speech, from_pcm16
from lingua_scheduler.protocol.audio import (
    OPUS_CLOCK_HZ,
    AudioFormat,
    count_samples,
    join_packets,
    opus_packet_ticks,
    split_packets,
)
from lingua_scheduler.protocol.errors import ErrorCode, PeerError

TtsFormat = Literal["opus", "pcm16", "wav"]

OPUS_RATE: Final = 16_000
OPUS_FRAME_MS: Final = 20
MAX_AUDIO_S: Final = 600
"""More in one job is refused before anything is decoded."""
MIN_RATE: Final = 4_000
MAX_RATE: Final = 192_000
_BITRATE: Final = 24_000
# libopus' complexity: 1 encodes speech three times as fast as the usual 10, at the same size (bench/RESULTS.md).
_COMPLEXITY: Final = 1


@dataclass(frozen=True, slots=True)
class DecodedJob:
    audio: Audio
    """16 kHz."""
    bad_packets: int
    """Opus packets that could not be decoded; each is silence of its own length here."""


@dataclass(frozen=True, slots=True)
class EncodedSpeech:
    """Speech as it travels: empty `data` for empty speech."""

    data: bytes
    audio_format: TtsFormat
    sample_rate: int


class SessionDecoder:
    """Decodes the jobs of one session in order. Any input gives a result or an EngineError."""

    def __init__(self) -> None:
        self._opus: Any = None

    def decode(self, payload: bytes, audio_format: AudioFormat, sample_rate: int) -> DecodedJob:
        """The job's samples at 16 kHz. `sample_rate` is the declared one; Opus is decoded at 48 kHz whatever it says.

        EngineError INVALID_MESSAGE for broken framing, half samples, an absurd rate or length; PROCESSING_ERROR where
        more than half of the Opus packets are not Opus. Neither is worth another attempt.
        """
        rate = OPUS_CLOCK_HZ if audio_format == "opus" else sample_rate
        if not MIN_RATE <= rate <= MAX_RATE:
            raise _refused(f"a sample rate of {sample_rate} Hz is not between {MIN_RATE} and {MAX_RATE}")
        try:
            samples = count_samples(payload, audio_format, rate)
        except PeerError as error:
            raise _refused(error.message) from error
        if samples > MAX_AUDIO_S * rate:
            raise _refused(f"{samples // rate} s of audio in one job; at most {MAX_AUDIO_S} s are taken")
        if audio_format == "pcm16":
            return DecodedJob(resampled(from_pcm16(payload), rate, ASR_RATE), 0)
        pcm, packets, bad = self._decode_opus(payload)
        if bad * 2 > packets:
            message = f"{bad} of {packets} packets are not Opus"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=False)
        return DecodedJob(resampled(from_pcm16(pcm), OPUS_CLOCK_HZ, ASR_RATE), bad)

    def _decode_opus(self, payload: bytes) -> tuple[bytes, int, int]:
        """PCM at 48 kHz as long as the packets say, how many there were, how many were not Opus."""
        parts: list[bytes] = []
        bad = 0
        for packet in split_packets(payload):
            size = opus_packet_ticks(packet) * 2
            try:
                pcm = self._decode_packet(bytes(packet))
            except (av.error.FFmpegError, ValueError):
                pcm = b""
                bad += 1
            parts.append(pcm[:size].ljust(size, b"\0"))
        return b"".join(parts), len(parts), bad

    def _decode_packet(self, packet: bytes) -> bytes:
        if self._opus is None:
            self._opus = av.CodecContext.create("libopus", "r")
            self._opus.sample_rate = OPUS_CLOCK_HZ
            self._opus.layout = "mono"
        frames: Iterable[Any] = self._opus.decode(av.Packet(packet))
        return b"".join(frame.to_ndarray().tobytes() for frame in frames)


def resampled(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """The same sound at another rate: exactly `len(audio) * to_rate // from_rate` samples."""
    if from_rate == to_rate:
        return audio
    wanted = len(audio) * to_rate // from_rate
    out: Audio = soxr.resample(audio, from_rate, to_rate)
    return out[:wanted] if len(out) >= wanted else np.pad(out, (0, wanted - len(out)))


def encode_speech(speech: Speech, audio_format: TtsFormat, sample_rate: int = OPUS_RATE) -> EncodedSpeech:
    """Speech in the format asked for. Opus is always 16 kHz, 20 ms packets, each behind its length; the last is filled
    with silence. `sample_rate` is for pcm16 and wav. Samples beyond full scale are clipped.
    """
    rate = OPUS_RATE if audio_format == "opus" else sample_rate
    if not len(speech.audio):
        return EncodedSpeech(b"", audio_format, rate)
    pcm = to_pcm16(resampled(speech.audio, speech.sample_rate, rate))
    match audio_format:
        case "opus":
            data = join_packets(_opus_packets(pcm))
        case "pcm16":
            data = pcm
        case "wav":
            data = _wav(pcm, rate)
    return EncodedSpeech(data, audio_format, rate)


def to_pcm16(audio: Audio) -> bytes:
    """Little-endian 16-bit PCM; the inverse of `from_pcm16` for what that gives."""
    return np.rint(np.clip(audio * 32768.0, -32768, 32767)).astype("<i2").tobytes()


def _opus_packets(pcm: bytes) -> list[bytes]:
    encoder: Any = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = OPUS_RATE
    encoder.layout = "mono"
    encoder.format = "s16"
    encoder.bit_rate = _BITRATE
    encoder.options = {
        "application": "voip",
        "frame_duration": str(OPUS_FRAME_MS),
        "compression_level": str(_COMPLEXITY),
    }
    frame_bytes = OPUS_RATE * OPUS_FRAME_MS // 1000 * 2
    samples = np.frombuffer(pcm + bytes(-len(pcm) % frame_bytes), dtype="<i2")
    # Handed over whole: PyAV cuts it into the encoder's frames without a Python object for each.
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = OPUS_RATE
    packets = [bytes(packet) for packet in encoder.encode(frame)]
    # The encoder looks 6.5 ms ahead: one packet more holds the end of the last sound.
    return packets + [bytes(packet) for packet in encoder.encode(None)]


def _wav(pcm: bytes, sample_rate: int) -> bytes:
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return out.getvalue()


def _refused(message: str) -> EngineError:
    return EngineError(ErrorCode.INVALID_MESSAGE, message, retryable=False)
