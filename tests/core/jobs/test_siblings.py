"""Jobs of one utterance for a room, in several languages: they meet on one node where that hears once for all."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.placement import NoNodeReason
from lingua_scheduler.protocol.ids import Language, NodeId
from tests.core.jobs.support import DE, ES, OLD, A, B, World, job_id, spec


def ask(world: World, tgt: Language, index: int = 0) -> list[ev.JobEffect]:
    return world.feed(ev.JobRequested(replace(spec(index, tgt=tgt), is_for_room=True)))


def affinities(effects: list[ev.JobEffect]) -> list[tuple[str, NodeId | None]]:
    selects = [one for one in effects if isinstance(one, ev.SelectNode)]
    return [(one.request.job_id, one.request.affinity_node) for one in selects]


def test_the_second_language_follows_the_first_to_a_node_that_hears_once():
    world = World()
    assert affinities(ask(world, ES)) == [(job_id(0, ES), None)]
    assert ask(world, DE) == []
    assert world.phase(0, DE) is Phase.GATED
    assert affinities(world.select(A)) == [(job_id(0, DE), A.node_id)]
    world.select(A, 0, DE)
    assert [one.node for one in world.of(ev.SendAssign, world.all)] == [A, A]
    assert {one.assign.session_id for one in world.of(ev.SendAssign, world.all)} == {"s"}


def test_a_language_that_finds_no_node_holds_no_other_up():
    world = World()
    ask(world, ES)
    ask(world, DE)
    assert affinities(world.queue()) == [(job_id(0, DE), None)]
    world.select(B, 0, DE)
    assert world.phase(0, DE) is Phase.ASSIGNED
    assert affinities(world.feed(ev.SlotOffered(job_id(0)))) == [(job_id(0), B.node_id)], "and then follows it"


def test_no_node_at_all_for_one_language_is_the_end_of_that_one_only():
    world = World()
    ask(world, ES)
    ask(world, DE)
    world.unplace(NoNodeReason.NONE_FOR_PAIR)
    world.finish()
    assert world.missing() == "no_available_node"
    world.select(A, 0, DE)
    assert world.phase(0, DE) is Phase.ASSIGNED


def test_each_language_is_a_session_of_its_own_to_an_old_node_which_takes_them_all():
    world = World()
    ask(world, ES)
    ask(world, DE)
    assert affinities(world.select(OLD)) == [(job_id(0, DE), None)]
    world.select(OLD, 0, DE)
    sent = [(one.assign.session_id, one.assign.utterance_index) for one in world.of(ev.SendAssign, world.all)]
    assert sent == [("s.es", 0), ("s.de", 0)]
    world.conclude(OLD)
    world.result(OLD, 0, DE)
    world.finish(0, DE)
    assert not world.machine.book.seen_by


def test_what_is_done_stays_done_when_the_node_is_lost():
    world = World()
    ask(world, ES)
    ask(world, DE)
    world.select(A)
    world.select(A, 0, DE)
    world.conclude(A)
    world.lose(A)
    assert [one.job_id for one in world.of(ev.RequeueJob)] == [job_id(0, DE)]
    world.feed(ev.RequeueReplied(job_id(0, DE), 1, "OK"))
    world.select(B, 0, DE)
    world.result(B, 0, DE)
    world.finish(0, DE)
    assert len(world.of(ev.Conclude, world.all)) == 2


def test_jobs_of_different_utterances_and_of_single_sessions_follow_nobody():
    world = World()
    ask(world, ES)
    world.select(A)
    assert affinities(ask(world, DE, 1)) == [(job_id(1, DE), None)]
    assert affinities(world.feed(ev.JobRequested(spec(0, tgt=DE)))) == [(job_id(0, DE), None)]
