"""Decoding, resampling and encoding: exact lengths, real round trips, any input."""

import itertools
import wave
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingua_scheduler.node.audio import (
    MAX_AUDIO_S,
    SessionDecoder,
    encode_speech,
    resampled,
    to_pcm16,
)
from lingua_scheduler.node.engines.base import Audio, EngineError, Speech, from_pcm16
from lingua_scheduler.protocol.audio import AudioFormat, join_packets, opus_samples, split_packets
from lingua_scheduler.protocol.errors import ErrorCode


def tone(seconds: float, rate: int, hz: float = 440.0) -> Audio:
    return (0.3 * np.sin(np.arange(int(seconds * rate)) * (2 * np.pi * hz / rate))).astype(np.float32)


def opus(seconds: float) -> bytes:
    return encode_speech(Speech(tone(seconds, 16_000), 16_000), "opus").data


def decoded_or_error(payload: bytes, audio_format: AudioFormat, rate: int) -> Audio | EngineError:
    try:
        return SessionDecoder().decode(payload, audio_format, rate).audio
    except EngineError as error:
        return error


def loudness(audio: Audio) -> float:
    return float(np.sqrt(np.square(audio).mean()))


def pitch(audio: Audio, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(audio))) * rate / len(audio))


@given(samples=st.integers(0, 20_000), rate=st.sampled_from([8000, 11025, 16000, 22050, 24000, 44100, 48000]))
def test_a_pcm_job_has_exactly_its_duration_in_samples(samples: int, rate: int):
    job = SessionDecoder().decode(b"\1\0" * samples, "pcm16", rate)
    assert len(job.audio) == samples * 16_000 // rate
    assert job.audio.dtype == np.float32


@given(cuts=st.lists(st.integers(0, 150), max_size=6))
@settings(max_examples=20)
def test_an_opus_stream_cut_into_jobs_has_exactly_its_duration(cuts: list[int]):
    packets = [bytes(packet) for packet in split_packets(_STREAM)]
    borders = [0, *sorted(min(cut, len(packets)) for cut in cuts), len(packets)]
    decoder = SessionDecoder()
    jobs = [decoder.decode(join_packets(packets[a:b]), "opus", 16_000) for a, b in itertools.pairwise(borders)]
    assert [len(job.audio) for job in jobs] == [(b - a) * 320 for a, b in itertools.pairwise(borders)]
    assert not any(job.bad_packets for job in jobs)


_STREAM = opus(3)


def test_opus_there_and_back_is_the_same_sound():
    decoded = SessionDecoder().decode(_STREAM, "opus", 16_000).audio
    assert len(decoded) == opus_samples(_STREAM, 16_000) == 48_000 + 320
    assert pitch(decoded, 16_000) == pytest.approx(440, abs=1)
    assert loudness(decoded[:48_000]) == pytest.approx(loudness(tone(3, 16_000)), rel=0.1)


def test_a_session_s_decoder_goes_on_where_the_job_before_ended():
    """A decoder made anew for each job fades in at its start; the session's own gives the stream as if it were one."""
    packets = [bytes(packet) for packet in split_packets(_STREAM)]
    decoder = SessionDecoder()
    halves = [decoder.decode(join_packets(part), "opus", 16_000).audio for part in (packets[:75], packets[75:])]
    whole = SessionDecoder().decode(_STREAM, "opus", 16_000).audio
    edge = 75 * 320
    assert np.abs(np.concatenate(halves) - whole)[: edge - 32].max() < 1e-3
    assert np.abs(np.concatenate(halves) - whole)[edge + 32 :].max() < 1e-3


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_pitch_and_the_loudness(rate: int):
    out = resampled(tone(1, rate), rate, 16_000)
    assert len(out) == 16_000
    assert pitch(out, 16_000) == pytest.approx(440, abs=1)
    assert loudness(out) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


@given(st.binary(max_size=400), st.sampled_from(["opus", "pcm16"]), st.integers(-1, 200_000))
def test_any_bytes_give_a_job_or_an_error_that_is_not_retried(payload: bytes, audio_format: str, rate: int):
    outcome = decoded_or_error(payload, "opus" if audio_format == "opus" else "pcm16", rate)
    if isinstance(outcome, EngineError):
        assert not outcome.retryable
        assert outcome.code in {ErrorCode.INVALID_MESSAGE, ErrorCode.PROCESSING_ERROR}
    else:
        assert np.isfinite(outcome).all()


