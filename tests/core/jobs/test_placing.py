"""Finding a node: the question, the queue, no node at all, a store that fails, and the next attempt elsewhere."""

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.placement import AlreadyDone, NoNodeReason, Queued, Selected, StaleAttempt
from lingua_scheduler.core.utterance import Missing, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId
from tests.core.jobs.support import DE, ES, MAX, OLD, A, B, C, World, job_id


def test_a_job_waits_in_the_queue_until_a_slot_is_offered():
    world = World()
    world.request()
    world.queue()
    assert world.phase() is Phase.WAITING

    world.feed(ev.SlotOffered(job_id()))
    assert world.one(ev.SelectNode).request.attempt == 1
    world.select(A)
    assert world.one(ev.SendAssign)
    assert not world.of(ev.LeaveQueue, world.all)


def test_an_offer_that_crosses_the_question_is_not_lost():
    world = World()
    world.request()
    world.feed(ev.SlotOffered(job_id()))
    world.queue()
    assert world.one(ev.SelectNode)


def test_a_waiting_job_asks_again_by_itself():
    world = World()
    world.request()
    world.queue()
    world.pass_ms(1_000)
    assert world.one(ev.SelectNode).request.wait_ms == 9_000


def test_the_store_may_say_when_to_ask_again():
    world = World()
    world.request()
    world.reply(Queued(1, 500, retry_ms=200))
    assert world.machine.next_deadline_ms() == world.now + 200


def wait_out(world: World) -> None:
    """Ten seconds in which every question is answered with a place in the queue."""
    for _ in range(10):
        world.pass_ms(1_000)
        if world.of(ev.SelectNode):
            world.queue()


def test_a_job_without_a_slot_fails_when_its_window_is_over():
    world = World()
    world.request()
    world.queue()
    wait_out(world)
    assert world.of(ev.LeaveQueue, world.all) == [ev.LeaveQueue(job_id())]
    world.finish()
    outcome = world.outcomes()[0]
    assert outcome == Missing("no_available_node", ErrorCode.NO_AVAILABLE_NODE, "all_full")
    assert world.of(ev.Progress, world.all)[-1].code is ErrorCode.NO_AVAILABLE_NODE
    assert world.freed() == [0]


def test_who_waited_in_vain_is_told_how_many_were_before_it():
    world = World()
    world.request()
    world.queue(position=4)
    for _ in range(10):
        world.pass_ms(1_000)
        if world.of(ev.SelectNode):
            world.queue(position=3)
    assert world.one(ev.FinishJob).cause == "no_available_node all_full: 2 waiting"
    world.finish()
    assert world.of(ev.Progress, world.all)[-1].shortage == "all_full: 2 waiting"


@pytest.mark.parametrize("reason", [NoNodeReason.NO_NODES, NoNodeReason.NONE_FOR_PAIR])
def test_a_pair_that_no_node_serves_fails_at_once(reason: NoNodeReason):
    world = World()
    world.request()
    world.unplace(reason, dead=2)
    assert world.one(ev.FinishJob).status == "failed"
    world.finish()
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Missing)
    assert (outcome.reason, outcome.code) == ("no_available_node", ErrorCode.NO_AVAILABLE_NODE)
    assert outcome.detail == f"{reason}: 2 dead"


@pytest.mark.parametrize("reason", [NoNodeReason.ALL_FULL, NoNodeReason.ALL_DEGRADED, NoNodeReason.ALL_DRAINING])
def test_nodes_that_cannot_now_may_be_able_soon(reason: NoNodeReason):
    world = World()
    world.request()
    world.unplace(reason)
    world.pass_ms(1_000)
    assert world.one(ev.SelectNode)
    world.select(A)
    world.conclude(A)
    assert isinstance(world.outcomes()[0], Translated)


