"""From chunks to utterances: every byte once, in order, on one time line; whole utterances with their own index."""

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import SessionIdentity
from lingua_scheduler.core.session.numbers import SeenNumbers
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.audio import join_packets
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import ErrorMessage
from tests.core.session.support import EN, ES, PT, SPEAKER, Scene, codes, job_id, of, pcm, results

PACKET_20_MS = bytes([9 << 3, 1, 2, 3])
OPUS_100_MS = join_packets([PACKET_20_MS] * 5)


# ----------------------------------------------------------------------------------------------- the time line


def test_every_byte_is_in_one_utterance_in_order():
    scene = Scene()
    for _ in range(130):
        scene.say(256)
    scene.say(0, final=True)
    assert b"".join(spec.utterance.audio for spec in scene.started) == pcm(130 * 256)


def test_utterances_lie_end_to_end_on_the_time_line():
    scene = Scene()
    for ms in (137, 10_000, 411):
        scene.say(ms, final=True)
        scene.wait(5000)
    lines = [(spec.utterance.start_samples, spec.utterance.samples) for spec in scene.started]
    assert lines == [(0, 137 * 16), (137 * 16, 160_000), (10_137 * 16, 411 * 16)]


def test_time_is_counted_in_samples_and_never_summed_in_rounded_milliseconds():
    scene = Scene(sample_rate=44_100)
    for _ in range(500):
        scene.chunk(bytes(2 * 294))  # 6.67 ms
    scene.chunk(b"", final=True)
    assert scene.started[0].utterance.samples == 294 * 500
    assert scene.started[0].utterance.duration_ms == 3333


def test_the_length_of_opus_comes_from_its_packets():
    scene = Scene(audio_format="opus")
    scene.chunk(OPUS_100_MS)
    scene.chunk(join_packets([bytes([(9 << 3) | 1])]), final=True)
    assert (scene.started[0].utterance.audio_format, scene.started[0].utterance.duration_ms) == ("opus", 140)


# ----------------------------------------------------------------------------------------------- the format


def test_an_undeclared_format_is_opus_where_the_first_chunk_parses_to_its_last_byte():
    scene = Scene(audio_format=None)
    scene.chunk(OPUS_100_MS, final=True)
    assert (scene.started[0].utterance.audio_format, scene.started[0].utterance.duration_ms) == ("opus", 100)


def test_an_undeclared_format_is_pcm_where_it_does_not():
    scene = Scene(audio_format=None)
    scene.chunk(OPUS_100_MS[:-2], final=True)
    assert scene.started[0].utterance.audio_format == "pcm16"


def test_the_first_chunk_decides_for_good():
    scene = Scene(audio_format=None)
    scene.chunk(pcm(100))
    scene.chunk(OPUS_100_MS, final=True)
    assert (scene.started[0].utterance.audio_format, scene.started[0].utterance.samples) == ("pcm16", 1600 + 15)


def test_a_broken_first_chunk_decides_nothing():
    scene = Scene(audio_format=None)
    assert codes(scene.chunk(b"\1\2\3")) == [ErrorCode.INVALID_MESSAGE]
    scene.chunk(OPUS_100_MS, final=True)
    assert scene.started[0].utterance.audio_format == "opus"


def test_a_declared_format_is_not_guessed():
    scene = Scene(audio_format="pcm16")
    scene.chunk(OPUS_100_MS, final=True)
    assert scene.started[0].utterance.audio_format == "pcm16"


# ----------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("audio_format", "broken"),
    [
        ("pcm16", b"\1\2\3"),
        ("opus", OPUS_100_MS[:-1]),
        ("opus", b"\xff\xff\1"),
        ("opus", b"\0\0"),
        ("pcm16", bytes(2 << 20)),
    ],
)
def test_a_broken_chunk_is_refused_and_the_buffer_keeps_what_it_had(audio_format: str, broken: bytes):
    whole = OPUS_100_MS if audio_format == "opus" else pcm(100)
    scene = Scene(audio_format="opus" if audio_format == "opus" else "pcm16")
    scene.chunk(whole)
    assert codes(scene.chunk(broken)) == [ErrorCode.INVALID_MESSAGE]
    scene.chunk(whole, final=True)
    assert [spec.utterance.audio for spec in scene.started] == [whole * 2]


