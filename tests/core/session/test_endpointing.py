"""When an utterance ends, and what belongs to it."""

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol
from lingua_scheduler.core.utterance import FinalizeReason
from tests.core.session.support import DEFAULTS, PROTOCOLS, Scene, job_id, of, pcm

IS_FINAL = FinalizeReason.IS_FINAL
TIMEOUT = FinalizeReason.TIMEOUT
MAX_DURATION = FinalizeReason.MAX_DURATION
MAX_LENGTH = FinalizeReason.MAX_LENGTH
SESSION_CLOSE = FinalizeReason.SESSION_CLOSE


# ----------------------------------------------------------------------------------------------- the five reasons


def test_a_final_ends_the_utterance_and_its_chunk_belongs_to_it():
    scene = Scene()
    scene.say(300)
    scene.say(200, final=True)
    assert scene.ended() == [(0, IS_FINAL, 500)]


def test_an_empty_final_ends_what_was_collected():
    scene = Scene()
    scene.say(300)
    scene.say(0, final=True)
    assert scene.ended() == [(0, IS_FINAL, 300)]


def test_a_pause_ends_the_utterance_after_its_hangover():
    scene = Scene()
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms - 1)
    assert not scene.started
    scene.wait(1)
    assert scene.ended() == [(0, TIMEOUT, 300)]


