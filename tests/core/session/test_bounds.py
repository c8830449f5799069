"""How much is kept for a session, and what happens at each bound."""

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol, SessionConfig
from lingua_scheduler.protocol.messages import Backpressure, MissingResult, TranslationResult
from tests.core.session.support import PROTOCOLS, Scene, job_id, messages, of, pcm, results, small

SECOND_BYTES = len(pcm(1000))
CONFIG = small(session_buffer_bytes_max=10 * SECOND_BYTES)
"""Ten seconds of audio; 7.5 s ask for a pause, 5 s for less haste."""


def pressed(effects: list[ev.SessionEffect]) -> list[str]:
    return [message.action for message in messages(effects, Backpressure)]


# ----------------------------------------------------------------------------------------------- audio that comes in


def test_audio_counts_from_its_chunk_until_no_job_needs_it():
    scene = Scene()
    scene.say(500)
    assert scene.machine.kept_bytes == SECOND_BYTES // 2
    scene.say(500, final=True)
    scene.conclude(0)
    assert scene.machine.kept_bytes == SECOND_BYTES, "a node may still carry it"
    scene.handle(ev.AudioFreed(0))
    assert scene.machine.kept_bytes == 0


def test_audio_may_be_freed_before_the_result_is_delivered():
    scene = Scene()
    scene.utter()
    scene.utter()
    scene.conclude(1)
    scene.handle(ev.AudioFreed(1))
    scene.conclude(0)
    assert len(scene.results()) == 2


def test_audio_is_freed_once():
    scene = Scene()
    scene.utter(1000)
    scene.utter(1000)
    for _ in range(3):
        scene.handle(ev.AudioFreed(0))
    scene.handle(ev.AudioFreed(77))
    assert scene.machine.kept_bytes == SECOND_BYTES


def test_near_the_bound_a_client_is_asked_to_pause():
    scene = Scene(protocol="1.0", config=CONFIG)
    told: list[str] = []
    for _ in range(8):
        told += pressed(scene.say(1000, final=True))
        scene.wait(200)
    assert told == ["PAUSE"]
    assert scene.machine.kept_bytes == 8 * SECOND_BYTES


def test_only_a_client_of_protocol_1_1_is_asked_to_slow_down():
    scene = Scene(protocol="1.1", config=CONFIG)
    told: list[str] = []
    for _ in range(8):
        told += pressed(scene.say(1000, final=True))
        scene.wait(2000)
    assert told == ["SLOW_DOWN", "SLOW_DOWN", "PAUSE"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_is_asked_again_only_after_the_pause_it_was_asked_for(protocol: Protocol):
    scene = Scene(protocol=protocol, config=CONFIG)
    for _ in range(7):
        scene.say(1000, final=True)
        scene.wait(2000)
    scene.say(600)
    first = scene.sent(Backpressure)[-1]
    scene.wait(first.resume_after_ms - 1)
    assert not pressed(scene.say(10))
    scene.wait(1)
    assert pressed(scene.say(10)) == ["PAUSE"]


def test_below_the_bound_nobody_is_asked_for_anything():
    scene = Scene(config=CONFIG)
    for index in range(50):
        scene.utter(1000)
        scene.conclude(index)
        scene.handle(ev.AudioFreed(index))
    assert not scene.sent(Backpressure)


def test_past_the_bound_the_oldest_unfinished_utterance_is_given_up_and_told():
    scene = Scene(config=CONFIG)
    for _ in range(10):
        scene.utter(1000)
    scene.conclude(0)
    scene.handle(ev.AudioFreed(0))
    scene.utter(1000)
    effects = scene.say(1000)
    assert of(effects, ev.CancelJob) == [ev.CancelJob(job_id(1), "audio_lost")]
    assert results(effects) == [(1, "audio_lost")]
    assert scene.machine.kept_bytes == 10 * SECOND_BYTES


def test_giving_up_releases_what_waited_for_it():
    scene = Scene(config=CONFIG)
    for _ in range(10):
        scene.utter(1000)
    scene.conclude(1)
    assert results(scene.say(1000)) == [(0, "audio_lost"), (1, "text 1")]


def test_what_is_finished_is_not_given_up():
    scene = Scene(config=CONFIG)
    for index in range(9):
        scene.utter(1000)
        scene.conclude(index)
    scene.utter(1000)
    effects = scene.say(1000)
    assert results(effects) == [(9, "audio_lost")]


def test_audio_that_nodes_never_give_back_does_not_make_a_session_deaf():
    scene = Scene(config=CONFIG)
    for index in range(30):
        scene.utter(1000)
        scene.conclude(index)
    assert scene.results() == [(index, f"text {index}") for index in range(30)]
    assert scene.machine.kept_bytes <= 10 * SECOND_BYTES


def test_a_session_goes_on_after_it_gave_up_audio():
    scene = Scene(config=CONFIG)
    for _ in range(40):
        scene.utter(1000)
    last = scene.started[-1].utterance.index
    for index in range(last + 1):
        scene.conclude(index)
    told = scene.results()
    assert [index for index, _ in told] == list(range(last + 1))
    assert told[-10:] == [(index, f"text {index}") for index in range(last - 9, last + 1)]


def test_a_late_end_of_what_was_given_up_changes_nothing():
    scene = Scene(config=CONFIG)
    for _ in range(11):
        scene.utter(1000)
    kept = scene.machine.kept_bytes
    scene.conclude(0, "audio_lost")
    scene.handle(ev.AudioFreed(0))
    assert (scene.results(), scene.machine.kept_bytes) == ([(0, "audio_lost")], kept)


def test_a_client_that_ignores_every_request_stays_within_the_bound():
    scene = Scene(config=CONFIG)
    for number in range(400):
        scene.say(250, final=number % 8 == 7)
        assert scene.machine.kept_bytes <= CONFIG.session_buffer_bytes_max


def test_the_stragglers_of_a_hangover_stay_within_the_bound():
    scene = Scene(protocol="1.0", config=CONFIG)
    scene.say(100, final=True)
    for _ in range(100):
        scene.say(1500)
        assert scene.machine.kept_bytes <= CONFIG.session_buffer_bytes_max


def test_whole_utterances_count_as_well():
    scene = Scene(config=CONFIG)
    for index in range(11):
        scene.whole(index, ms=1000)
    assert results(scene.effects) == [(0, "audio_lost")]
    assert pressed(scene.effects)


def test_bounds_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="session_buffer_bytes_max"):
        SessionConfig(session_buffer_bytes_max=1 << 20)
    with pytest.raises(ValueError, match="results_kept_max"):
        SessionConfig(results_kept_max=399)
    with pytest.raises(ValueError, match="slow_level"):
        SessionConfig(slow_level=0.9)
    for field in ("pause_ms", "max_duration_ms", "max_utterance_bytes", "gap_hold_ms"):
        with pytest.raises(ValueError, match=field):
            small(**{field: 0})
    with pytest.raises(ValueError, match="hangover"):
        small(hangover_auto_ms=-1)


