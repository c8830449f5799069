"""Audio that a node held or merged: which job answers for it, and what happens when that job is answered elsewhere."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from tests.core.jobs.support import (
    TIMEOUT,
    A,
    B,
    World,
    job_id,
    monologue,
    request_next,
    samples,
    spec,
)


def test_a_held_job_binds_the_next_one():
    world = World()
    world.run(A, 0, ms=2_000, reason=TIMEOUT)
    world.hold(A, 0)
    assert world.phase() is Phase.HELD
    world.request(1)
    assert world.one(ev.SelectNode).request.affinity_node == A.node_id


def test_a_held_job_and_its_successor_start_again_in_order():
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT)
    world.hold(A, 0)
    world.run(A, 1)
    world.lose(A)
    assert [effect.job_id for effect in world.of(ev.RequeueJob)] == [job_id(0), job_id(1)]
    world.requeue(1)
    assert not world.last, "the held one first"
    world.again(B, 0)
    assert world.one(ev.SelectNode).request.affinity_node == B.node_id


def merged() -> World:
    """Half a second that was held and said by the next job, whose result has not come yet."""
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT, start_ms=9_500)
    world.hold(A, 0)
    world.request(1, start_ms=10_000)
    world.select(A, 1)
    world.empty(A, 0, merged_into=job_id(1))
    world.finish(0)
    return world


def test_a_merged_utterance_is_kept_until_it_was_said():
    world = merged()
    assert world.missing(0) == "merged"
    assert not world.freed()
    world.conclude(A, 1)
    assert world.freed() == [0, 1]


def test_a_merged_utterance_is_sent_again_with_the_job_that_was_to_say_it():
    world = merged()
    world.lose(A)
    world.again(B, 1)
    assert world.one(ev.SendAssign).audio == samples(9_500, 12_000)


def test_a_merge_into_a_job_that_left_the_node_is_no_answer():
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT)
    world.hold(A, 0)
    world.run(A, 1)
    world.error(A, 1)
    world.empty(A, 0, merged_into=job_id(1))
    assert world.one(ev.RequeueJob) == ev.RequeueJob(job_id(0), 1, A.node_id, "merge_lost")


def test_a_merge_into_a_job_that_was_answered_elsewhere_is_no_answer():
    """Its new attempt on another node had succeeded, without the half second that the first node merged into it."""
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT)
    world.hold(A, 0)
    world.run(A, 1)
    world.error(A, 1)
    world.requeue(1)
    world.select(B, 1)
    world.conclude(B, 1)
    world.empty(A, 0, merged_into=job_id(1))
    assert world.one(ev.RequeueJob).cause == "merge_lost"


def test_a_merge_into_a_job_that_was_answered_there_is_one():
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT)
    world.run(A, 1)
    world.conclude(A, 1)
    world.empty(A, 0, merged_into=job_id(1))
    world.finish(0)
    assert world.missing(0) == "merged"
    assert sorted(world.freed()) == [0, 1]


def test_a_merge_into_a_job_that_nobody_knows_is_none():
    """Redis lost the last writes of the owner before: what that had cut was cut anew, its results are for nobody."""
    world = World()
    world.run(A, 0, ms=500, reason=TIMEOUT)
    world.request(1, start_ms=500)
    world.empty(A, 0, merged_into="job-of-the-owner-before")
    assert world.one(ev.RequeueJob).cause == "merge_lost"


def test_audio_of_another_format_waits_for_a_job_that_it_fits():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    world.lose(A)
    pcm16 = spec(1, start_ms=10_000)
    world.feed(ev.JobRequested(replace(pcm16, utterance=replace(pcm16.utterance, audio_format="opus"))))
    world.select(B, 1)
    assert world.one(ev.SendAssign).audio == pcm16.utterance.audio
    request_next(world, 2)
    world.select(B, 2)
    assert world.one(ev.SendAssign).audio == samples(7_000, 10_000) + samples(12_000, 14_000)