def test_a_job_that_lost_its_node_waits_for_one_to_come_back():
    """The only node restarts: its jobs are not failed for that, though for a moment no node serves the pair."""
    world = World()
    world.run(A)
    world.lose(A)
    world.requeue()
    world.unplace(NoNodeReason.NO_NODES)
    world.pass_ms(250)
    world.unplace(NoNodeReason.NO_NODES)
    world.pass_ms(1_000)
    world.select(A)
    world.conclude(A)
    assert isinstance(world.outcomes()[0], Translated)


def test_the_next_attempt_passes_over_the_node_that_failed():
    world = World()
    world.run(A)
    world.error(A)
    world.requeue()
    request = world.one(ev.SelectNode).request
    assert (request.attempt, request.exclude, request.exclude_is_soft) == (2, frozenset({"A"}), False)


def test_each_attempt_has_a_window_of_its_own():
    world = World()
    world.request()
    world.queue()
    world.pass_ms(1_000)
    world.select(A)
    world.pass_ms(8_000)
    world.lose(A)
    world.requeue()
    assert world.one(ev.SelectNode).request.wait_ms == 10_000


def test_the_only_node_gets_the_job_again_after_a_pause():
    world = World()
    world.run(A)
    world.reject(A, retry_after_ms=700)
    world.requeue()
    world.unplace(NoNodeReason.ALL_EXCLUDED, excluded=1)
    assert world.machine.next_deadline_ms() == world.now + 700
    world.pass_ms(700)
    request = world.one(ev.SelectNode).request
    assert (request.exclude, request.exclude_is_soft) == ({"A"}, True)


def test_a_node_cannot_ask_to_be_left_alone_for_ever():
    world = World()
    world.run(A)
    world.reject(A, retry_after_ms=10**9)
    world.requeue()
    world.unplace(NoNodeReason.ALL_EXCLUDED, excluded=1)
    assert world.machine.next_deadline_ms() == world.now + world.config.same_node_backoff_max_ms


def test_three_further_attempts_and_no_more():
    world = World()
    world.run(A)
    for where, following in [(A, B), (B, C), (C, A)]:
        world.lose(where)
        world.again(following)
    world.lose(A)
    assert not world.of(ev.RequeueJob)
    assert world.one(ev.FinishJob).attempt == 4
    world.finish()
    assert world.outcomes()[0] == Missing("job_failed", ErrorCode.NODE_UNAVAILABLE, "closed")


def test_any_answer_about_the_next_attempt_leads_to_the_next_question():
    for word in ("OK", "REPEAT", "STALE_ATTEMPT", "UNKNOWN_JOB"):
        world = World()
        world.run(A)
        world.lose(A)
        world.requeue(word=word)
        assert world.one(ev.SelectNode).request.attempt == 2


def test_the_store_may_be_an_attempt_ahead():
    world = World()
    world.request()
    world.reply(StaleAttempt(2))
    assert world.one(ev.SelectNode).request.attempt == 2
    world.select(A)
    assert world.one(ev.SendAssign).assign.attempt_id == 2


def test_a_store_that_is_past_the_last_attempt_ends_the_job():
    world = World()
    world.request()
    world.reply(StaleAttempt(13))
    world.finish()
    assert world.missing() == "job_failed"


def test_a_store_that_is_behind_is_asked_again():
    world = World()
    world.run(A)
    world.lose(A)
    world.requeue()
    world.reply(StaleAttempt(1))
    world.pass_ms(1_000)
    assert world.one(ev.SelectNode).request.attempt == 2


def test_a_job_that_is_done_elsewhere_is_not_run_again():
    world = World()
    world.request()
    world.reply(AlreadyDone(JobId("other"), "completed"))
    assert world.outcomes()[0] == Missing("job_failed", ErrorCode.INTERNAL_ERROR, "completed as other")
    assert world.machine.is_idle
    assert world.freed() == [0]


def test_a_late_placement_of_an_older_attempt_changes_nothing():
    world = World()
    world.run(A)
    world.lose(A)
    world.requeue()
    late = ev.PlacementReplied(job_id(), 1, Selected(A.node_id, A.instance_id, 1, "repeat"), A)
    assert not world.feed(late)
    assert world.phase() is Phase.SELECTING