# ----------------------------------------------------------------------------------------------- results that go out


def replayed(scene: Scene) -> list[TranslationResult | MissingResult]:
    """What a new connection gets that has nothing."""
    effects = scene.handle(ev.Resumed(0, "token"))
    return [
        effect.message
        for effect in of(effects, ev.Send)
        if isinstance(effect.message, TranslationResult | MissingResult)
    ]


def test_of_results_that_are_never_acknowledged_the_newest_are_kept():
    scene = Scene(config=small(results_open_max=2, results_kept_max=5))
    for index in range(12):
        scene.utter(100)
        scene.conclude(index)
    assert [one.utterance_index for one in replayed(scene)] == [7, 8, 9, 10, 11]


def test_results_concluded_while_away_push_nothing_out():
    scene = Scene(config=small(results_open_max=10, results_kept_max=20))
    for _ in range(10):
        scene.utter(100)
    for index in range(10):
        scene.conclude(index)
    for _ in range(10):
        scene.utter(100)
    scene.handle(ev.ConnectionLost())
    for index in range(10, 20):
        scene.conclude(index)
    assert [one.utterance_index for one in replayed(scene)] == list(range(20))


def test_past_its_bound_the_oldest_kept_speech_gives_way_and_the_text_stays():
    scene = Scene(config=small(results_kept_bytes_max=2500))
    for index in range(4):
        scene.utter(100)
        scene.conclude(index, scene.translated(index, tts_audio="A" * 1000))
    kept = replayed(scene)
    assert [one.text_asr for one in kept if isinstance(one, TranslationResult)] == [f"text {i}" for i in range(4)]
    assert [len(one.tts_audio) for one in kept if isinstance(one, TranslationResult)] == [0, 0, 1000, 1000]


def test_speech_larger_than_the_bound_is_delivered_and_not_kept():
    scene = Scene(config=small(results_kept_bytes_max=500))
    scene.utter(100)
    scene.conclude(0, scene.translated(0, tts_audio="A" * 1000))
    assert [len(one.tts_audio) for one in scene.sent(TranslationResult)] == [1000]
    assert [one.text_asr for one in replayed(scene) if isinstance(one, TranslationResult)] == ["text 0"]
