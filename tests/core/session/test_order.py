"""Results in order, each once, and what happens when one is late."""

from itertools import permutations
from typing import Any, get_args

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.utterance import Missing
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import MissingReason, MissingResult, TranslationResult
from tests.core.session.support import DEFAULTS, ES, PT, Scene, job_id, messages, of, results, small

HOLD_MS = DEFAULTS.gap_hold_ms


def speaking(count: int, **settings: Any) -> Scene:
    """A scene in which so many utterances have ended and their jobs run."""
    scene = Scene(**settings)
    for _ in range(count):
        scene.utter(100)
    return scene


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_results_are_delivered_in_the_order_of_utterances(order: tuple[int, ...]):
    scene = speaking(4)
    for index in order:
        scene.conclude(index)
    assert scene.results() == [(index, f"text {index}") for index in range(4)]


def test_a_failure_is_told_at_once_and_releases_what_waits():
    scene = speaking(3)
    scene.conclude(1)
    scene.conclude(2)
    assert not scene.results()
    assert results(scene.conclude(0, "job_failed")) == [(0, "job_failed"), (1, "text 1"), (2, "text 2")]


@pytest.mark.parametrize("reason", get_args(MissingReason))
def test_every_way_to_end_without_text_is_told_with_its_reason(reason: MissingReason):
    scene = speaking(1)
    scene.handle(ev.JobConcluded(job_id(0), 0, ES, Missing(reason)))
    assert scene.results() == [(0, reason)]


def test_the_first_outcome_of_a_job_wins():
    scene = speaking(2)
    scene.conclude(0)
    scene.conclude(1)
    scene.conclude(0, "job_failed")
    scene.conclude(1, "job_failed")
    assert scene.results() == [(0, "text 0"), (1, "text 1")]
    assert scene.machine.counts == {"unknown_job": 2}


def test_a_result_that_waits_keeps_its_first_outcome():
    scene = speaking(2)
    scene.conclude(1)
    scene.conclude(1, "job_failed")
    scene.conclude(0)
    assert scene.results() == [(0, "text 0"), (1, "text 1")]


def test_a_job_that_was_never_begun_tells_nothing():
    scene = speaking(1)
    scene.conclude(5)
    assert not scene.results()


# ----------------------------------------------------------------------------------------------- gaps


def test_a_running_job_holds_results_back_for_the_gap_hold_and_not_longer():
    scene = speaking(2)
    scene.conclude(1)
    scene.wait(HOLD_MS - 1)
    assert not scene.results()
    scene.wait(1)
    assert scene.results() == [(0, "gap_timeout"), (1, "text 1")]


def test_the_hold_begins_when_something_waits():
    scene = speaking(2)
    scene.wait(HOLD_MS * 3)
    assert not scene.results(), "a slow job alone is no gap"
    scene.conclude(1)
    scene.wait(HOLD_MS - 1)
    assert not scene.results()


def test_what_was_announced_as_pending_is_delivered_when_it_comes():
    scene = speaking(3)
    scene.conclude(1)
    scene.wait(HOLD_MS)
    scene.conclude(2)
    scene.conclude(0)
    assert scene.results() == [(0, "gap_timeout"), (1, "text 1"), (2, "text 2"), (0, "text 0")]


def test_what_was_announced_as_pending_may_still_fail():
    scene = speaking(2)
    scene.conclude(1)
    scene.wait(HOLD_MS)
    scene.conclude(0, "job_timeout")
    assert scene.results() == [(0, "gap_timeout"), (1, "text 1"), (0, "job_timeout")]


def test_no_result_is_held_back_longer_by_a_second_gap():
    scene = speaking(4)
    scene.conclude(3)
    scene.wait(HOLD_MS)
    assert scene.results() == [(0, "gap_timeout"), (1, "gap_timeout"), (2, "gap_timeout"), (3, "text 3")]


def test_a_result_that_has_not_waited_long_enough_waits_on():
    scene = speaking(4)
    scene.conclude(1)
    scene.wait(HOLD_MS - 1000)
    scene.conclude(3)
    scene.wait(1000)
    assert scene.results() == [(0, "gap_timeout"), (1, "text 1")]
    scene.wait(HOLD_MS - 1000)
    assert scene.results()[2:] == [(2, "gap_timeout"), (3, "text 3")]


def test_a_late_timer_lets_results_pass_before_the_event_that_finds_it():
    scene = speaking(2)
    scene.conclude(1)
    scene.jump(HOLD_MS)
    assert results(scene.conclude(0)) == [(0, "gap_timeout"), (1, "text 1"), (0, "text 0")]


