"""Sound between the wire and the engines: Opus or PCM to 16 kHz samples, speech to Opus, PCM or WAV.

A job of n samples at rate r always becomes n × 16000 / r samples, rounded down, whatever is in it: nothing that a
decoder or resampler holds back or adds can shift a session's time line. Opus keeps one decoder for each session (its
packets predict from the ones before); resampling keeps no state between jobs, so the same job gives the same samples
on any node and at any attempt. What a resampler cannot know beyond the edge of a job it takes for silence: that
touches the outermost millisecond.

All of it is blocking work of milliseconds: about 0.7 ms to decode a second, 1 ms to encode one. On a loop, call it
through `asyncio.to_thread`, one call at a time for one `SessionDecoder`.
"""

import wave
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Literal

import numpy as np
import soxr

from lingua_scheduler.node.engines.base import ASR_RATE, Audio, EngineError, Speech, from_pcm16
from lingua_scheduler.node.opus import OPUS_RATE, OpusDecoder, Samples, encode_opus, why_no_opus
from lingua_scheduler.protocol.audio import AudioFormat, count_samples, join_packets, split_packets
from lingua_scheduler.protocol.errors import ErrorCode, PeerError

TtsFormat = Literal["opus", "pcm16", "wav"]

MAX_AUDIO_S: Final = 600
"""More in one job is refused before anything is decoded."""
MIN_RATE: Final = 4_000
MAX_RATE: Final = 192_000


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
        self._opus: OpusDecoder | None = None

    def decode(self, payload: bytes, audio_format: AudioFormat, sample_rate: int) -> DecodedJob:
        """The job's samples at 16 kHz. `sample_rate` is the declared one; Opus is decoded at 16 kHz whatever it says.

        EngineError INVALID_MESSAGE for broken framing, half samples, an absurd rate or length; PROCESSING_ERROR where
        more than half of the Opus packets are not Opus. Neither is worth another attempt.
        """
        rate = OPUS_RATE if audio_format == "opus" else sample_rate
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
        if (missing := why_no_opus()) is not None:
            raise EngineError(ErrorCode.PROCESSING_ERROR, missing, retryable=True)  # another node may have it
        self._opus = self._opus or OpusDecoder()
        pcm, packets, bad = self._opus.decode([bytes(packet) for packet in split_packets(payload)])
        if bad * 2 > packets:
            message = f"{bad} of {packets} packets are not Opus"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=False)
        return DecodedJob(resampled(from_pcm16(pcm.tobytes()), OPUS_RATE, ASR_RATE), bad)


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
    pcm = _rounded(resampled(speech.audio, speech.sample_rate, rate))
    match audio_format:
        case "opus":
            data = join_packets(encode_opus(pcm))
        case "pcm16":
            data = pcm.tobytes()
        case "wav":
            data = _wav(pcm.tobytes(), rate)
    return EncodedSpeech(data, audio_format, rate)


def to_pcm16(audio: Audio) -> bytes:
    """Little-endian 16-bit PCM; the inverse of `from_pcm16` for what that gives."""
    return _rounded(audio).tobytes()


def _rounded(audio: Audio) -> Samples:
    return np.rint(np.clip(audio * 32768.0, -32768, 32767)).astype("<i2")


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
