"""Speech is told from its surroundings, and never cut."""

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.client.gate import Heard, Passed, Paused, SpeechGate
from lingua_scheduler.client.sound import FRAME_MS, FRAME_SAMPLES, read_sound_file
from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY


def _clip(value: float) -> int:
    return max(-32_768, min(32_767, round(value)))


def noise(ms: int, level: float, seed: int = 1) -> list[bytes]:
    rng = random.Random(seed)
    return [
        array("h", [_clip(rng.gauss(0, level)) for _ in range(FRAME_SAMPLES)]).tobytes() for _ in range(ms // FRAME_MS)
    ]


def tone(ms: int, level: float, hertz: int = 400) -> list[bytes]:
    """A vowel-like buzz over a little noise."""
    frames: list[bytes] = []
    rng = random.Random(2)
    for at in range(0, ms * 16, FRAME_SAMPLES):
        times = [(at + n) / 16_000 for n in range(FRAME_SAMPLES)]
        wave = [level * math.sin(2 * math.pi * hertz * t) + rng.gauss(0, 5) for t in times]
        frames.append(array("h", [_clip(value) for value in wave]).tobytes())
    return frames


def listen(frames: list[bytes], gate: SpeechGate | None = None) -> list[Heard]:
    gate = gate or SpeechGate()
    return [heard for frame in frames for heard in gate.feed(frame)] + gate.flush()


def passed(heard: list[Heard]) -> list[int]:
    return [one.position * FRAME_MS for one in heard if isinstance(one, Passed)]


def pauses(heard: list[Heard]) -> int:
    return sum(isinstance(one, Paused) for one in heard)


def test_speech_passes_with_what_came_just_before_it():
    heard = listen(noise(2000, 5) + tone(1000, 3000) + noise(1500, 5))

    assert 1650 <= passed(heard)[0] <= 1760, "a pre-roll of 300 ms before the onset is noticed"
    assert 3400 <= passed(heard)[-1] <= 3600
    assert pauses(heard) == 1


@pytest.mark.parametrize("level", [0, 1, 5, 30, 300])
def test_steady_noise_alone_passes_nothing(level: float):
    assert listen(noise(8000, level)) == []


def test_a_recording_may_begin_with_speech():
    heard = listen(tone(600, 3000) + noise(3000, 5))

    assert passed(heard)[0] == 0
    assert pauses(heard) == 1


def test_a_recording_shorter_than_learning_takes_is_heard():
    heard = listen(noise(200, 5) + tone(400, 3000))

    assert set(passed(heard)) >= set(range(200, 600, FRAME_MS))
    assert isinstance(heard[-1], Paused)


def test_a_stop_inside_a_sentence_is_no_pause():
    heard = listen(noise(1500, 5) + tone(800, 3000) + noise(400, 5) + tone(800, 3000) + noise(1000, 5))

    assert pauses(heard) == 1


def test_a_fan_that_is_switched_on_is_learnt():
    heard = listen(noise(3000, 5) + noise(12_000, 200))

    assert pauses(heard) == 1
    assert passed(heard)[-1] < 8000


def test_the_pause_is_as_long_as_asked():
    frames = noise(1500, 5) + tone(800, 3000) + noise(300, 5) + tone(800, 3000) + noise(1000, 5)

    assert pauses(listen(frames, SpeechGate(pause_ms=200))) == 2


def test_quiet_speech_over_a_quiet_room_passes():
    heard = listen(noise(1500, 2) + tone(1000, 60) + noise(1000, 2))

    assert set(passed(heard)) >= set(range(1500, 2500, FRAME_MS))


@given(st.lists(st.tuples(st.sampled_from(["noise", "tone"]), st.integers(1, 40), st.integers(0, 9000)), max_size=5))
def test_frames_pass_once_and_in_order_and_pauses_follow_speech(parts: list[tuple[str, int, int]]):
    frames: list[bytes] = []
    for kind, count, level in parts:
        frames += noise(count * FRAME_MS, level) if kind == "noise" else tone(count * FRAME_MS, level)
    heard = listen(frames)
    positions = [one.position for one in heard if isinstance(one, Passed)]

    assert positions == sorted(set(positions))
    assert all(one.frame == frames[one.position] for one in heard if isinstance(one, Passed))
    before: Heard = Paused()
    for one in heard:
        assert not (isinstance(one, Paused) and isinstance(before, Paused))
        before = one
    assert isinstance(before, Paused), "what has begun is ended"


def test_no_loud_frame_of_real_speech_is_held_back():
    for recording in (SENSE_AND_SENSIBILITY, COMMANDS):
        frames = list(read_sound_file(recording.path))
        kept = set(passed(listen(frames)))
        loud = [at for at, frame in enumerate(frames) if max(abs(x) for x in array("h", frame)) > 2000]
        assert {at * FRAME_MS for at in loud} <= kept