# ------------------------------------------------------------------------------------------- the store away


def test_a_store_that_is_away_keeps_the_job_and_its_audio():
    """A minute without Redis: nothing is said, nothing is lost, and the window starts when it is back."""
    world = World()
    world.request()
    asked = 0
    for _ in range(40):
        world.fail_store("select")
        world.pass_ms(2_000)
        asked += len(world.of(ev.SelectNode))
    assert asked == 40
    assert not world.of(ev.Progress, world.all)
    assert not world.freed()
    world.queue()
    world.pass_ms(1_000)
    assert world.one(ev.SelectNode).request.wait_ms == 9_000
    world.select(A)
    world.conclude(A)
    assert isinstance(world.outcomes()[0], Translated)


def test_pauses_towards_a_failing_store_grow_to_a_bound():
    world = World()
    world.request()
    pauses: list[int] = []
    for _ in range(6):
        world.fail_store("select")
        deadline = world.machine.next_deadline_ms()
        assert deadline is not None
        pauses.append(deadline - world.now)
        world.pass_ms(pauses[-1])
    assert pauses == [250, 500, 1000, 2000, 2000, 2000]


def test_the_request_for_the_next_attempt_is_repeated():
    world = World()
    world.run(A)
    world.lose(A)
    first = world.one(ev.RequeueJob)
    world.fail_store("requeue")
    world.pass_ms(250)
    assert world.one(ev.RequeueJob) == first
    world.requeue()
    assert world.one(ev.SelectNode)


def test_an_outcome_is_told_though_the_store_cannot_hear_it():
    world = World()
    world.run(A)
    world.result(A)
    finish = world.one(ev.FinishJob)
    world.fail_store("finish")
    assert isinstance(world.outcomes()[0], Translated)
    assert world.freed() == [0]
    assert not world.machine.is_idle

    world.pass_ms(250)
    assert world.one(ev.FinishJob) == finish
    world.finish()
    assert world.machine.is_idle
    assert len(world.of(ev.Conclude, world.all)) == 1


def test_a_store_that_never_hears_of_it_is_given_up_with_its_lease():
    world = World()
    world.run(A)
    world.result(A)
    for _ in range(60):
        world.fail_store("finish")
        world.pass_ms(2_000)
        if world.machine.is_idle:
            break
    assert world.machine.is_idle
    assert len(world.of(ev.Conclude, world.all)) == 1


@pytest.mark.parametrize("word", ["OK", "REPEAT", "STALE_ATTEMPT", "UNKNOWN_JOB", "ALREADY_FINAL", "NOT_ASSIGNED"])
def test_whatever_the_store_answers_the_outcome_is_told_once(word: str):
    world = World()
    world.run(A)
    world.result(A)
    world.finish(word=word)
    assert len(world.of(ev.Conclude, world.all)) == 1
    assert world.machine.is_idle


# ------------------------------------------------------------------------------------------- cancelling


def test_a_job_that_the_store_never_heard_of_is_cancelled_without_it():
    world = World()
    world.run(A, reason=MAX)
    world.request(1)
    world.lose(A)
    world.request(2)
    assert world.phase(2) is Phase.GATED
    world.feed(ev.CancelRequested(job_id(2), "audio_lost"))
    assert not world.of(ev.FinishJob)
    assert world.missing(2) == "audio_lost"


def test_a_slot_reserved_while_the_job_was_cancelled_is_given_back():
    world = World()
    world.request()
    world.feed(ev.CancelRequested(job_id(), "left the room"))
    assert not world.of(ev.Conclude)
    world.select(A)
    assert world.one(ev.FinishJob) == ev.FinishJob(job_id(), 1, A.node_id, "cancelled", "none")
    assert not world.of(ev.SendAssign)
    world.finish()
    assert world.missing() == "job_failed"


