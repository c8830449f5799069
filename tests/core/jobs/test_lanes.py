"""Audio that nodes keep between jobs: who is sent where, in which order, and who says what when a node is lost."""

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.placement import NoNodeReason
from lingua_scheduler.core.utterance import Translated
from tests.core.jobs.support import (
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
)

# ------------------------------------------------------------------------------------------- order and affinity


def test_the_next_job_goes_to_the_node_that_keeps_audio_for_it():
    world = monologue()
    request_next(world)
    request = world.one(ev.SelectNode).request
    assert (request.affinity_node, request.affinity_wait_ms) == (A.node_id, 500)
    world.select(A, 1)
    assert world.one(ev.SendAssign).assign.carried_audio_ms is None


def test_the_store_is_told_which_audio_binds_the_session():
    for reason, ms, bind in [(MAX, 10_000, "max_duration"), (TIMEOUT, 900, "timeout"), (TIMEOUT, 1_000, None)]:
        world = World()
        world.request(reason=reason, ms=ms)
        assert world.one(ev.SelectNode).request.bind == bind


def test_a_manual_job_binds_nobody():
    world = World()
    world.run(A, 0)
    world.request(1)
    assert world.one(ev.SelectNode).request.affinity_node is None
    assert not world.of(ev.SelectNode)[0].request.affinity_wait_ms


def test_the_choice_is_free_again_once_nothing_is_kept():
    world = monologue()
    world.conclude(A, 0)
    request_next(world)
    assert world.one(ev.SelectNode).request.affinity_node is None


def test_jobs_of_a_bound_lane_are_sent_in_order():
    world = World()
    world.request(0, reason=MAX)
    world.request(1)
    assert world.phase(1) is Phase.GATED
    world.select(A, 0)
    assert [type(effect) for effect in world.last] == [ev.SendAssign, ev.Progress, ev.SelectNode]
    assert world.phase(1) is Phase.SELECTING


def test_jobs_that_nothing_binds_do_not_wait_for_each_other():
    world = World()
    world.request(0)
    world.queue(0)
    world.request(1)
    assert world.phase(1) is Phase.SELECTING


def test_a_job_that_overtook_gives_its_place_back():
    """Its predecessor lost its node while it was being placed: it must not be the first to reach the new one."""
    world = monologue()
    request_next(world)
    world.lose(A)
    world.select(B, 1)
    assert world.one(ev.RequeueJob) == ev.RequeueJob(job_id(1), 1, B.node_id, "out_of_order")
    world.requeue(1)
    assert world.phase(1) is Phase.GATED
    world.again(C, 0)
    assert world.one(ev.SelectNode).request.affinity_node == C.node_id


def test_a_job_placed_elsewhere_waits_to_learn_what_is_left_to_it():
    world = monologue()
    request_next(world)
    world.select(B, 1)
    assert world.phase(1) is Phase.PARKED
    world.result(A, 0, carried_ms=3_000)
    assert world.of(ev.SendCancel) == [ev.SendCancel(A, job_id(0), "sent_elsewhere")]
    sent = world.one(ev.SendAssign)
    assert (sent.node, sent.audio) == (B, samples(7_000, 12_000))
    assert (sent.assign.carried_audio_ms, sent.assign.start_samples) == (3_000, 7_000 * 16)


def test_the_wait_for_what_is_left_is_bounded():
    world = monologue()
    request_next(world)
    world.select(B, 1)
    world.pass_ms(20_000)
    assert world.phase(1) is Phase.ASSIGNED
    assert world.phase(0) is Phase.ASSIGNED


def test_a_parked_job_loses_its_node_like_any_other():
    world = monologue()
    request_next(world)
    world.select(B, 1)
    world.lose(B)
    assert world.one(ev.RequeueJob).job_id == job_id(1)


# ------------------------------------------------------------------------------------------- the carried tail


def test_the_audio_is_kept_while_the_tail_is_carried():
    world = monologue()
    world.result(A, 0, carried_ms=3_000)
    assert world.one(ev.FinishJob).hold == "max_duration"
    world.finish(0)
    assert not world.freed()
    request_next(world)
    assert world.one(ev.SelectNode).request.affinity_node == A.node_id
    world.select(A, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)
    world.result(A, 1)
    assert world.one(ev.FinishJob).hold == "none"
    world.finish(1)
    assert world.freed() == [0, 1]


def test_the_tail_of_a_dead_node_is_sent_with_the_next_job():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    world.lose(A)
    request_next(world)
    assert world.one(ev.SelectNode).request.affinity_node is None
    world.select(B, 1)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(7_000, 12_000)
    assert sent.assign.carried_audio_ms == 3_000
    assert not world.of(ev.SendCancel)


def test_the_tail_of_a_dead_node_is_sent_with_the_job_that_took_it_over():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world)
    world.select(A, 1)
    world.lose(A)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)
    world.conclude(B, 1)
    assert world.freed() == [0, 1]


def test_a_suspect_node_forgets_the_tail_that_is_sent_again():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    world.lose(A, "suspect")
    assert world.one(ev.SendCancel) == ev.SendCancel(A, job_id(0), "node_suspect")
    request_next(world)
    world.select(A, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)