@given(st.data())
@settings(max_examples=30)
def test_a_mutated_stream_keeps_its_length_or_is_an_error(data: st.DataObject):
    packets = [bytearray(packet) for packet in split_packets(_STREAM)][:20]
    for packet in packets:
        at = data.draw(st.integers(1, len(packet) - 1))
        packet[at] = data.draw(st.integers(0, 255))
    payload = join_packets([bytes(packet) for packet in packets])
    outcome = decoded_or_error(payload, "opus", 16_000)
    if isinstance(outcome, EngineError):
        assert outcome.code is ErrorCode.PROCESSING_ERROR
    else:
        assert len(outcome) == 20 * 320


def test_one_bad_packet_is_silence_of_its_length_and_the_rest_is_heard():
    packets = [bytes(packet) for packet in split_packets(_STREAM)]
    bad = bytes((packets[75][0] | 0b11, 0b0100_0001)) + b"\xff" * 3  # says that it is padded, by more than there is
    spoilt = join_packets([*packets[:75], bad, *packets[76:]])
    job = SessionDecoder().decode(spoilt, "opus", 16_000)
    assert job.bad_packets == 1
    assert len(job.audio) == len(packets) * 320
    assert np.abs(job.audio[75 * 320 + 32 : 76 * 320 - 32]).max() < 0.003  # the resampler rings a little
    assert loudness(job.audio[80 * 320 :][:16_000]) == pytest.approx(0.3 / np.sqrt(2), rel=0.2)


def test_packets_that_are_not_opus_are_an_error():
    bad = bytes((0x0B, 0b0100_0001)) + b"\xff" * 3
    with pytest.raises(EngineError, match="10 of 10 packets are not Opus"):
        SessionDecoder().decode(join_packets([bad] * 10), "opus", 16_000)


@pytest.mark.parametrize(
    ("payload", "audio_format", "rate", "says"),
    [
        (b"\x05\x00\x01", "opus", 16_000, "past the end"),
        (b"\x01", "pcm16", 16_000, "not whole"),
        (b"\0\0", "pcm16", 0, "sample rate"),
        (b"\0\0", "pcm16", 1_000_000, "sample rate"),
        (b"\0\0" * (16_000 * 1800), "pcm16", 16_000, "1800 s"),
    ],
)
def test_refused_input_is_named(payload: bytes, audio_format: str, rate: int, says: str):
    with pytest.raises(EngineError, match=says) as caught:
        SessionDecoder().decode(payload, "opus" if audio_format == "opus" else "pcm16", rate)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def test_empty_audio_is_an_empty_job_and_empty_speech_is_no_data():
    assert len(SessionDecoder().decode(b"", "opus", 16_000).audio) == 0
    for audio_format in ("opus", "pcm16", "wav"):
        assert encode_speech(Speech(tone(0, 16_000), 22_050), audio_format).data == b""


def test_thirty_minutes_of_opus_are_refused_before_they_are_decoded():
    packet = next(iter(split_packets(_STREAM)))
    with pytest.raises(EngineError, match="1800 s"):
        SessionDecoder().decode(join_packets([bytes(packet)] * (1800 * 50)), "opus", 16_000)
    assert MAX_AUDIO_S < 1800


def test_speech_at_an_engine_s_own_rate_is_resampled_before_it_is_encoded():
    speech = Speech(tone(1, 22_050), 22_050)
    assert opus_samples(encode_speech(speech, "opus").data, 16_000) == 16_000 + 320
    pcm = encode_speech(speech, "pcm16", 24_000)
    assert (len(pcm.data), pcm.sample_rate) == (48_000, 24_000)
    with wave.open(BytesIO(encode_speech(speech, "wav").data)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (16_000, 16_000, 1)


@given(st.binary(max_size=200).map(lambda raw: raw[: len(raw) // 2 * 2]))
def test_pcm_there_and_back_is_exact(raw: bytes):
    assert to_pcm16(from_pcm16(raw)) == raw


def test_samples_beyond_full_scale_are_clipped():
    assert to_pcm16(np.array([2.0, -2.0, 1.0], np.float32)) == b"\xff\x7f\x00\x80\xff\x7f"
