"""Opus framing, exact durations, and telling Opus from PCM."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.protocol import audio
from lingua_scheduler.protocol.errors import ErrorCode, PeerError

# One second of ticks at 48 kHz is 48,000. RFC 6716 table 2, written out once more: frame length in milliseconds.
FRAME_MS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4
WHOLE = audio.join_packets([bytes([9 << 3, 1, 2]), bytes([9 << 3]), bytes([(31 << 3) | 3, 6, 0])])
"""20 ms, 20 ms, and six times 20 ms."""


def packet(config: int, code: int, frames: int = 0) -> bytes:
    """A packet of one of the 32 configurations; with code 3 it counts its frames itself."""
    return bytes([config << 3 | code, frames]) if code == 3 else bytes([config << 3 | code, 0])


# ----------------------------------------------------------------------------------------------- durations


@pytest.mark.parametrize("config", range(32))
@pytest.mark.parametrize(("code", "frames"), [(0, 1), (1, 2), (2, 2)])
def test_the_first_byte_of_a_packet_says_how_long_it_is(config: int, code: int, frames: int):
    ticks = int(FRAME_MS[config] * 48 * frames)
    assert audio.opus_packet_ticks(packet(config, code)) == ticks
    assert audio.opus_samples(audio.join_packets([packet(config, code)]), 48_000) == ticks


@pytest.mark.parametrize("config", range(32))
@pytest.mark.parametrize("frames", [1, 2, 3, 6, 12, 24, 48])
def test_a_packet_that_counts_its_frames_is_so_long_and_at_most_120_ms(config: int, frames: int):
    ticks = int(FRAME_MS[config] * 48 * frames)
    payload = audio.join_packets([packet(config, 3, frames)])
    if ticks <= 120 * 48:
        assert audio.opus_samples(payload, 48_000) == ticks
    else:
        with pytest.raises(PeerError):
            audio.opus_samples(payload, 48_000)


def test_stereo_and_padding_flags_change_no_duration():
    assert audio.opus_packet_ticks(bytes([9 << 3 | 0b100])) == 960
    assert audio.opus_packet_ticks(bytes([9 << 3 | 0b111, 0b1100_0000 | 3])) == 3 * 960


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_durations_are_exact_at_every_rate_of_opus(rate: int):
    shortest = audio.join_packets([packet(16, 0)])  # 2.5 ms
    assert audio.opus_samples(shortest * 7, rate) * 400 == rate * 7
    assert audio.opus_samples(WHOLE, rate) * 1000 == rate * 160


def test_pcm_has_two_bytes_a_sample():
    assert audio.count_samples(bytes(3200), "pcm16", 16_000) == 1600
    with pytest.raises(PeerError, match="3201"):
        audio.count_samples(bytes(3201), "pcm16", 16_000)


@pytest.mark.parametrize(("ms", "rate", "samples"), [(0, 16_000, 0), (1, 44_100, 44), (20, 16_000, 320)])
def test_milliseconds_and_samples_round_down(ms: int, rate: int, samples: int):
    assert audio.ms_to_samples(ms, rate) == samples
    assert audio.samples_to_ms(samples, rate) <= ms


@given(st.lists(st.integers(0, 10_000), max_size=50), st.sampled_from([8_000, 11_025, 16_000, 44_100]))
def test_a_sum_of_samples_is_closer_than_a_sum_of_milliseconds(pieces: list[int], rate: int):
    exact = sum(pieces) * 1000 // rate
    assert audio.samples_to_ms(sum(pieces), rate) == exact
    assert sum(audio.samples_to_ms(piece, rate) for piece in pieces) <= exact


# ----------------------------------------------------------------------------------------------- framing


def test_packets_stand_behind_their_length_in_little_endian():
    assert audio.join_packets([b"\x48ab", b"\x48" + bytes(299)]) == b"\x03\x00\x48ab\x2c\x01\x48" + bytes(299)


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=20))
def test_splitting_undoes_joining(packets: list[bytes]):
    assert [bytes(one) for one in audio.split_packets(audio.join_packets(packets))] == packets


BROKEN = {
    "half a length": b"\x01",
    "a length and nothing": b"\x05\x00",
    "a length past the end": b"\x05\x00\x48\x00",
    "an empty packet": b"\x00\x00",
    "an empty packet among others": b"\x01\x00\x48\x00\x00\x01\x00\x48",
    "a frame count that is missing": b"\x01\x00\x4b",
    "no frames": b"\x02\x00\x4b\x00",
    "more than 120 ms": b"\x02\x00\x4b\x07",
    "half a length at the end": b"\x01\x00\x48\x01",
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN)
def test_a_payload_that_is_not_whole_is_the_fault_of_its_sender(payload: bytes):
    with pytest.raises(PeerError) as caught:
        audio.opus_samples(payload, 16_000)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


def _samples_or_code(payload: bytes) -> int | ErrorCode:
    try:
        return audio.opus_samples(payload, 48_000)
    except PeerError as error:
        return error.code


def _slowly(payload: bytes) -> int | ErrorCode:
    try:
        return sum(audio.opus_packet_ticks(one) for one in audio.split_packets(payload))
    except PeerError as error:
        return error.code


@given(st.binary(max_size=200))
def test_whatever_a_payload_holds_counting_it_agrees_with_splitting_it(payload: bytes):
    assert _samples_or_code(payload) == _slowly(payload)


@given(st.data())
def test_one_changed_byte_never_raises_anything_but_a_peers_fault(data: st.DataObject):
    payload = bytearray(WHOLE * 5)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    del payload[data.draw(st.integers(0, len(payload))) :]
    told = _samples_or_code(bytes(payload))
    assert told is ErrorCode.INVALID_MESSAGE or isinstance(told, int)


# ----------------------------------------------------------------------------------------------- telling them apart


def test_what_parses_to_its_last_byte_is_opus():
    assert audio.sniff_format(WHOLE) == "opus"


@pytest.mark.parametrize(
    "payload",
    [WHOLE[:-1], WHOLE + b"\0", bytes(3200), b"\x00\x10" * 800, b"\xff\x7f" * 100, b"\x01\x00" * 200, b"\1"],
    ids=["cut", "longer", "silence", "tone", "loud", "quiet", "odd"],
)
def test_everything_else_is_pcm(payload: bytes):
    assert audio.sniff_format(payload) == "pcm16"


@pytest.mark.parametrize(("rate", "is_valid"), [(7_999, False), (8_000, True), (192_000, True), (192_001, False)])
def test_rates_of_speech_have_bounds(rate: int, is_valid: bool):
    assert audio.valid_rate(rate) == is_valid
