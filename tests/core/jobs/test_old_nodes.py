"""Nodes of protocol 1: no acks, no word about audio they keep, nothing taken twice."""

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.placement import NoNodeReason
from lingua_scheduler.core.utterance import Missing, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from tests.core.jobs.support import MAX, OLD, TIMEOUT, A, B, World, job_id, node, spec

OLDER = node("OLDER", 1)


def test_a_swallowed_short_utterance_is_merged_when_a_later_one_succeeds():
    world = World()
    world.run(OLD, 0, ms=600, reason=TIMEOUT)
    world.request(1)
    assert world.one(ev.SelectNode).request.affinity_node == OLD.node_id
    world.select(OLD, 1)
    world.result(OLD, 1)
    assert [(finish.job_id, finish.status) for finish in world.of(ev.FinishJob)] == [
        (job_id(0), "completed_no_text"),
        (job_id(1), "completed"),
    ]
    world.finish(0)
    world.finish(1)
    assert world.missing(0) == "merged"
    assert isinstance(world.outcomes()[1], Translated)
    assert world.freed() == [0, 1]
    world.result(OLD, 0)
    assert world.one(ev.RefuseReport).why == "repeat"


def test_a_short_utterance_of_the_owner_before_is_sent_again_when_a_later_one_succeeds():
    """That owner may have placed it and died before it was sent: better twice than not at all."""
    world = World()
    world.feed(ev.JobAdopted(spec(0, ms=500, reason=TIMEOUT), 1, OLD, 60_000))
    world.run(OLD, 1)
    world.result(OLD, 1)
    (again,) = world.of(ev.RequeueJob)
    assert (again.job_id, again.cause) == (job_id(0), "merge_lost")


def test_several_may_be_swallowed_at_once():
    world = World()
    for index in range(3):
        world.run(OLD, index, ms=300, reason=TIMEOUT)
    world.run(OLD, 3)
    world.result(OLD, 3)
    assert [finish.job_id for finish in world.of(ev.FinishJob)] == [job_id(index) for index in range(4)]


def test_longer_ones_and_manual_ones_are_not_swallowed():
    world = World()
    world.run(OLD, 0, ms=1_000, reason=TIMEOUT)
    world.run(OLD, 1, ms=500)
    world.run(OLD, 2)
    world.conclude(OLD, 2)
    assert (world.phase(0), world.phase(1)) == (Phase.ASSIGNED, Phase.ASSIGNED)


def test_success_on_another_node_swallows_nothing():
    world = World()
    world.run(OLD, 0, ms=600, reason=TIMEOUT)
    world.request(1)
    world.select(OLDER, 1)
    world.conclude(OLDER, 1)
    assert world.phase(0) is Phase.ASSIGNED


def test_a_newer_node_says_what_it_does():
    world = World()
    world.run(A, 0, ms=600, reason=TIMEOUT)
    world.run(A, 1)
    world.conclude(A, 1)
    assert world.phase(0) is Phase.ASSIGNED


def test_an_answer_that_comes_in_time_is_the_answer():
    world = World()
    world.run(OLD, 0, ms=600, reason=TIMEOUT)
    world.run(OLD, 1)
    world.conclude(OLD, 0)
    world.conclude(OLD, 1)
    assert isinstance(world.outcomes()[0], Translated)


def test_what_was_swallowed_by_a_failure_is_sent_again_first():
    world = World()
    world.run(OLD, 0, ms=600, reason=TIMEOUT)
    world.run(OLD, 1)
    world.error(OLD, 1)
    assert [(effect.job_id, effect.cause) for effect in world.of(ev.RequeueJob)] == [
        (job_id(0), "merge_lost"),
        (job_id(1), "failed"),
    ]
    world.requeue(1)
    assert world.phase(1) is Phase.GATED
    world.requeue(0)
    assert world.one(ev.SelectNode).request.job_id == job_id(0)


