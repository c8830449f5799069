"""Ends of utterances that another instance left for a later job to say, and what a node is told to keep."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.utterance import Tail
from tests.core.jobs.support import ES, MAX, OLD, A, B, World, job_id, monologue, request_next, samples, spec

TAIL = Tail(job_id(0), 0, ES, 3_000 * 16, None)
FIRST = spec(0, ms=10_000, reason=MAX, start_ms=0)


def adopted(heir: int | None = None) -> World:
    """A new owner hears of three seconds of utterance 0; then their audio comes again."""
    world = World()
    if heir is not None:
        world.feed(ev.JobAdopted(spec(heir, start_ms=10_000), 1, B, 10_000))
    world.feed(ev.TailAdopted(TAIL, replace(FIRST.utterance, audio=b"")))
    world.feed(ev.AudioRestored(0, FIRST.utterance.audio))
    return world


def test_what_is_still_to_be_said_is_told_with_who_has_it():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    assert world.machine.book.tails() == (TAIL,)
    request_next(world)
    world.select(A, 1)
    assert world.machine.book.tails() == (replace(TAIL, heir=job_id(1)),)
    world.conclude(A, 1)
    assert world.machine.book.tails() == ()


def test_the_next_job_says_it_and_whoever_had_it_hears_that_it_does_not():
    world = adopted()
    request_next(world)
    world.select(A, 1)
    sent = world.one(ev.SendAssign)
    assert sent.audio == samples(7_000, 12_000)
    assert sent.assign.kept_jobs == []


def test_a_job_that_runs_already_has_it_and_then_nobody():
    world = adopted(heir=1)
    assert world.machine.book.tails() == (replace(TAIL, heir=job_id(1)),)
    world.conclude(B, 1)
    assert world.machine.book.tails() == ()
    assert set(world.freed()) == {0, 1}


def test_audio_that_never_came_again_is_not_waited_for():
    world = World()
    world.feed(ev.TailAdopted(TAIL, replace(FIRST.utterance, audio=b"")))
    request_next(world)
    world.select(B, 1)
    assert world.one(ev.SendAssign).audio == samples(10_000, 12_000)
    world.conclude(B, 1)
    assert 0 in world.freed()


# ------------------------------------------------------------------------------------------- what a node keeps


def test_a_node_keeps_what_it_works_on_and_the_end_that_it_is_to_say():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world)
    world.select(A, 1)
    assert world.one(ev.SendAssign).assign.kept_jobs == [job_id(0)]
    request_next(world, 2)
    world.select(A, 2)
    assert world.one(ev.SendAssign).assign.kept_jobs == [job_id(0), job_id(1)]


def test_an_adopted_job_keeps_what_it_had_to_say_first():
    world = adopted(heir=1)
    request_next(world, 2)
    world.select(B, 2)
    assert world.one(ev.SendAssign).assign.kept_jobs == [job_id(0), job_id(1)]


def test_another_connection_of_the_node_keeps_nothing():
    world = monologue()
    world.conclude(A, 0, carried_ms=3_000)
    request_next(world)
    world.select(replace(A, epoch=A.epoch + 1), 1)
    assert world.one(ev.SendAssign).assign.kept_jobs == []


def test_a_node_of_protocol_1_is_told_nothing():
    world = World()
    world.request()
    world.select(OLD)
    assert world.one(ev.SendAssign).assign.kept_jobs is None