def test_a_cancelled_job_leaves_the_queue():
    world = World()
    world.request()
    world.queue()
    world.feed(ev.CancelRequested(job_id(), "left"))
    assert world.one(ev.LeaveQueue)
    assert world.one(ev.FinishJob).node_id is None


def test_a_place_in_the_queue_got_while_the_job_was_cancelled_is_left():
    world = World()
    world.request()
    world.feed(ev.CancelRequested(job_id(), "left"))
    world.queue()
    assert world.one(ev.LeaveQueue)
    assert world.one(ev.FinishJob)


def test_a_node_is_told_that_its_job_is_cancelled():
    world = World()
    world.run(A)
    world.feed(ev.CancelRequested(job_id(), "audio_lost"))
    assert world.one(ev.SendCancel) == ev.SendCancel(A, job_id(), "audio_lost")
    world.result(A)
    assert world.one(ev.RefuseReport).why == "repeat"
    world.finish()
    assert world.missing() == "audio_lost"


def test_an_outcome_that_is_settled_cannot_be_cancelled():
    world = World()
    world.run(A)
    world.result(A)
    assert not world.feed(ev.CancelRequested(job_id(), "left"))
    world.finish()
    assert isinstance(world.outcomes()[0], Translated)


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_is_cancelled_between_two_attempts(fails: bool):
    world = World()
    world.run(A)
    world.lose(A)
    world.feed(ev.CancelRequested(job_id(), "left"))
    assert not world.last
    if fails:
        world.fail_store("requeue")
        assert world.one(ev.FinishJob).attempt == 1
    else:
        world.requeue()
        assert world.one(ev.FinishJob) == ev.FinishJob(job_id(), 2, None, "cancelled", "none")
    world.finish()
    assert world.machine.is_idle


def test_the_end_of_the_session_cancels_everything():
    world = World()
    world.run(A, 0)
    world.request(1)
    world.queue(1)
    world.request(2)
    world.feed(ev.SessionEnded())
    world.select(B, 2)
    for index in range(3):
        world.finish(index)
    assert sorted(world.outcomes()) == [0, 1, 2]
    assert sorted(world.freed()) == [0, 1, 2]
    assert world.machine.is_idle

    world.request(3)
    assert world.missing(3) == "job_failed"
    assert world.machine.is_idle


# ------------------------------------------------------------------------------------------- several languages


def test_the_audio_is_free_when_the_last_language_is_done():
    world = World()
    world.request(0, tgt=ES)
    world.request(0, tgt=DE)
    world.select(A, tgt=ES)
    world.select(B, tgt=DE)
    world.result(A, tgt=ES)
    world.finish(tgt=ES)
    assert not world.freed()
    world.result(B, tgt=DE)
    world.finish(tgt=DE)
    assert world.freed() == [0]


def test_a_slow_language_does_not_hold_up_another():
    world = World()
    for tgt in (ES, DE):
        world.request(0, tgt=tgt, reason=MAX)
    world.select(A, tgt=ES)
    world.request(1, tgt=ES)
    assert world.one(ev.SelectNode).request.affinity_node == "A"
    world.request(1, tgt=DE)
    assert world.phase(1, DE) is Phase.GATED


def test_an_old_node_is_not_given_an_utterance_twice_for_two_languages():
    world = World()
    world.request(0, tgt=ES)
    world.request(0, tgt=DE)
    world.select(OLD, tgt=ES)
    world.select(OLD, tgt=DE)
    assert not world.of(ev.SendAssign)
    assert world.one(ev.RequeueJob).cause == "seen_before"
    world.feed(ev.RequeueReplied(job_id(0, DE), 1, "OK"))
    assert world.one(ev.SelectNode).request.exclude == {OLD.node_id}


def test_the_same_job_asked_for_twice_is_one_job():
    world = World()
    world.request()
    assert not world.request()
    world.select(A)
    world.conclude(A)
    assert not world.request()
    assert len(world.of(ev.Conclude, world.all)) == 1