def test_an_announcement_is_no_result_and_has_no_number():
    scene = speaking(2)
    scene.conclude(1)
    scene.wait(HOLD_MS)
    scene.conclude(0)
    numbers = [message.result_seq for message in scene.sent(MissingResult) + scene.sent(TranslationResult)]
    assert numbers == [None, 1, 2]


# ----------------------------------------------------------------------------------------------- targets


def test_each_target_has_an_order_of_its_own():
    scene = speaking(2, targets=(ES, PT))
    scene.conclude(1, target=PT)
    scene.conclude(0, target=ES)
    scene.conclude(1, target=ES)
    told = [(one.utterance_index, one.tgt_lang) for one in scene.sent(TranslationResult)]
    assert told == [(0, ES), (1, ES)], "a slow language delays itself only"
    scene.conclude(0, target=PT)
    told = [(one.utterance_index, one.tgt_lang) for one in scene.sent(TranslationResult)]
    assert told == [(0, ES), (1, ES), (0, PT), (1, PT)]


def test_a_gap_of_one_target_is_none_of_the_other():
    scene = speaking(2, targets=(ES, PT))
    for target in (ES, PT):
        scene.conclude(1, target=target)
    scene.conclude(0, target=ES)
    scene.wait(HOLD_MS)
    assert [(one.utterance_index, one.tgt_lang) for one in scene.sent(MissingResult)] == [(0, PT)]


def test_a_missing_result_is_told_for_each_target():
    scene = speaking(1, targets=(ES, PT))
    scene.conclude(0, "job_failed", ES)
    scene.conclude(0, "no_available_node", PT)
    told = [(one.tgt_lang, one.reason) for one in scene.sent(MissingResult)]
    assert told == [(ES, "job_failed"), (PT, "no_available_node")]


def test_languages_of_whole_utterances_are_forgotten_with_their_last_result():
    scene = Scene()
    for index in range(50):
        target = type(ES)(f"x{index}")
        scene.whole(index, target=target)
        scene.conclude(index, target=target)
    assert len(scene.results()) == 50
    assert not scene.machine._backlog.delivery._orders


# ----------------------------------------------------------------------------------------------- bounds


def test_past_two_hundred_open_results_the_oldest_unfinished_utterance_is_given_up():
    scene = speaking(200)
    scene.conclude(0)
    scene.utter(100)
    assert scene.results() == [(0, "text 0")]
    scene.conclude(1)
    scene.conclude(3)
    effects = scene.handle(ev.ChunkArrived(scene.seq, bytes(320), is_final=True))
    assert not of(effects, ev.CancelJob)
    scene.seq += 1
    scene.wait(500)
    scene.utter(100)
    assert [effect.job_id for effect in of(scene.effects, ev.CancelJob)] == [job_id(2)]
    assert scene.results()[1:] == [(1, "text 1"), (2, "pending_overflow_evict"), (3, "text 3")]


def test_open_results_are_counted_over_all_targets():
    scene = speaking(100, targets=(ES, PT))
    assert not of(scene.effects, ev.CancelJob)
    scene.utter(100)
    assert [effect.job_id for effect in of(scene.effects, ev.CancelJob)] == [job_id(0, ES), job_id(0, PT)]
    assert scene.machine.open_results == 200


def test_what_was_given_up_is_not_told_twice():
    scene = speaking(4, config=small(results_open_max=3, results_kept_max=6))
    assert results(scene.conclude(0)) == []
    assert scene.results() == [(0, "pending_overflow_evict")]


def test_the_announcement_of_a_gap_makes_no_room():
    scene = speaking(3, config=small(results_open_max=3, results_kept_max=6))
    scene.conclude(1)
    scene.wait(HOLD_MS)
    scene.utter(100)
    scene.utter(100)
    assert scene.results() == [(0, "gap_timeout"), (1, "text 1"), (0, "pending_overflow_evict")]


def test_the_order_of_results_is_that_of_their_numbers():
    scene = speaking(30)
    for index in reversed(range(30)):
        scene.conclude(index, "no_speech" if index % 3 == 0 else None)
    told = [(one.result_seq, one.utterance_index) for one in _finals(scene)]
    assert told == [(index + 1, index) for index in range(30)]


def _finals(scene: Scene) -> list[TranslationResult | MissingResult]:
    sent = [effect.message for effect in of(scene.effects, ev.Send)]
    return [one for one in sent if isinstance(one, TranslationResult | MissingResult)]


def test_an_unknown_job_makes_no_error():
    scene = Scene()
    assert not messages(scene.conclude(3), TranslationResult)
    assert ErrorCode.INTERNAL_ERROR not in scene.sent(MissingResult)