def test_an_old_node_never_gets_an_utterance_twice():
    """It refuses what it has seen, without a word: the attempt would only run out."""
    world = World()
    world.run(OLD)
    world.error(OLD)
    world.requeue()
    world.unplace(NoNodeReason.ALL_EXCLUDED, excluded=1)
    for _ in range(9):
        world.pass_ms(1_000)
        request = world.one(ev.SelectNode).request
        assert (request.exclude, request.exclude_is_soft) == ({OLD.node_id}, False)
        world.unplace(NoNodeReason.ALL_EXCLUDED, excluded=1)
    world.pass_ms(1_000)
    world.finish()
    assert world.outcomes()[0] == Missing("no_available_node", ErrorCode.NO_AVAILABLE_NODE, "all_excluded: 1 excluded")


def test_a_newer_node_may_have_it_again_where_old_ones_may_not():
    world = World()
    world.run(OLD)
    world.error(OLD, code="NODE_OVERLOADED")
    world.again(A)
    world.error(A, code="NODE_OVERLOADED")
    world.requeue()
    assert world.one(ev.SelectNode).request.exclude == {OLD.node_id, A.node_id}
    world.unplace(NoNodeReason.ALL_EXCLUDED, excluded=2)
    world.pass_ms(250)
    assert world.one(ev.SelectNode).request.exclude == {OLD.node_id}


def test_the_end_of_a_maximal_utterance_may_be_kept_without_a_word():
    world = World()
    world.run(OLD, 0, reason=MAX, ms=10_000)
    world.result(OLD, 0)
    assert world.one(ev.FinishJob).hold == "max_duration"
    world.finish(0)
    world.request(1)
    assert world.one(ev.SelectNode).request.affinity_node == OLD.node_id
    world.select(OLD, 1)
    world.result(OLD, 1)
    assert world.one(ev.FinishJob).hold == "none"
    world.finish(1)
    world.request(2)
    assert world.one(ev.SelectNode).request.affinity_node is None


def test_what_an_old_node_kept_without_a_word_does_not_bind_after_it_is_lost():
    world = World()
    world.run(OLD, 0, reason=MAX, ms=10_000)
    world.conclude(OLD, 0)
    world.lose(OLD)
    world.request(1)
    assert world.one(ev.SelectNode).request.affinity_node is None


def test_a_job_sent_elsewhere_ends_what_the_old_node_may_keep():
    world = World()
    world.run(OLD, 0, reason=MAX, ms=10_000)
    world.conclude(OLD, 0)
    world.request(1)
    world.select(B, 1)
    world.conclude(B, 1)
    world.request(2)
    assert world.one(ev.SelectNode).request.affinity_node is None


def test_nobody_waits_for_what_an_old_node_does_not_say():
    world = World()
    world.run(OLD, 0, reason=MAX, ms=10_000)
    world.request(1)
    world.select(B, 1)
    assert world.phase(1) is Phase.ASSIGNED


def test_timeouts_can_be_sent_to_old_nodes_as_manual():
    world = World(timeout_as_manual=True)
    world.run(OLD, 0, ms=600, reason=TIMEOUT)
    assign = world.one(ev.SendAssign).assign
    assert (assign.is_manual_cut, assign.is_timeout_triggered) == (True, None)
    world.run(A, 1, ms=600, reason=TIMEOUT)
    assign = world.one(ev.SendAssign).assign
    assert (assign.is_manual_cut, assign.is_timeout_triggered) == (None, True)


def test_old_nodes_are_not_told_what_they_do_not_know():
    world = World()
    world.run(OLD)
    assign = world.one(ev.SendAssign).assign
    assert (assign.deadline_ms, assign.carried_audio_ms, assign.start_samples) == (None, None, None)


def test_audio_of_a_dead_node_goes_to_an_old_one_without_a_word():
    world = World()
    world.run(A, 0, ms=10_000, reason=MAX, start_ms=0)
    world.conclude(A, 0, carried_ms=3_000)
    world.lose(A)
    world.request(1, start_ms=10_000)
    world.select(OLD, 1)
    sent = world.one(ev.SendAssign)
    assert len(sent.audio) == 5_000 * 32
    assert sent.assign.carried_audio_ms is None
