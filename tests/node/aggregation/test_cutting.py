"""Cuts lie in pauses where there are any, and leave pieces of the promised sizes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.aggregation.audio_events import RATE
from lingua_scheduler.node.aggregation.cutting import complete_batches, cut_points, full_batches
from lingua_scheduler.node.aggregation.levels import SessionLevels, frame_rms
from lingua_scheduler.node.aggregation.limits import AudioLimits
from tests.node.aggregation.shell import noise, speech

LIMITS = AudioLimits()
QUIET = 0.01


def seconds(cuts: list[int]) -> list[float]:
    return [round(cut / RATE, 2) for cut in cuts]


@pytest.mark.parametrize("length", [0.0, 0.01, 2.0, 4.99, 5.0])
def test_what_fits_one_piece_is_not_cut(length: float) -> None:
    assert cut_points(noise(length), QUIET, LIMITS) == []


@pytest.mark.parametrize(
    ("runs", "pause_s", "cuts"),
    [
        ((3.0, 3.0), 0.4, [3.2]),
        ((3.0, 3.0), 0.2, [3.1]),
        ((1.0, 2.0, 4.0), 0.4, [3.6]),  # the first pause would leave too little before it
        ((2.5, 1.2, 3.0), 0.4, [4.3]),  # of equal pauses the later: longer pieces are recognised better
        ((4.0, 4.0, 1.5), 0.4, [4.2, 8.24]),  # the last piece too has at least 2 s: that pause is out of reach
    ],
)
def test_a_cut_is_in_the_middle_of_the_longest_pause_in_reach(
    runs: tuple[float, ...], pause_s: float, cuts: list[float]
) -> None:
    found = seconds(cut_points(speech(*runs, pause_s=pause_s), QUIET, LIMITS))
    assert found[0] == pytest.approx(cuts[0], abs=0.021)
    assert len(found) == len(cuts)


def test_the_longer_pause_wins_over_the_later_one() -> None:
    audio = np.concatenate((noise(2.5), noise(0.5, 0.001), noise(1.2), noise(0.3, 0.001), noise(3.0)))
    assert seconds(cut_points(audio, QUIET, LIMITS)) == [pytest.approx(2.75, abs=0.021)]


def test_a_pause_longer_than_the_reach_is_cut_where_it_can_be_reached() -> None:
    audio = np.concatenate((noise(4.0), noise(4.0, 0.001), noise(3.0)))
    cuts = seconds(cut_points(audio, QUIET, LIMITS))
    assert cuts[0] == pytest.approx(5.0, abs=0.021)
    assert cuts[1] == pytest.approx(7.5, abs=0.6)


def test_without_a_pause_the_quietest_300_ms_near_five_seconds_are_cut() -> None:
    audio = noise(9)
    soft = slice(int(4.2 * RATE), int(4.5 * RATE))
    audio[soft] *= 0.5
    assert seconds(cut_points(audio, 0.0, LIMITS))[0] == pytest.approx(4.35, abs=0.021)


def test_audio_of_one_level_is_cut_as_late_as_possible() -> None:
    assert seconds(cut_points(np.full(10 * RATE, 0.1, np.float32), QUIET, LIMITS)) == [5.0]


@given(st.integers(0, 40 * RATE), st.integers(0, 2**32 - 1), st.floats(0, 0.5))
def test_pieces_are_never_shorter_or_longer_than_allowed(samples: int, seed: int, quiet: float) -> None:
    chance = np.random.default_rng(seed)
    envelope = np.repeat(chance.random(samples // 1600 + 1), 1600)[:samples]
    audio = (chance.standard_normal(samples) * envelope).astype(np.float32)
    cuts = cut_points(audio, quiet, LIMITS)
    lengths = [stop - start for start, stop in pairwise([0, *cuts, samples])]
    if cuts:
        assert all(2 * RATE <= length <= 5 * RATE for length in lengths)
    else:
        assert samples <= 5 * RATE
    assert all((samples - cut) % 320 == 0 for cut in cuts)


@pytest.mark.parametrize(
    ("lengths", "counts"),
    [([], []), ([4], []), ([5], [1]), ([2, 3], [2]), ([4, 4, 4], [2]), ([5, 2, 2, 2, 1], [1, 3]), ([9, 9], [1, 1])],
)
def test_batches_are_complete_from_five(lengths: list[int], counts: list[int]) -> None:
    assert complete_batches(lengths, 5) == counts


@pytest.mark.parametrize(
    ("lengths", "counts"), [([], []), ([4], [1]), ([9], [1]), ([2, 3, 1], [2, 1]), ([1] * 7, [5, 2]), ([6, 1], [1, 1])]
)
def test_batches_are_full_at_five(lengths: list[int], counts: list[int]) -> None:
    assert full_batches(lengths, 5) == counts


# ------------------------------------------------------------------------------------------- levels


def heard(*parts: np.ndarray) -> SessionLevels:
    levels = SessionLevels()
    for part in parts:
        levels.hear(part.astype(np.float32))
    return levels


def test_frames_are_counted_back_from_the_end() -> None:
    audio = np.concatenate((np.ones(100), np.zeros(320), np.full(320, 0.5))).astype(np.float32)
    assert frame_rms(audio).tolist() == [0.0, 0.5]


def test_the_floor_is_the_rooms_noise_and_not_the_speech() -> None:
    levels = heard(speech(2, 2, 2, noise_rms=0.003))
    assert levels.floor == pytest.approx(0.003, rel=0.2)
    assert 0.003 < levels.pause_threshold < 0.05


def test_the_floor_forgets_what_was_half_a_minute_ago() -> None:
    assert heard(noise(10, 0.001), noise(31, 0.008)).floor == pytest.approx(0.008, rel=0.1)


@pytest.mark.parametrize(
    ("session", "batch", "silent"),
    [
        ((), np.zeros(RATE), True),
        ((), noise(1, 0.0004), True),
        ((), noise(1, 0.1), False),
        ((speech(3, 3, noise_rms=0.004),), noise(2, 0.004, seed=9), True),
        ((speech(3, 3, noise_rms=0.004),), speech(0.2, 0.2, rms=0.012, noise_rms=0.004), False),
        ((noise(30, 0.3),), speech(0.5, 0.5, rms=0.004, noise_rms=0.0006), False),  # soft after loud
        ((), 0.05 * np.sin(np.arange(RATE) * 0.17), False),  # a steady tone is no silence
        ((), np.zeros(0), True),
        ((), np.full(5, 0.1), False),  # shorter than a frame
        ((), np.zeros(5), True),
    ],
)
def test_what_counts_as_silence(session: tuple[np.ndarray, ...], batch: np.ndarray, silent: bool) -> None:
    levels = heard(*session, batch)
    assert levels.is_silence((batch.astype(np.float32),)) is silent


def test_a_click_is_not_speech_but_tenth_of_a_second_is() -> None:
    room = noise(3, 0.003)
    click, word = room.copy(), room.copy()
    click[20_000:20_010] = 0.02
    word[20_000:21_600] *= 4
    assert heard(room).is_silence((click,))
    assert not heard(room).is_silence((word,))


def test_loudness_is_judged_over_all_pieces_of_a_batch() -> None:
    levels = heard(noise(3, 0.003), speech(2, 2))
    assert levels.is_silence((noise(1, 0.003, 5),))
    assert not levels.is_silence((noise(1, 0.003, 5), noise(1, 0.1)))


def test_the_limits_hold_together() -> None:
    with pytest.raises(AssertionError):
        AudioLimits(piece_min_ms=3000)
    with pytest.raises(AssertionError):
        AudioLimits(open_jobs_max=128)