def test_every_chunk_of_audio_starts_the_pause_anew():
    scene = Scene()
    for _ in range(5):
        scene.say(100)
        scene.wait(DEFAULTS.pause_ms - 1)
    assert not scene.started
    scene.wait(1 + DEFAULTS.hangover_auto_ms)
    assert scene.ended() == [(0, TIMEOUT, 500)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_longest_utterance_is_cut_at_once_with_the_chunk_that_fills_it(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.say(9_900)
    assert not scene.started
    scene.say(150)
    scene.say(100)
    assert scene.ended() == [(0, MAX_DURATION, 10_050)]
    scene.say(0, final=True)
    scene.wait(DEFAULTS.hangover_manual_ms)
    assert scene.ended()[1:] == [(1, IS_FINAL, 100)]


def test_exactly_the_longest_duration_is_enough():
    scene = Scene()
    scene.say(10_000)
    assert scene.ended() == [(0, MAX_DURATION, 10_000)]


def test_too_many_bytes_end_the_utterance_at_once():
    # 512,000 bytes of PCM at 48 kHz are 5.3 s: the bytes are reached before the duration.
    scene = Scene(sample_rate=48_000)
    scene.chunk(bytes(512_000))
    assert not scene.started
    scene.chunk(bytes(2))
    assert [(spec.utterance.reason, len(spec.utterance.audio)) for spec in scene.started] == [(MAX_LENGTH, 512_002)]


def test_closing_the_session_ends_the_utterance():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.CloseRequested("done"))
    assert scene.ended() == [(0, SESSION_CLOSE, 300)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_losing_the_connection_ends_the_utterance(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    assert bool(scene.started) == (protocol == "1.0"), "a client of 1.1 may come back at once"
    scene.wait(DEFAULTS.resume_flush_ms)
    assert scene.ended() == [(0, SESSION_CLOSE, 300)]


def test_each_reason_has_its_padding():
    paddings = dict[FinalizeReason, int]()
    for protocol in PROTOCOLS:
        scene = Scene(protocol=protocol)
        scene.utter()
        scene.say(100)
        scene.wait(4000)
        scene.say(10_000)
        scene.say(100)
        scene.handle(ev.CloseRequested("done"))
        paddings |= {spec.utterance.reason: spec.utterance.padding_ms for spec in scene.started}
    scene = Scene(sample_rate=48_000)
    scene.chunk(bytes(512_002))
    paddings[MAX_LENGTH] = scene.started[0].utterance.padding_ms

    assert paddings == {IS_FINAL: 280, TIMEOUT: 220, MAX_DURATION: 220, SESSION_CLOSE: 220, MAX_LENGTH: 0}


# ----------------------------------------------------------------------------------------------- who wins


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_final_outranks_duration_and_length(protocol: Protocol):
    scene = Scene(protocol=protocol, sample_rate=48_000)
    scene.chunk(bytes(1_000_000), final=True)
    scene.wait(DEFAULTS.hangover_manual_ms)
    assert [spec.utterance.reason for spec in scene.started] == [IS_FINAL]


def test_duration_outranks_length():
    scene = Scene(sample_rate=48_000)
    scene.chunk(bytes(1_000_000))
    assert [spec.utterance.reason for spec in scene.started] == [MAX_DURATION]


def test_a_final_within_the_hangover_of_a_pause_takes_the_utterance_over():
    scene = Scene(protocol="1.0")
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms + 100)
    scene.say(0, final=True)
    scene.wait(DEFAULTS.hangover_manual_ms - 1)
    assert not scene.started
    scene.wait(1)
    assert scene.ended() == [(0, IS_FINAL, 300)]


def test_closing_within_a_hangover_keeps_the_reason_that_was_first():
    scene = Scene(protocol="1.0")
    scene.say(300, final=True)
    scene.handle(ev.CloseRequested("done"))
    assert scene.ended() == [(0, IS_FINAL, 300)]


# ----------------------------------------------------------------------------------------------- the hangover


def test_a_final_of_protocol_1_0_may_overtake_a_second_of_audio():
    scene = Scene(protocol="1.0")
    scene.say(256)
    scene.say(0, final=True)
    for _ in range(4):
        scene.jump(5)
        scene.say(256)
    scene.wait(DEFAULTS.hangover_manual_ms)
    assert scene.ended() == [(0, IS_FINAL, 5 * 256)]
    assert scene.started[0].utterance.audio == pcm(5 * 256)


def test_a_final_of_protocol_1_0_may_overtake_all_of_a_short_utterance():
    scene = Scene(protocol="1.0")
    scene.say(0, final=True)
    scene.say(256)
    scene.say(256)
    scene.wait(DEFAULTS.hangover_manual_ms)
    assert scene.ended() == [(0, IS_FINAL, 512)]


def test_the_hangover_begins_with_the_final_and_not_with_the_stragglers():
    scene = Scene(protocol="1.0")
    scene.say(300, final=True)
    scene.wait(DEFAULTS.hangover_manual_ms - 1)
    scene.say(100)
    scene.wait(1)
    assert scene.ended() == [(0, IS_FINAL, 400)]


def test_stragglers_may_fill_an_utterance_beyond_the_longest_duration():
    scene = Scene(protocol="1.0")
    scene.say(9_900)
    scene.say(0, final=True)
    for _ in range(4):
        scene.say(256)
    scene.wait(DEFAULTS.hangover_manual_ms)
    assert scene.ended() == [(0, IS_FINAL, 9_900 + 4 * 256)]


def test_stragglers_are_bounded_in_bytes():
    scene = Scene(protocol="1.0", sample_rate=48_000)
    scene.chunk(bytes(400_000), final=True)
    scene.chunk(bytes(112_002))
    assert [(spec.utterance.reason, len(spec.utterance.audio)) for spec in scene.started] == [(IS_FINAL, 512_002)]


def test_in_protocol_1_1_a_final_is_last_and_ends_at_once():
    scene = Scene(protocol="1.1")
    scene.say(300, final=True)
    assert scene.ended() == [(0, IS_FINAL, 300)]
    scene.say(200, final=True)
    assert scene.ended()[1:] == [(1, IS_FINAL, 200)]


def test_in_protocol_1_1_a_pause_has_its_hangover_all_the_same():
    scene = Scene(protocol="1.1")
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms + 100)
    scene.say(100)
    scene.wait(50)
    assert scene.ended() == [(0, TIMEOUT, 400)]


def test_a_hangover_delays_nothing_else():
    scene = Scene(protocol="1.0")
    scene.utter()
    scene.say(300, final=True)
    scene.conclude(0)
    assert scene.results() == [(0, "text 0")]
    assert of(scene.handle(ev.HeartbeatArrived(7)), ev.Send)
    scene.whole(5)
    assert [spec.job_id for spec in scene.started] == [job_id(0), job_id(5)]


# ----------------------------------------------------------------------------------------------- the pause clock


def test_a_chunk_after_the_window_opens_the_next_utterance_even_if_no_timer_was_looked_at():
    scene = Scene()
    scene.say(300)
    scene.jump(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms)
    scene.say(200)
    assert scene.ended() == [(0, TIMEOUT, 300)]
    scene.say(0, final=True)
    assert scene.ended()[1:] == [(1, IS_FINAL, 200)]


def test_a_chunk_within_the_window_joins_whether_or_not_a_timer_was_looked_at():
    late, punctual = Scene(), Scene()
    for scene, passes in ((late, late.jump), (punctual, punctual.wait)):
        scene.say(300)
        passes(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms - 1)
        scene.say(200)
        scene.wait(1)
        assert scene.ended() == [(0, TIMEOUT, 500)]


def test_a_late_timer_does_not_end_what_came_after_the_pause():
    scene = Scene()
    scene.say(300)
    scene.jump(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms + 500)
    scene.say(200)
    scene.time_reached()
    assert scene.ended() == [(0, TIMEOUT, 300)]


def test_playing_speech_suspends_the_pause_clock():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.TtsStarted("g"))
    scene.wait(10 * DEFAULTS.pause_ms)
    assert not scene.started