def test_a_broken_chunk_names_itself():
    scene = Scene(audio_format="opus")
    scene.chunk(OPUS_100_MS)
    scene.chunk(b"\xff\xff\1")
    assert "chunk 1" in scene.sent(ErrorMessage)[0].message
    assert scene.machine.counts == {"refused_audio": 1}


def test_the_final_of_a_broken_chunk_ends_the_utterance_all_the_same():
    scene = Scene()
    scene.say(300)
    scene.chunk(b"\1\2\3", final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 300)]


@pytest.mark.parametrize("seq", [-1, 2**32])
def test_an_impossible_number_is_refused(seq: int):
    scene = Scene()
    assert codes(scene.handle(ev.ChunkArrived(seq, pcm(100), is_final=True))) == [ErrorCode.INVALID_MESSAGE]
    assert not scene.started


@pytest.mark.parametrize("sample_rate", [0, -16_000, 7_999, 192_001])
def test_no_session_has_an_impossible_rate(sample_rate: int):
    with pytest.raises(ValueError, match="sample rate"):
        SessionIdentity(SPEAKER, (ES,), 0, sample_rate=sample_rate)


# ----------------------------------------------------------------------------------------------- sequence numbers


def test_a_repeated_number_is_ignored_and_counted():
    scene = Scene()
    scene.say(100)
    assert not scene.handle(ev.ChunkArrived(0, pcm(999), is_final=True))
    scene.say(100, final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 200)]
    assert scene.machine.counts == {"repeated_seq": 1}


def test_a_missing_number_is_counted_and_may_come_later_once():
    scene = Scene()
    scene.say(0)
    for seq in (1, 4, 2, 2, 3, 4):
        scene.handle(ev.ChunkArrived(seq, pcm(10, (seq - 1) * 10), is_final=False))
    scene.handle(ev.ChunkArrived(5, b"", is_final=True))
    assert scene.started[0].utterance.audio == pcm(10) + pcm(10, 30) + pcm(10, 10) + pcm(10, 20)
    assert scene.machine.counts == {"missing_seq": 2, "repeated_seq": 2}


def test_where_a_client_begins_to_count_is_its_own_affair():
    scene = Scene()
    scene.handle(ev.ChunkArrived(17, pcm(100), is_final=True))
    assert scene.started
    assert not scene.machine.counts


def test_numbers_are_remembered_in_bounded_memory():
    seen = SeenNumbers()
    for number in range(0, 4000, 2):
        assert seen.add(number)
    assert seen.missing() == 32
    assert seen.add(3997)
    assert not seen.add(3997)
    assert not seen.has(3995)
    assert not seen.add(1), "the oldest gap counts as seen"


# ----------------------------------------------------------------------------------------------- whole utterances


def test_a_whole_utterance_becomes_a_job_at_once_under_its_own_index():
    scene = Scene()
    scene.whole(7, ms=500)
    assert scene.ended() == [(7, FinalizeReason.IS_FINAL, 500)]
    assert scene.started[0].job_id == job_id(7)


def test_a_whole_utterance_that_was_not_cut_by_hand_counts_as_ended_by_a_pause():
    scene = Scene()
    scene.whole(0, manual=False)
    assert scene.ended() == [(0, FinalizeReason.TIMEOUT, 500)]


def test_a_whole_utterance_goes_into_its_own_language():
    scene = Scene()
    scene.whole(0, target=PT)
    assert [(spec.tgt_lang, spec.job_id) for spec in scene.started] == [(PT, job_id(0, PT))]


def test_a_repeated_whole_utterance_begins_no_second_job():
    scene = Scene()
    scene.whole(0)
    assert not scene.whole(0)
    assert len(scene.started) == 1
    assert scene.machine.counts == {"repeated_utterance": 1}


def test_a_repeated_whole_utterance_that_is_concluded_gets_its_result_again():
    scene = Scene()
    scene.whole(0)
    first = results(scene.conclude(0))
    assert results(scene.whole(0)) == first == [(0, "text 0")]
    assert len(scene.started) == 1


def test_a_repeat_of_long_ago_is_refused_without_a_second_job():
    scene = Scene()
    for index in range(9):
        scene.whole(index)
        scene.conclude(index)
    assert codes(scene.whole(0)) == [ErrorCode.INVALID_MESSAGE]
    assert results(scene.whole(1)) == [(1, "text 1")]
    assert len(scene.started) == 9


