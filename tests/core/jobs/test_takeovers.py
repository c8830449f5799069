"""A result says by itself whose audio is in it, whatever got lost on the way and whatever was expected.

The simulation found what these tell (`tests/sim/test_seeds.py`); `test_properties.py` says it of any course of events.
"""

from typing import Any

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.utterance import Missing, Tail, Translated
from lingua_scheduler.protocol.node import TakenOver
from tests.core.jobs.support import (
    ES,
    MANUAL,
    MAX,
    TIMEOUT,
    A,
    B,
    C,
    World,
    job_id,
    monologue,
    node,
    request_next,
    samples,
    spec,
)


def took(index: int, ms: int) -> dict[str, Any]:
    return {"taken_over": [TakenOver(job_id=job_id(index), ms=ms)]}


NOTHING: dict[str, Any] = {"taken_over": []}


def left_with_two_ends() -> World:
    """Job 2 has a result that is kept; after it came the ends of 0 and 1 were left to it, and C has it once more."""
    world = monologue(carry_wait_ms=1_500, retries_max=1)
    request_next(world, 1, ms=10_000, reason=MAX)
    world.select(A, 1)
    request_next(world, 2)
    world.select(A, 2)
    world.error(A, 1)
    world.again(B, 1)
    world.conclude(A, 0, carried_ms=3_000)
    world.result(A, 2, taken_over=[])
    world.result(B, 1, carried_ms=3_000)
    world.pass_ms(1_500)
    world.finish(1)
    world.again(C, 2)
    return world


def two_on_a(**settings: int) -> World:
    """Ten seconds that the clock cut, and the two seconds behind them, both with A."""
    world = monologue(**settings)
    request_next(world)
    world.select(A, 1)
    return world


def test_a_result_that_comes_before_the_one_whose_end_it_says():
    """Seed 52: the end was left to the next but one, which said it too."""
    world = two_on_a()
    world.conclude(A, 1, **took(0, 3_000))
    world.conclude(A, 0, carried_ms=3_000, **NOTHING)
    assert world.machine.book.tails() == ()
    assert set(world.freed()) == {0, 1}


def test_an_attempt_goes_without_the_end_that_another_result_said():
    """Seed 194: the result that left the end was lost with Redis's answers; its utterance was sent again, whole."""
    world = two_on_a()
    world.conclude(A, 1, **took(0, 3_000))
    assert world.machine.book.tails() == (Tail(job_id(0), 0, ES, 48_000, None, is_said=True),)
    world.lose(A)
    world.again(B, 0)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(0, 7_000)
    assert sent.assign.is_manual_cut
    world.conclude(B, 0, **NOTHING)
    assert world.machine.is_idle


def test_an_attempt_under_way_elsewhere_is_begun_anew_without_what_was_said():
    world = two_on_a()
    world.feed(ev.AssignFailed(job_id(0), 1, A.node_id, may_have_arrived=True))
    world.again(B, 0)
    world.result(A, 1, **took(0, 3_000))
    assert [one.node for one in world.of(ev.SendCancel)] == [B]
    world.again(B, 0)
    assert world.one(ev.SendAssign).audio == samples(0, 7_000)


def test_an_utterance_that_is_whole_in_a_later_result_has_merged():
    """Seed 54: Redis lost the answer to an assignment that had arrived."""
    world = World()
    world.run(A, 0, ms=600, reason=TIMEOUT, start_ms=0)
    world.request(1, ms=2_000, reason=MANUAL, start_ms=600)
    world.select(A, 1)
    world.feed(ev.AssignFailed(job_id(0), 1, A.node_id, may_have_arrived=True))
    world.again(B, 0)
    world.result(A, 1, **took(0, 600))
    assert [(one.node, one.job_id) for one in world.of(ev.SendCancel)] == [(B, job_id(0))]
    world.finish(0)
    world.finish(1)
    assert world.outcomes()[0] == Missing("merged")
    assert world.machine.is_idle


def test_a_node_that_spoke_of_an_attempt_has_it():
    world = World()
    world.run(A, 0, ms=600, reason=TIMEOUT)
    world.hold(A)
    assert not world.feed(ev.AssignFailed(job_id(0), 1, A.node_id, may_have_arrived=True))


def test_what_a_result_does_not_say_the_next_one_does():
    """Seed 122: the end was forgotten with an attempt that had taken it over, and was counted on all the same."""
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000, **NOTHING)
    request_next(world)
    world.select(A, 1)
    world.request(2, start_ms=12_000)
    world.conclude(A, 1, **NOTHING)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)


def test_what_was_sent_in_front_and_is_not_in_the_result_is_still_to_be_said():
    """The node had the utterance from an attempt before, of which its next owner knew nothing, and took the number."""
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000, **NOTHING)
    world.lose(A)
    request_next(world)
    world.select(B, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)
    world.request(2, start_ms=12_000)
    world.conclude(B, 1, **NOTHING)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)


def test_what_a_result_does_not_say_is_said_by_its_own_job_where_nobody_follows():
    world = monologue(carry_wait_ms=1_500)
    world.result(A, 0, carried_ms=3_000, **NOTHING)
    request_next(world)
    world.finish(0)
    world.select(A, 1)
    world.result(A, 1, **NOTHING)
    assert not world.of(ev.FinishJob)
    world.pass_ms(1_500)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)
    world.conclude(B, 1, **took(1, 3_000))
    assert world.machine.is_idle


def test_a_result_with_words_that_were_told_before_is_not_used():
    world = two_on_a()
    world.request(2, start_ms=12_000)
    world.select(A, 2)
    world.conclude(A, 0, carried_ms=3_000, **NOTHING)
    world.conclude(A, 1, **took(0, 3_000))
    world.result(A, 2, **took(0, 3_000))
    assert not world.of(ev.FinishJob)
    world.again(B, 2)
    assert world.one(ev.SendAssign).audio == samples(12_000, 14_000)
    world.conclude(B, 2, **NOTHING)
    assert world.machine.is_idle