def tail_of_a_lost_node() -> World:
    """Three seconds of utterance 0 were carried by A, which is lost; utterance 1 found no node."""
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    world.lose(A)
    request_next(world)
    world.unplace(NoNodeReason.NO_NODES, 1)
    world.finish(1)
    request_next(world, 2)
    return world


def test_a_tail_that_does_not_touch_is_sent_as_new_after_the_node_forgot_it():
    """A is back on another connection and still has the tail: by its place it could not see that it is the same."""
    world = tail_of_a_lost_node()
    world.select(node("A", epoch=2), 2)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(7_000, 10_000) + samples(12_000, 14_000)
    assert sent.assign.carried_audio_ms is None
    assert sent.assign.start_samples == 9_000 * 16
    [cancel, *_] = world.of(ev.SendCancel)
    assert (cancel.node, cancel.job_id) == (node("A", epoch=2), job_id(0))
    assert world.last.index(cancel) < world.last.index(sent)


def test_a_node_that_has_the_job_still_takes_what_goes_in_front_of_it_now():
    """A later attempt of a job in hand would only get a new number there, and the tail would be lost."""
    world = monologue()
    request_next(world)
    world.select(B, 1)
    world.pass_ms(20_000)
    world.lose(B)
    world.requeue(1)
    world.conclude(A, 0, carried_ms=3_000)
    again = node("B", epoch=2)
    world.select(again, 1)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(7_000, 12_000)
    assert ev.SendCancel(again, job_id(1), "left_behind") in world.last[: world.last.index(sent)]


def test_a_tail_can_reach_over_two_utterances():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, reason=MAX)
    world.select(A, 1)
    world.conclude(A, 1, carried_ms=4_000)
    assert not world.freed()
    world.lose(A)
    request_next(world, 2)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(8_000, 14_000)


def test_a_node_cannot_carry_more_than_it_was_given():
    for carried_ms in (-5, 10**9):
        world = monologue()
        world.conclude(A, 0, carried_ms=carried_ms)
        world.lose(A)
        request_next(world)
        world.select(B, 1)
        expected = samples(10_000, 12_000) if carried_ms < 0 else samples(0, 12_000)
        assert world.one(ev.SendAssign).audio == expected


def test_a_tail_goes_to_the_job_that_is_already_there():
    world = monologue()
    request_next(world)
    world.select(A, 1)
    world.result(A, 0, carried_ms=3_000)
    world.lose(A)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)


def test_a_tail_goes_past_a_job_that_its_node_does_not_have():
    """The next job was between two attempts; the node gave the tail to the one after it, which it had, and the machine
    to the former: three seconds were said twice.
    """
    world = monologue()
    request_next(world, 1)
    world.select(A, 1)
    request_next(world, 2)
    world.select(A, 2)
    world.reject(A, 1)
    world.result(A, 0, carried_ms=3_000)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)
    world.lose(A)
    world.again(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)


def test_a_tail_goes_to_the_job_that_came_first_not_to_the_earlier_one():
    """The node gave the tail to the job that it had next; one of a lower index had come to it later."""
    world = monologue()
    request_next(world, 1)
    world.select(A, 1)
    request_next(world, 2)
    world.select(A, 2)
    world.reject(A, 1)
    world.again(A, 1)
    world.result(A, 0, carried_ms=3_000)
    world.conclude(A, 2)
    world.lose(A)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)


def test_a_rejected_job_leaves_the_tail_to_the_next_one_there():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, 1)
    world.select(A, 1)
    request_next(world, 2)
    world.select(A, 2)
    world.reject(A, 1)
    world.conclude(A, 2)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)


def test_a_rejected_job_leaves_the_tail_to_whoever_is_sent_next():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, 1)
    world.select(A, 1)
    world.reject(A, 1)
    world.again(B, 1)
    assert world.of(ev.SendCancel) == [ev.SendCancel(A, job_id(0), "sent_elsewhere")]
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)


def test_a_tail_is_never_put_before_an_earlier_utterance():
    """An earlier job that had lost its node was sent with the tail of a later one in front of it."""
    world = World()
    world.run(A, 0, start_ms=0)
    world.run(B, 1, reason=MAX, ms=10_000, start_ms=2_000)
    world.conclude(B, 1, carried_ms=3_000)
    world.lose(A)
    world.again(C, 0)
    assert world.one(ev.SendAssign).audio == samples(0, 2_000)


def test_a_failed_job_leaves_its_tail_to_the_next_one():
    world = monologue(retries_max=0)
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, 1)
    world.select(A, 1)
    world.lose(A)
    world.finish(1)
    assert world.missing(1) == "job_failed"
    request_next(world, 2)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)


def test_a_poisonous_job_takes_its_tail_with_it():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, 1)
    world.select(A, 1)
    world.error(A, 1)
    world.again(B, 1)
    world.error(B, 1)
    world.finish(1)
    assert sorted(world.freed()) == [0, 1]