def test_a_gap_between_client_indices_blocks_nothing():
    scene = Scene()
    scene.whole(0)
    scene.whole(5)
    scene.conclude(5)
    scene.conclude(0)
    assert scene.results() == [(0, "text 0"), (5, "text 5")]


def test_a_late_index_is_delivered_in_its_place_if_that_is_still_possible():
    scene = Scene()
    scene.whole(0)
    scene.whole(5)
    scene.whole(3)
    for index in (5, 3, 0):
        scene.conclude(index)
    assert [index for index, _ in scene.results()] == [0, 3, 5]


def test_streamed_audio_never_shares_an_index_with_a_whole_utterance():
    scene = Scene()
    scene.say(100)
    assert codes(scene.whole(0)) == [ErrorCode.INVALID_MESSAGE], "taken by what is being collected"
    scene.whole(1)
    scene.whole(9)
    scene.say(100, final=True)
    scene.say(100, final=True)
    assert [spec.utterance.index for spec in scene.started] == [1, 9, 0, 10]
    assert codes(scene.whole(10)) == [ErrorCode.INVALID_MESSAGE]


def test_a_whole_utterance_lies_on_the_time_line_before_what_is_still_being_collected():
    scene = Scene()
    scene.say(100)
    scene.whole(1, ms=500)
    scene.say(0, final=True)
    assert [(s.utterance.start_samples, s.utterance.samples) for s in scene.started] == [(0, 8000), (8000, 1600)]


def test_recordings_of_other_rates_never_overlap_on_the_time_line():
    scene = Scene()
    last_end = 0.0
    for index, rate in enumerate((44_100, 16_000, 48_000, 11_025, 16_000)):
        scene.whole(index, ms=333, rate=rate)
        utterance = scene.started[-1].utterance
        assert 0 <= utterance.start_samples / rate - last_end < 3 / 11_025
        last_end = (utterance.start_samples + utterance.samples) / rate


@pytest.mark.parametrize(
    "event",
    [
        ev.UtteranceArrived(-1, pcm(100), "pcm16", 16_000, True, SPEAKER, ES),
        ev.UtteranceArrived(2**32, pcm(100), "pcm16", 16_000, True, SPEAKER, ES),
        ev.UtteranceArrived(0, b"", "pcm16", 16_000, True, SPEAKER, ES),
        ev.UtteranceArrived(0, b"\1\2\3", "pcm16", 16_000, True, SPEAKER, ES),
        ev.UtteranceArrived(0, b"\xff\xff\1", "opus", 16_000, True, SPEAKER, ES),
        ev.UtteranceArrived(0, pcm(100), "pcm16", 0, True, SPEAKER, ES),
        ev.UtteranceArrived(0, bytes(2 << 20), "pcm16", 16_000, True, SPEAKER, ES),
    ],
)
def test_a_whole_utterance_that_cannot_be_one_is_refused_and_takes_no_index(event: ev.UtteranceArrived):
    scene = Scene()
    assert codes(scene.handle(event)) == [ErrorCode.INVALID_MESSAGE]
    assert scene.utter().utterance.index == 0


# ----------------------------------------------------------------------------------------------- targets


def test_one_job_begins_for_each_target_and_the_audio_is_kept_once():
    scene = Scene(targets=(ES, PT))
    scene.say(500, final=True)
    assert [spec.job_id for spec in scene.started] == [job_id(0, ES), job_id(0, PT)]
    assert scene.started[0].utterance is scene.started[1].utterance
    assert scene.machine.kept_bytes == len(pcm(500))


def test_where_nobody_listens_nothing_is_kept_and_the_session_goes_on():
    scene = Scene(targets=())
    scene.say(500, final=True)
    assert not scene.started
    assert scene.machine.kept_bytes == 0
    scene.say(500, final=True)
    assert scene.machine.next_index == 2


def test_what_the_session_settled_is_repeated_in_every_job():
    scene = Scene()
    scene.utter()
    assert scene.started[0].speaker is SPEAKER
    assert SPEAKER.src_lang == EN
    assert of(scene.effects, ev.StartJob)[0].spec.tgt_lang == ES