def test_the_end_of_playing_starts_a_full_window():
    scene = Scene()
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms - 1)
    scene.handle(ev.TtsStarted("g"))
    scene.wait(5000)
    scene.handle(ev.TtsEnded("g"))
    scene.wait(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms - 1)
    assert not scene.started
    scene.wait(1)
    assert scene.ended() == [(0, TIMEOUT, 300)]


def test_speech_while_playing_is_collected():
    scene = Scene()
    scene.handle(ev.TtsStarted("g"))
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms * 2)
    scene.say(200)
    scene.handle(ev.TtsEnded("g"))
    scene.say(0, final=True)
    assert scene.ended() == [(0, IS_FINAL, 500)]


def test_playing_that_begins_after_the_pause_changes_nothing():
    scene = Scene()
    scene.say(300)
    scene.jump(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms)
    scene.handle(ev.TtsStarted("g"))
    assert scene.ended() == [(0, TIMEOUT, 300)]


def test_an_end_of_playing_that_is_never_told_does_not_keep_speech_for_ever():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.TtsStarted("g"))
    scene.wait(DEFAULTS.tts_suspend_max_ms + DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms)
    assert scene.ended() == [(0, TIMEOUT, 300)]


def test_a_new_connection_does_not_inherit_the_playing_of_the_old_one():
    scene = Scene()
    scene.handle(ev.TtsStarted("g"))
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.Resumed(0, "token"))
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms)
    assert scene.ended() == [(0, TIMEOUT, 300)]


# ----------------------------------------------------------------------------------------------- stale triggers


def test_ending_nothing_creates_nothing_and_keeps_the_index():
    for protocol in PROTOCOLS:
        scene = Scene(protocol=protocol)
        scene.say(0, final=True)
        scene.wait(10_000)
        assert not scene.started
        assert scene.machine.counts == {"stale_trigger": 1}
        assert scene.utter().utterance.index == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_final_is_ignored_and_counted(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.say(300, final=True)
    scene.say(0, final=True)
    scene.wait(1000)
    assert scene.ended() == [(0, IS_FINAL, 300)]
    assert scene.machine.counts == {"stale_trigger": 1}


def test_a_final_after_a_cut_creates_nothing():
    scene = Scene(protocol="1.0")
    scene.say(10_000)
    scene.say(0, final=True)
    scene.wait(10_000)
    assert scene.ended() == [(0, MAX_DURATION, 10_000)]


def test_closing_without_audio_creates_nothing():
    scene = Scene()
    scene.handle(ev.CloseRequested("done"))
    assert not scene.started


def test_the_index_counts_utterances_that_had_audio():
    scene = Scene(protocol="1.0")
    for index in range(4):
        scene.say(0, final=True)
        scene.wait(300)
        assert scene.utter().utterance.index == index
        scene.say(0, final=True)
        scene.wait(300)
    assert scene.machine.next_index == 4