def test_a_cancelled_job_leaves_its_tail_to_the_next_one():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, 1)
    world.select(A, 1)
    world.feed(ev.CancelRequested(job_id(1), "audio_lost"))
    assert [effect.job_id for effect in world.of(ev.SendCancel)] == [job_id(1), job_id(0)]
    world.finish(1)
    request_next(world, 2)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)


def test_the_end_of_the_session_frees_what_is_carried():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    world.feed(ev.SessionEnded())
    assert world.one(ev.SendCancel) == ev.SendCancel(A, job_id(0), "session_ended")
    assert world.freed() == [0]


# ------------------------------------------------------------------------------------------- a tail nobody follows


def test_a_result_waits_a_moment_for_somebody_to_say_its_tail():
    world = monologue(carry_wait_ms=1_500)
    assert world.machine.awaits_audio
    world.result(A, 0, carried_ms=3_000)
    assert world.phase() is Phase.WITHHELD
    assert not world.of(ev.FinishJob)
    world.feed(ev.AudioContinued())
    assert world.one(ev.FinishJob).hold == "max_duration"
    world.finish(0)
    assert isinstance(world.outcomes()[0], Translated)
    assert not world.machine.awaits_audio


def test_a_next_job_is_somebody_too():
    world = monologue(carry_wait_ms=1_500)
    world.result(A, 0, carried_ms=3_000)
    request_next(world)
    assert world.one(ev.FinishJob)


def test_nothing_waits_while_speech_goes_on():
    world = monologue(carry_wait_ms=1_500)
    world.feed(ev.AudioContinued())
    assert not world.machine.awaits_audio
    world.result(A, 0, carried_ms=3_000)
    assert world.one(ev.FinishJob)


def test_nothing_waits_where_nobody_says_whether_speech_goes_on():
    world = monologue()
    assert not world.machine.awaits_audio
    world.result(A, 0, carried_ms=3_000)
    assert world.one(ev.FinishJob)


def test_an_utterance_that_nobody_follows_is_processed_whole():
    world = monologue(carry_wait_ms=1_500)
    world.result(A, 0, carried_ms=3_000, text_translated="the first part")
    world.pass_ms(1_500)
    assert [type(effect) for effect in world.last] == [ev.SendCancel, ev.RequeueJob]
    world.again(A, 0)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(0, 10_000)
    assert (sent.assign.is_manual_cut, sent.assign.is_max_duration_triggered) == (True, None)
    world.conclude(A, 0, text_translated="all of it")
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.result.text_translated == "all of it"
    assert world.freed() == [0]


def test_what_it_inherited_is_processed_with_it():
    world = monologue(carry_wait_ms=1_500)
    world.feed(ev.AudioContinued())
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world, reason=MAX)
    world.select(A, 1)
    world.result(A, 1, carried_ms=500)
    world.pass_ms(1_500)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)


def test_a_node_that_dies_with_an_unclaimed_tail_costs_one_attempt():
    world = monologue(carry_wait_ms=1_500)
    world.result(A, 0, carried_ms=3_000)
    world.lose(A)
    world.again(B, 0)
    sent = world.one(ev.SendAssign)
    assert (sent.audio, sent.assign.is_manual_cut) == (samples(0, 10_000), True)


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_end_that_the_last_attempt_leaves_is_told_of_where_nobody_speaks_on(goes_on: bool):
    """Whoever was to say it had failed before, and for the utterance itself no attempt was left."""
    world = monologue(carry_wait_ms=1_500, retries_max=0)
    if goes_on:
        world.feed(ev.AudioContinued())
    world.conclude(A, 0, carried_ms=3_000, text_translated="the first part")
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.unsaid == (() if goes_on else (0,))


def test_the_first_result_stands_if_the_second_attempt_does_no_better():
    world = monologue(carry_wait_ms=1_500, retries_max=1)
    world.result(A, 0, carried_ms=3_000, text_translated="the first part")
    world.pass_ms(1_500)
    world.again(B, 0)
    world.lose(B)
    world.finish(0)
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.result.text_translated == "the first part"
    assert outcome.unsaid == (0,), "should nobody speak on, this is all that is told of it"
    assert not world.freed()
    request_next(world)
    world.select(A, 1)
    assert world.one(ev.SendAssign).audio == samples(7_000, 12_000)


def test_silence_does_not_replace_what_was_heard_before():
    world = monologue(carry_wait_ms=1_500)
    world.result(A, 0, carried_ms=3_000)
    world.pass_ms(1_500)
    world.again(B, 0)
    world.empty(B, 0, reason="ASR_EMPTY")
    world.finish(0)
    assert isinstance(world.outcomes()[0], Translated)


def test_what_an_older_connection_of_a_node_has_is_not_with_the_newer_one():
    """Its session had not heard that the node was lost: the newer connection claimed slots for jobs it never had."""
    world = World()
    world.run(A, 0)
    book = world.machine.book
    assert book.jobs_on(A.node_id, A.epoch) == [(job_id(0), 1)]
    assert book.jobs_on(A.node_id, A.epoch + 1) == book.jobs_on(B.node_id, 0) == []