def test_the_end_of_an_open_utterance_is_said_by_one_result_alone():
    """Seed 2290 of two minutes: it had been at two nodes, each of which went on with what it had left there."""
    world = two_on_a()
    world.request(2, start_ms=12_000)
    world.select(B, 2)
    world.conclude(A, 1, **took(0, 3_000))
    world.result(B, 2, **took(0, 3_000))
    assert not world.of(ev.FinishJob)
    world.again(B, 2)
    assert world.one(ev.SendAssign).audio == samples(12_000, 14_000)
    world.conclude(B, 2, **NOTHING)
    world.conclude(A, 0, carried_ms=3_000, **NOTHING)
    assert world.machine.is_idle


def test_an_adopted_job_that_was_never_sent_loses_what_another_said():
    """Seed 38: the instance died between placing an attempt and sending it."""
    world = World()
    world.feed(ev.JobAdopted(spec(1, start_ms=10_000), 1, A, 10_000))
    world.feed(ev.AudioRestored(1, spec(1, start_ms=10_000).utterance.audio))
    left = spec(0, ms=10_000, start_ms=0).utterance
    world.feed(ev.TailAdopted(Tail(job_id(0), 0, ES, 48_000, None), left))
    world.request(2, start_ms=12_000)
    world.select(A, 2)
    world.conclude(A, 2, **took(0, 3_000))
    world.lose(A)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)
    world.conclude(B, 1, **NOTHING)
    assert world.machine.is_idle


def test_what_a_kept_result_was_to_say_only_after_it_came_is_told_as_unsaid():
    """Of two ends that the last attempts left only one was told: the kept result counted as saying the other."""
    world = left_with_two_ends()
    world.lose(C)
    world.finish(2)
    outcome = world.outcomes()[2]
    assert isinstance(outcome, Translated)
    assert outcome.unsaid == (0, 1)


@pytest.mark.parametrize("is_followed", [False, True])
def test_silence_does_not_take_from_a_kept_result_what_that_says(is_followed: bool):
    """The second attempt heard nothing, and what the first had said was given to the next to be said again."""
    world = monologue(carry_wait_ms=1_500)
    request_next(world, 1, ms=10_000, reason=MAX)
    world.select(A, 1)
    world.conclude(A, 0, carried_ms=3_000)
    world.result(A, 1, carried_ms=3_000, **took(0, 3_000))
    world.pass_ms(1_500)
    world.again(B, 1)
    if is_followed:
        world.request(2, start_ms=20_000)
    world.empty(B, 1, reason="ASR_EMPTY", **NOTHING)
    if not is_followed:
        world.request(2, start_ms=20_000)
    world.finish(1)
    world.select(A, 2)
    assert [piece.job_id for piece in world.machine.book.jobs[job_id(2)].inherited] == [job_id(1)]


def test_silence_says_nothing_that_a_kept_result_lacks():
    world = left_with_two_ends()
    world.empty(C, 2, reason="ASR_EMPTY", **took(2, 6_000))
    world.finish(2)
    outcome = world.outcomes()[2]
    assert isinstance(outcome, Translated)
    assert outcome.unsaid == (0, 1)


def test_an_outcome_without_text_tells_of_an_end_that_was_to_be_said_with_it():
    world = two_on_a(carry_wait_ms=1_500, retries_max=0)
    world.conclude(A, 0, carried_ms=3_000)
    world.empty(A, 1, reason="ASR_EMPTY", **NOTHING)
    world.finish(1)
    assert world.outcomes()[1].unsaid == (0,)


def test_a_failure_tells_which_ends_failed_with_it():
    """They are not given to the next, which might fail of them too."""
    world = two_on_a(retries_max=0)
    world.conclude(A, 0, carried_ms=3_000)
    world.machine.book.jobs[job_id(1)].is_whole = True
    world.error(A, 1)
    world.finish(1)
    assert world.outcomes()[1].unsaid == (0,)
    assert world.machine.book.tails() == ()


def test_an_end_that_is_said_after_all_is_told_of():
    world = monologue(carry_wait_ms=1_500, retries_max=0)
    world.conclude(A, 0, carried_ms=3_000)
    assert world.outcomes()[0].unsaid == (0,)
    request_next(world)
    world.select(A, 1)
    world.conclude(A, 1, **took(0, 3_000))
    said = world.outcomes()[1]
    assert isinstance(said, Translated)
    assert (said.said_late, said.unsaid) == ((0,), ())


def test_a_swallowed_utterance_is_forgotten_where_its_node_is():
    """Nodes of protocol 1 never answer it: the node's instance kept it, and claimed a slot for it after each break."""
    old = node("old", protocol=1)
    world = World()
    world.run(old, 0, reason=TIMEOUT, ms=400)
    world.run(old, 1)
    world.conclude(old, 1)
    assert [(one.job_id, one.reason) for one in world.of(ev.SendCancel, world.all)] == [(job_id(0), "merged")]


def test_a_job_of_which_its_node_has_nothing_any_more_is_done_again_elsewhere():
    world = World()
    world.run(A, 0)
    world.start(A, 0)
    world.feed(ev.JobGone(job_id(0), 1, B.node_id))
    assert world.attempt(0) == 1, "not of this node"
    world.feed(ev.JobGone(job_id(0), 1, A.node_id))
    assert world.one(ev.RequeueJob).cause == "answer_lost"
    world.again(B, 0)
    assert world.attempt(0) == 2
