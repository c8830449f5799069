"""Sound files of any kind become frames; Opus goes out and comes back; what is no sound is told in one line."""

import wave
from array import array
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.client.errors import SoundError
from lingua_scheduler.client.sound import (
    FRAME_BYTES,
    FRAME_SAMPLES,
    OpusEncoder,
    decode_speech,
    read_sound_file,
    sound_duration_ms,
    write_wav,
)
from lingua_scheduler.data import COMMANDS
from lingua_scheduler.protocol.audio import join_packets, opus_samples, split_packets
from tests.support import read_wav

SPEECH = b"".join(read_sound_file(COMMANDS.path))


def loudness(pcm: bytes) -> float:
    samples = array("h", pcm)
    return (sum(x * x for x in samples) / max(1, len(samples))) ** 0.5


def write_stereo(path: Path, rate: int, seconds: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array("h", [1000, -1000] * (rate * seconds // 2) * 2).tobytes())


def test_any_rate_and_channels_become_16_khz_mono(tmp_path: Path):
    write_stereo(tmp_path / "x.wav", 44_100, 2)
    frames = list(read_sound_file(tmp_path / "x.wav"))

    assert {len(frame) for frame in frames} == {FRAME_BYTES}
    assert abs(len(frames) - 100) <= 1
    assert sound_duration_ms(tmp_path / "x.wav") == 2000


def test_a_compressed_file_is_read(tmp_path: Path):
    path = tmp_path / "x.ogg"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=48_000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=48_000)
        frame.sample_rate = 48_000
        frame.planes[0].update(bytes(96_000))
        container.mux(stream.encode(frame) + stream.encode(None))

    assert 48 <= len(list(read_sound_file(path))) <= 52


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.wav", None, "does not exist"),
        ("text.wav", b"not a sound, whatever its name says", "is not a sound file"),
        ("empty.wav", b"", "is not a sound file"),
        (".", None, "is a folder"),
    ],
)
def test_what_is_no_sound_is_told_in_one_line(tmp_path: Path, name: str, content: bytes | None, told: str):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SoundError, match=told) as caught:
        list(read_sound_file(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(SoundError, match=told):
        sound_duration_ms(path)


def test_a_file_without_a_single_sample_is_told(tmp_path: Path):
    write_wav(tmp_path / "x.wav", b"", 16_000)

    with pytest.raises(SoundError, match="holds no sound"):
        list(read_sound_file(tmp_path / "x.wav"))


def test_a_wav_is_written_as_it_was_read(tmp_path: Path):
    write_wav(tmp_path / "x.wav", SPEECH, 16_000)

    assert b"".join(read_sound_file(tmp_path / "x.wav")) == SPEECH
    assert read_wav(tmp_path / "x.wav").sample_rate == 16_000


def test_opus_carries_speech_there_and_back():
    encoder = OpusEncoder()
    packets, samples = encoder.encode(SPEECH)
    pcm, rate = decode_speech(packets, "opus", 16_000)

    assert opus_samples(packets, 16_000) == samples == len(SPEECH) // 2
    assert (len(pcm), rate) == (len(SPEECH), 16_000)
    assert loudness(pcm) == pytest.approx(loudness(SPEECH), rel=0.2)
    assert len(packets) < len(SPEECH) / 5


@given(st.lists(st.integers(0, 2500), max_size=12))
def test_opus_frames_wait_for_whole_ones_and_the_flush_fills_up(sizes: list[int]):
    encoder, packets, samples = OpusEncoder(), b"", 0
    for size in sizes:
        more, count = encoder.encode(bytes(2 * size))
        packets, samples = packets + more, samples + count
        assert samples <= sum(sizes)
    more, count = encoder.flush()
    packets, samples = packets + more, samples + count

    assert samples == -(-sum(sizes) // FRAME_SAMPLES) * FRAME_SAMPLES
    assert opus_samples(packets, 16_000) == samples
    assert encoder.flush() == (b"", 0)


def test_speech_in_other_forms_is_decoded(tmp_path: Path):
    write_wav(tmp_path / "x.wav", SPEECH, 22_050)

    assert decode_speech((tmp_path / "x.wav").read_bytes(), "wav", 16_000) == (SPEECH, 22_050)
    assert decode_speech(SPEECH, "pcm16", 24_000) == (SPEECH, 24_000)


@pytest.mark.parametrize(
    ("audio", "form"), [(b"\x05\x00abc", "opus"), (b"\x00\x00", "opus"), (b"RIFF", "wav"), (b"x", "mp9")]
)
def test_speech_that_cannot_be_decoded_is_told(audio: bytes, form: str):
    with pytest.raises(SoundError, match="spoken translation"):
        decode_speech(audio, form, 16_000)


def test_packets_are_framed_as_the_protocol_says():
    packets, _ = OpusEncoder().encode(SPEECH[: FRAME_BYTES * 5])

    assert join_packets([bytes(packet) for packet in split_packets(packets)]) == packets
    assert sum(1 for _ in split_packets(packets)) == 5
