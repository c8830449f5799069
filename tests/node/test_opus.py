"""libopus through ctypes: any packet, exact sizes, sessions apart, what happens without it."""

import ctypes.util
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from lingua_scheduler.node import opus
from lingua_scheduler.node.audio import SessionDecoder, to_pcm16
from lingua_scheduler.node.engines.base import EngineError
from lingua_scheduler.node.opus import FRAME_SAMPLES, OpusDecoder, Samples, encode_opus
from lingua_scheduler.protocol.audio import OPUS_CLOCK_HZ, join_packets, opus_packet_ticks
from lingua_scheduler.protocol.errors import PeerError
from tests.node.harness import job
from tests.node.rig import running_node


def tone(samples: int, hz: float = 440.0) -> Samples:
    return (9000 * np.sin(np.arange(samples) * (2 * np.pi * hz / opus.OPUS_RATE))).astype(np.int16)


def test_two_thousand_random_packets_are_noise_or_an_error_and_never_a_crash() -> None:
    """In a process of its own: what a codec written in C does wrong ends the process, not a test."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.node.opus_fuzz", "2000"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    decoded, refused = map(int, done.stdout.split())
    assert decoded + refused == 2000
    assert decoded > 100
    assert refused > 100


@pytest.mark.parametrize("samples", [0, 1, 279, 280, 281, 320, 16_000])
def test_packets_hold_the_sound_to_its_end(samples: int) -> None:
    packets = encode_opus(tone(samples))
    late = 40  # 2.5 ms
    assert len(packets) == -(-(samples + late) // FRAME_SAMPLES)
    assert all(opus_packet_ticks(packet) == OPUS_CLOCK_HZ // 50 for packet in packets)
    decoded, count, bad = OpusDecoder().decode(packets)
    assert (len(decoded), count, bad) == (len(packets) * FRAME_SAMPLES, len(packets), 0)


def test_the_end_of_a_sound_is_as_loud_as_its_middle() -> None:
    decoded, _, _ = OpusDecoder().decode(encode_opus(tone(16_000)))
    middle, end = decoded[8_000:8_200].astype(float), decoded[16_040 - 200 : 16_040].astype(float)
    assert np.abs(end).max() == pytest.approx(np.abs(middle).max(), rel=0.2)


def test_a_packet_that_does_not_say_its_length_is_refused() -> None:
    for packet in (b"", b"\x03", b"\x03\x00", b"\x1b\x3f"):  # nothing, no frame count, none, 63 frames of 60 ms
        with pytest.raises(PeerError):
            OpusDecoder().decode([packet])


@pytest.mark.parametrize("toc", [0x18, 0x48, 0x78, 0xB8, 0xF8, 0xFC, 0x80, 0x98])
def test_a_lost_frame_of_any_mode_and_length_has_its_length(toc: int) -> None:
    """A packet of one byte: speech, mixed and transform mode, 2.5 to 60 ms, mono and stereo."""
    packet = bytes((toc,))
    decoded, count, _ = OpusDecoder().decode([packet])
    assert count == 1
    assert len(decoded) == opus_packet_ticks(packet) // 3


def test_sessions_do_not_hear_each_other() -> None:
    high, low = encode_opus(tone(16_000, 1000)), encode_opus(tone(16_000, 200))
    alone, beside, other = OpusDecoder(), OpusDecoder(), OpusDecoder()
    whole, _, _ = alone.decode(high)
    parts: list[Samples] = []
    for mine, its in zip(high, low, strict=True):
        parts.append(beside.decode([mine])[0])
        other.decode([its])
    assert (np.concatenate(parts) == whole).all()


@pytest.fixture
def without_libopus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def nowhere(_name: str) -> None:
        return None

    monkeypatch.setattr(opus, "find_spec", nowhere)
    monkeypatch.setattr(ctypes.util, "find_library", nowhere)
    opus.libopus.cache_clear()
    yield
    opus.libopus.cache_clear()


@pytest.mark.usefixtures("without_libopus")
def test_without_libopus_a_job_in_opus_fails_with_the_remedy_and_pcm16_goes_on() -> None:
    with pytest.raises(EngineError, match=r"no Opus, only pcm16: .* `av` .*libopus0") as caught:
        SessionDecoder().decode(join_packets([b"\x48"]), "opus", 16_000)
    assert caught.value.retryable
    assert len(SessionDecoder().decode(bytes(640), "pcm16", 16_000).audio) == 320


@pytest.mark.usefixtures("without_libopus")
async def test_without_libopus_a_node_starts_and_says_so() -> None:
    async with running_node("scripted-asr,scripted-mt,scripted-tts") as rig:
        rig.peer.assign(job(0), to_pcm16(np.zeros(16_000, np.float32)))
        assert (await rig.result(0)).job_id == "job-0"
        assert any(line.startswith("note: no Opus, only pcm16") for line in rig.told)
