"""What a client that lost its connection gets back, and how far it may forget its audio."""

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.messages import AudioAck, MissingResult, SessionResumeAck, TranslationResult
from tests.core.session.support import DEFAULTS, ES, PT, Scene, job_id, messages, of, results, small

IDLE_MS = DEFAULTS.session_idle_ms
RESUME_MS = DEFAULTS.resume_window_ms
FLUSH_MS = DEFAULTS.resume_flush_ms


# ----------------------------------------------------------------------------------------------- resume


def test_results_concluded_while_away_are_delivered_on_resume_once_and_in_order():
    scene = Scene()
    for _ in range(4):
        scene.utter()
    scene.conclude(0)
    scene.handle(ev.ResultsAcked(1))
    scene.conclude(1)
    scene.handle(ev.ConnectionLost())
    assert not scene.conclude(3)
    assert not scene.conclude(2, "no_speech")
    effects = scene.handle(ev.Resumed(1, "token"))
    ack = messages(effects, SessionResumeAck)[0]
    assert (ack.resume_token, ack.next_seq, ack.replayed) == ("token", scene.seq, 3)
    assert results(effects) == [(1, "text 1"), (2, "no_speech"), (3, "text 3")]
    numbers = [one.result_seq for one in messages(effects, TranslationResult) + messages(effects, MissingResult)]
    assert sorted(numbers, key=lambda number: number or 0) == [2, 3, 4]


def test_a_resume_is_answered_before_the_results_that_follow_it():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    scene.handle(ev.ConnectionLost())
    effects = scene.handle(ev.Resumed(0, "token"))
    assert [type(effect.message) for effect in of(effects, ev.Send)] == [SessionResumeAck, TranslationResult, AudioAck]


def test_audio_that_is_sent_again_after_a_resume_is_processed_once():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    scene.wait(FLUSH_MS)
    ack = messages(scene.handle(ev.Resumed(0, "token")), SessionResumeAck)[0]
    assert ack.next_seq == 1
    scene.handle(ev.ChunkArrived(0, bytes(3200), is_final=False))
    scene.say(200, final=True)
    assert scene.ended() == [(0, FinalizeReason.SESSION_CLOSE, 300), (1, FinalizeReason.IS_FINAL, 200)]


def test_who_comes_back_in_the_middle_of_a_word_goes_on_with_it():
    scene = Scene()
    scene.say(300)
    assert not scene.handle(ev.ConnectionLost())
    assert not scene.wait(FLUSH_MS - 1)
    effects = scene.handle(ev.Resumed(0, "token"))
    assert messages(effects, SessionResumeAck)[0].next_seq == 1
    assert not messages(effects, AudioAck), "the client keeps what is still being collected"
    scene.handle(ev.ChunkArrived(0, bytes(3200), is_final=False))
    scene.say(200, final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 500)]


def test_who_does_not_come_back_at_once_has_said_what_was_heard():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    effects = scene.wait(FLUSH_MS)
    assert [type(effect) for effect in effects] == [ev.StartJob]
    assert scene.ended() == [(0, FinalizeReason.SESSION_CLOSE, 300)]
    assert scene.state is Life.AWAY


def test_the_pause_clock_stands_still_while_a_word_waits_for_its_client():
    """What is said meanwhile is with the client, so silence here means nothing."""
    scene = Scene()
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms - 1)
    scene.handle(ev.ConnectionLost())
    scene.wait(FLUSH_MS - 1)
    scene.handle(ev.Resumed(0, "token"))
    assert not scene.wait(DEFAULTS.pause_ms + DEFAULTS.hangover_auto_ms - 1)
    scene.say(200, final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 500)]


def test_a_resume_beats_a_wait_for_it_that_nobody_looked_at():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    scene.jump(10 * FLUSH_MS)
    scene.handle(ev.Resumed(0, "token"))
    scene.say(200, final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 500)]


def test_a_pause_that_was_long_enough_waits_for_nobody():
    scene = Scene()
    scene.say(300)
    scene.wait(DEFAULTS.pause_ms)
    scene.handle(ev.ConnectionLost())
    assert scene.ended() == [(0, FinalizeReason.TIMEOUT, 300)]


