"""The shipped recordings are what they claim to be."""

import pytest

from lingua_scheduler.client.gate import Paused, SpeechGate
from lingua_scheduler.client.sound import FRAME_MS, read_sound_file, sound_duration_ms
from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY, Recording

BOTH = pytest.mark.parametrize("recording", [SENSE_AND_SENSIBILITY, COMMANDS], ids=lambda recording: recording.name)


@BOTH
def test_a_recording_is_small_and_as_long_as_it_says(recording: Recording):
    frames = list(read_sound_file(recording.path))

    assert recording.path.stat().st_size < 1_500_000
    assert abs(len(frames) * FRAME_MS - (sound_duration_ms(recording.path) or 0)) < FRAME_MS


@BOTH
def test_a_transcript_is_plain_words(recording: Recording):
    words = recording.transcript.split()

    assert len(words) > 8
    assert all(word.isalpha() and word.islower() for word in words)


@pytest.mark.parametrize(("recording", "utterances"), [(SENSE_AND_SENSIBILITY, 4), (COMMANDS, 2)])
def test_pauses_are_heard_where_the_text_has_them(recording: Recording, utterances: int):
    gate = SpeechGate()
    heard = [event for frame in read_sound_file(recording.path) for event in gate.feed(frame)]

    assert sum(isinstance(event, Paused) for event in heard) == utterances
    assert not gate.flush(), "the recording ends in silence"


def test_their_origin_is_told():
    told = SENSE_AND_SENSIBILITY.path.with_name("PROVENANCE.md").read_text()

    for recording in (SENSE_AND_SENSIBILITY, COMMANDS):
        assert f"`{recording.path.name}`" in told
    assert "public domain" in told
    assert "BSD 2-clause" in told
