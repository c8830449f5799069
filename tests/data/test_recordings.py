"""The shipped recordings are what they claim to be."""

import pytest

from lingua_scheduler.client.gate import Paused, SpeechGate
from lingua_scheduler.client.sound import FRAME_MS, read_sound_file, sound_duration_ms
from lingua_scheduler.data import COMMANDS, MANDARIN, SENSE_AND_SENSIBILITY, Recording, recording_in

RECORDINGS = (SENSE_AND_SENSIBILITY, COMMANDS, MANDARIN)
EACH = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.name)


@EACH
def test_a_recording_is_small_and_as_long_as_it_says(recording: Recording):
    frames = list(read_sound_file(recording.path))

    assert recording.path.stat().st_size < 1_500_000
    assert abs(len(frames) * FRAME_MS - (sound_duration_ms(recording.path) or 0)) < FRAME_MS


@EACH
def test_a_transcript_is_plain_words(recording: Recording):
    words = recording.transcript.split()

    assert len("".join(words)) > 40
    assert all(word.isalpha() and word == word.lower() for word in words)


def test_a_translation_has_a_sentence_for_each_that_is_spoken():
    meant = MANDARIN.translation("en")

    assert meant
    assert len(meant.splitlines()) == len(MANDARIN.transcript.splitlines())
    assert MANDARIN.translation("pt") is None


@pytest.mark.parametrize(
    ("language", "recording"),
    [("en", SENSE_AND_SENSIBILITY), ("zh", MANDARIN), ("zh-CN", MANDARIN), ("fr", None), ("zho", None)],
)
def test_the_demo_s_recording_is_chosen_by_language(language: str, recording: Recording | None):
    assert recording_in(language) is recording


@pytest.mark.parametrize(("recording", "utterances"), [(SENSE_AND_SENSIBILITY, 4), (COMMANDS, 2), (MANDARIN, 5)])
def test_pauses_are_heard_where_the_text_has_them(recording: Recording, utterances: int):
    gate = SpeechGate()
    heard = [event for frame in read_sound_file(recording.path) for event in gate.feed(frame)]

    assert sum(isinstance(event, Paused) for event in heard) == utterances
    assert not gate.flush(), "the recording ends in silence"


def test_their_origin_is_told():
    told = SENSE_AND_SENSIBILITY.path.with_name("PROVENANCE.md").read_text()

    for recording in RECORDINGS:
        assert f"`{recording.path.name}`" in told
    assert "public domain" in told
    assert "BSD 2-clause" in told