def test_a_word_that_waits_ends_with_its_session_and_is_no_open_utterance_before():
    scene = Scene(config=small(resume_window_ms=1000))
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    state = scene.machine.snapshot()
    assert (state.index_highest, state.sealed_seq, state.open) == (-1, -1, ()), "another instance begins with it anew"
    effects = scene.wait(1000)
    assert of(effects, ev.CancelJob) == [ev.CancelJob(job_id(0), "job_timeout")]
    assert scene.ended() == [(0, FinalizeReason.SESSION_CLOSE, 300)]
    assert scene.state is Life.ENDED


def test_without_the_wait_a_lost_connection_ends_the_word_at_once():
    scene = Scene(config=small(resume_flush_ms=0))
    scene.say(300)
    scene.handle(ev.ConnectionLost())
    assert scene.ended() == [(0, FinalizeReason.SESSION_CLOSE, 300)]


def test_a_takeover_by_a_new_connection_cuts_nothing():
    scene = Scene()
    scene.say(300)
    scene.handle(ev.Resumed(0, "token"))
    scene.say(200, final=True)
    assert scene.ended() == [(0, FinalizeReason.IS_FINAL, 500)]


def test_utterance_indices_go_on_after_a_resume():
    scene = Scene()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.Resumed(0, "token"))
    assert scene.utter().utterance.index == 1


def test_no_gap_is_announced_while_nobody_waits():
    scene = Scene()
    scene.utter()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    scene.conclude(1)
    scene.wait(DEFAULTS.gap_hold_ms * 2)
    scene.conclude(0)
    assert results(scene.handle(ev.Resumed(0, "token"))) == [(0, "text 0"), (1, "text 1")]


def test_a_gap_that_is_too_old_at_the_resume_is_announced_then():
    scene = Scene()
    scene.utter()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    scene.conclude(1)
    scene.wait(DEFAULTS.gap_hold_ms)
    assert results(scene.handle(ev.Resumed(0, "token"))) == [(0, "gap_timeout"), (1, "text 1")]


def test_what_replayed_results_went_past_is_announced_again():
    """The announcement went to the connection that was lost; without it, result 0 would come behind the last one."""
    scene = Scene()
    for _ in range(3):
        scene.utter()
    scene.conclude(1)
    scene.wait(DEFAULTS.gap_hold_ms)
    scene.handle(ev.ConnectionLost())
    effects = scene.handle(ev.Resumed(0, "token"))
    assert messages(effects, SessionResumeAck)[0].replayed == 1
    assert results(effects) == [(0, "gap_timeout"), (1, "text 1")]
    assert results(scene.conclude(0)) == [(0, "text 0")]
    scene.handle(ev.ConnectionLost())
    assert results(scene.handle(ev.Resumed(0, "token"))) == [(0, "gap_timeout"), (1, "text 1"), (0, "text 0")]
    scene.handle(ev.ConnectionLost())
    assert results(scene.handle(ev.Resumed(1, "token"))) == [(0, "text 0")]


def test_what_a_takeover_releases_is_sent_once_behind_the_answer_to_it():
    """A gap that was over in the moment of a takeover let its result pass before the resume, which sent it again."""
    scene = Scene()
    scene.utter()
    scene.utter()
    scene.conclude(1)
    scene.jump(DEFAULTS.gap_hold_ms)
    effects = scene.handle(ev.Resumed(0, "token"))
    assert isinstance(of(effects, ev.Send)[0].message, SessionResumeAck)
    assert results(effects) == [(0, "gap_timeout"), (1, "text 1")]


def test_a_session_that_nobody_resumes_ends_after_the_window():
    scene = Scene()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    assert not scene.wait(RESUME_MS - 1)
    effects = scene.wait(1)
    assert effects == [ev.CancelJob(job_id(0), "job_timeout"), ev.EndSession("connection_lost")]


def test_a_resume_beats_a_window_that_nobody_looked_at():
    scene = Scene()
    scene.handle(ev.ConnectionLost())
    scene.jump(2 * RESUME_MS)
    assert messages(scene.handle(ev.Resumed(0, "token")), SessionResumeAck)
    assert scene.state is Life.OPEN


def test_idleness_does_not_count_while_away_and_starts_anew_on_resume():
    scene = Scene()
    scene.wait(IDLE_MS - RESUME_MS // 2)
    scene.handle(ev.ConnectionLost())
    scene.wait(RESUME_MS - 1)
    assert scene.state is Life.AWAY
    scene.handle(ev.Resumed(0, "token"))
    scene.wait(IDLE_MS - 1)
    assert scene.state is Life.OPEN


def test_an_acknowledgement_of_more_than_there_is_does_no_harm():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    scene.handle(ev.ResultsAcked(10**9))
    scene.handle(ev.ResultsAcked(-5))
    scene.utter()
    scene.conclude(1)
    assert results(scene.handle(ev.Resumed(10**9, "token"))) == []
    assert messages(scene.handle(ev.Resumed(-1, "token")), SessionResumeAck)[0].replayed == 0


# ----------------------------------------------------------------------------------------------- audio_ack


def test_audio_is_acknowledged_when_its_result_is_delivered():
    scene = Scene()
    scene.say(100)
    scene.say(100, final=True)
    effects = scene.conclude(0)
    assert [type(effect.message) for effect in of(effects, ev.Send)] == [TranslationResult, AudioAck]
    assert scene.acked() == [1]


def test_audio_is_never_acknowledged_past_what_is_awaited_or_being_collected():
    scene = Scene()
    for _ in range(3):
        scene.say(100, final=True)  # chunks 0, 1, 2
    scene.say(100)  # chunk 3
    scene.conclude(1)
    assert scene.acked() == [], "1 is held back by 0"
    scene.conclude(0)
    assert scene.acked() == [1]
    scene.conclude(2, "no_speech")
    assert scene.acked() == [1, 2], "a gap that was told is concluded"
    scene.say(0, final=True)
    scene.conclude(3)
    assert scene.acked() == [1, 2, 4], "the empty final is concluded with its utterance"


def test_a_gap_announced_as_pending_is_not_concluded():
    scene = Scene()
    scene.say(100, final=True)
    scene.say(100, final=True)
    scene.conclude(1)
    scene.wait(DEFAULTS.gap_hold_ms)
    assert scene.acked() == []
    scene.conclude(0)
    assert scene.acked() == [1]


def test_audio_waits_for_every_target():
    scene = Scene(targets=(ES, PT))
    scene.say(100, final=True)
    scene.conclude(0, target=ES)
    assert scene.acked() == []
    scene.conclude(0, target=PT)
    assert scene.acked() == [0]


def test_an_acknowledgement_is_not_repeated_for_nothing():
    scene = Scene(targets=(ES, PT))
    for index in range(2):
        scene.say(100, final=True)
        scene.conclude(index, target=ES)
        scene.conclude(index, target=PT)
    scene.say(100, final=True)
    scene.conclude(2, target=PT)
    assert scene.acked() == [0, 1]


def test_audio_that_came_out_of_turn_holds_the_acknowledgement_back():
    scene = Scene()
    scene.handle(ev.ChunkArrived(0, bytes(320), is_final=False))
    scene.handle(ev.ChunkArrived(5, bytes(320), is_final=True))
    scene.handle(ev.ChunkArrived(3, bytes(320), is_final=True))
    scene.conclude(0)
    assert scene.acked() == [2]
    scene.conclude(1)
    assert scene.acked() == [2, 5]


def test_audio_that_came_out_of_turn_is_not_acknowledged_while_it_is_being_collected():
    scene = Scene()
    scene.handle(ev.ChunkArrived(0, bytes(320), is_final=True))
    scene.handle(ev.ChunkArrived(5, bytes(320), is_final=False))
    scene.handle(ev.ChunkArrived(3, bytes(320), is_final=False))
    scene.conclude(0)
    assert scene.acked() == [2]


def test_whole_utterances_hold_no_acknowledgement_back():
    scene = Scene()
    scene.whole(0)
    scene.say(100, final=True)
    scene.conclude(1)
    assert scene.acked() == []
    scene.conclude(0)
    assert scene.acked() == [0]


def test_the_acknowledgement_is_given_again_after_a_resume():
    scene = Scene()
    scene.say(100, final=True)
    scene.conclude(0)
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.Resumed(1, "token"))
    assert scene.acked() == [0, 0]


def test_nothing_is_acknowledged_while_away():
    scene = Scene()
    scene.say(100, final=True)
    scene.handle(ev.ConnectionLost())
    assert scene.conclude(0) == []
    scene.handle(ev.Resumed(0, "token"))
    assert scene.acked() == [0]


def test_audio_that_was_given_up_and_told_is_acknowledged():
    scene = Scene()
    scene.say(100, final=True)
    scene.conclude(0, "audio_lost")
    assert scene.acked() == [0]
