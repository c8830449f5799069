"""The machine walked whole: every phase × every event, every transition of the table, every phase × every fault."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.phases import SENT, STATUS, TRANSITIONS, Phase
from lingua_scheduler.core.placement import (
    AlreadyDone,
    NoNodeReason,
    Queued,
    Selected,
    SelectReply,
    StaleAttempt,
    Unplaced,
)
from lingua_scheduler.core.utterance import Translated
from lingua_scheduler.protocol.ids import JobId
from tests.core.jobs.simulation import Simulation
from tests.core.jobs.support import MAX, A, B, World, job_id

Step = Callable[[World], Any]
Moves = set[tuple[Phase, Phase]]

SETTINGS = {"carry_wait_ms": 1_500}


def watched(**settings: Any) -> tuple[World, Moves]:
    """A world whose job 0 writes down its changes of phase."""
    world = World(**SETTINGS | settings)
    moves: Moves = set()
    book = world.machine.book
    move = book.move

    def note(job: Any, phase: Phase, deadline_ms: int | None = None) -> None:
        if job.job_id == job_id():
            moves.add((job.phase, phase))
        move(job, phase, deadline_ms)

    book.move = note
    return world, moves


# ------------------------------------------------------------------------------------------- ways into each phase


def _gated(world: World) -> None:
    """Job 0 between two attempts, behind an earlier one of its lane (index -1) that has lost its node too."""
    world.request(-1, reason=MAX)
    world.select(A, -1)
    world.request(0)
    world.select(A)
    world.lose(A)
    world.requeue()


def _sent(world: World) -> None:
    world.run(A, reason=MAX, ms=10_000)


def _parked(world: World) -> None:
    world.request(-1, reason=MAX)
    world.select(B, -1)
    world.request(0)
    world.select(A)


def _then(*steps: Step) -> Step:
    def run(world: World) -> None:
        for step in steps:
            step(world)

    return run


INTO: dict[Phase, Step] = {
    Phase.GATED: _gated,
    Phase.SELECTING: lambda world: world.request(),
    Phase.WAITING: _then(lambda world: world.request(), lambda world: world.queue()),
    Phase.PARKED: _parked,
    Phase.ASSIGNED: _sent,
    Phase.ACCEPTED: _then(_sent, lambda world: world.ack(A)),
    Phase.RUNNING: _then(_sent, lambda world: world.start(A)),
    Phase.HELD: _then(_sent, lambda world: world.hold(A)),
    Phase.WITHHELD: _then(_sent, lambda world: world.result(A, carried_ms=3_000)),
    Phase.REQUEUING: _then(_sent, lambda world: world.lose(A)),
    Phase.FINISHING: _then(_sent, lambda world: world.result(A)),
    Phase.CLOSING: _then(_sent, lambda world: world.result(A), lambda world: world.fail_store("finish")),
    Phase.GONE: _then(_sent, lambda world: world.result(A), lambda world: world.finish()),
}

# ------------------------------------------------------------------------------------------- everything that can happen


def _placement(reply: SelectReply) -> Step:
    def feed(world: World) -> None:
        world.feed(ev.PlacementReplied(job_id(), _attempt(world), reply, B if isinstance(reply, Selected) else None))

    return feed


def _attempt(world: World) -> int:
    job = world.machine.book.jobs.get(job_id())
    return job.attempt if job else 1


def _say(make: Callable[[int], ev.JobEvent]) -> Step:
    return lambda world: world.feed(make(_attempt(world)))


def _time(world: World) -> None:
    """The job's own deadline, if it has one."""
    job = world.machine.book.jobs.get(job_id())
    if job is not None and job.deadline_ms is not None:
        world.now = job.deadline_ms
    world.feed(ev.TimeReached())


EVENTS: dict[str, Step] = {
    "selected": _placement(Selected(B.node_id, B.instance_id, 1, "only")),
    "queued": _placement(Queued(1, 500)),
    "full": _placement(Unplaced(NoNodeReason.ALL_FULL, {})),
    "no nodes": _placement(Unplaced(NoNodeReason.NO_NODES, {})),
    "done": _placement(AlreadyDone(JobId("other"), "completed")),
    "ahead": _placement(StaleAttempt(2)),
    "offered": _say(lambda _: ev.SlotOffered(job_id())),
    "accepted": _say(lambda attempt: ev.NodeAccepted(job_id(), attempt, A.node_id)),
    "started": _say(lambda attempt: ev.NodeStarted(job_id(), attempt, A.node_id)),
    "held": _say(lambda attempt: ev.NodeHeld(job_id(), attempt, A.node_id, 5_000)),
    "partial": _say(lambda _: ev.NodePartial(job_id(), A.node_id, "hel", is_final=False)),
    "rejected": _say(lambda attempt: ev.NodeRejected(job_id(), attempt, A.node_id, "FULL")),
    "not sent": _say(lambda attempt: ev.AssignFailed(job_id(), attempt, A.node_id)),
    "result": lambda world: world.result(A),
    "carried": lambda world: world.result(A, carried_ms=3_000),
    "failure": lambda world: world.error(A),
    "client's fault": lambda world: world.error(A, code="INVALID_MESSAGE"),
    "finished": _say(lambda attempt: ev.FinishReplied(job_id(), attempt, "OK")),
    "requeued": _say(lambda attempt: ev.RequeueReplied(job_id(), attempt, "OK")),
    "select failed": _say(lambda attempt: ev.StoreFailed(job_id(), attempt, "select")),
    "finish failed": _say(lambda attempt: ev.StoreFailed(job_id(), attempt, "finish")),
    "requeue failed": _say(lambda attempt: ev.StoreFailed(job_id(), attempt, "requeue")),
    "renew failed": _say(lambda attempt: ev.StoreFailed(job_id(), attempt, "renew")),
    "closed": lambda world: world.lose(A),
    "suspect": lambda world: world.lose(A, "suspect"),
    "another lost": lambda world: world.lose(B),
    "speech": lambda world: world.feed(ev.AudioContinued()),
    "cancelled": lambda world: world.feed(ev.CancelRequested(job_id(), "left")),
    "ended": lambda world: world.feed(ev.SessionEnded()),
    "again": lambda world: world.request(),
    "time": _time,
}

_ON_NODE = {
    "rejected": Phase.REQUEUING,
    "not sent": Phase.REQUEUING,
    "result": Phase.FINISHING,
    "carried": Phase.WITHHELD,
    "failure": Phase.REQUEUING,
    "client's fault": Phase.FINISHING,
    "closed": Phase.REQUEUING,
    "suspect": Phase.REQUEUING,
    "cancelled": Phase.FINISHING,
    "ended": Phase.FINISHING,
    "time": Phase.REQUEUING,
    "started": Phase.RUNNING,
    "partial": Phase.RUNNING,
    "held": Phase.HELD,
}

# Where an event leads; whatever is not named leaves the phase as it is.
LEADS: dict[Phase, dict[str, Phase]] = {
    Phase.GATED: {"cancelled": Phase.FINISHING, "ended": Phase.FINISHING},
    Phase.SELECTING: {
        "selected": Phase.ASSIGNED,
        "queued": Phase.WAITING,
        "full": Phase.WAITING,
        "no nodes": Phase.FINISHING,
        "done": Phase.GONE,
        "select failed": Phase.WAITING,
    },
    Phase.WAITING: {
        "offered": Phase.SELECTING,
        "time": Phase.SELECTING,
        "cancelled": Phase.FINISHING,
        "ended": Phase.FINISHING,
    },
    Phase.PARKED: {
        "closed": Phase.REQUEUING,
        "suspect": Phase.REQUEUING,
        "another lost": Phase.REQUEUING,
        "cancelled": Phase.FINISHING,
        "ended": Phase.FINISHING,
        "time": Phase.ASSIGNED,
    },
    Phase.ASSIGNED: {**_ON_NODE, "accepted": Phase.ACCEPTED},
    Phase.ACCEPTED: _ON_NODE,
    Phase.RUNNING: _ON_NODE,
    Phase.HELD: _ON_NODE,
    Phase.WITHHELD: {
        "closed": Phase.REQUEUING,
        "suspect": Phase.REQUEUING,
        "speech": Phase.FINISHING,
        "cancelled": Phase.FINISHING,
        "ended": Phase.FINISHING,
        "time": Phase.REQUEUING,
    },
    Phase.REQUEUING: {"requeued": Phase.SELECTING},
    Phase.FINISHING: {"finished": Phase.GONE, "finish failed": Phase.CLOSING},
    Phase.CLOSING: {"finished": Phase.GONE},
    Phase.GONE: {},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_phase(phase: Phase, event: str):
    world, moves = watched()
    INTO[phase](world)
    assert world.phase() is phase
    concluded = len(world.of(ev.Conclude, world.all))
    EVENTS[event](world)
    assert world.phase() is LEADS[phase].get(event, phase)
    assert moves <= TRANSITIONS.keys()
    assert len(world.of(ev.Conclude, world.all)) <= max(1, concluded) + (phase in (Phase.PARKED, Phase.GATED))


def test_every_transition_of_the_table_happens():
    """A row that nothing reaches is a row that nobody thought through."""
    reached: Moves = set()
    for phase in Phase:
        for event in EVENTS.values():
            for retries_max in (3, 1, 0):
                world, moves = watched(retries_max=retries_max)
                try:
                    INTO[phase](world)
                except (KeyError, ValueError):
                    continue  # without retries there is no way into a phase that comes after one
                event(world)
                reached |= moves
    for seed in range(40):
        simulation = Simulation(Random(seed), JobsConfig(carry_wait_ms=1_500), jobs=6, may_cancel=True)
        reached |= _moves_of(simulation)
    rest = {pair: why for pair, why in TRANSITIONS.items() if pair not in reached}
    assert rest.keys() <= {(Phase.GATED, Phase.GONE)}, rest
    world = World()
    world.request(-1, reason=MAX)
    world.request(0)
    assert world.phase() is Phase.GATED
    world.feed(ev.CancelRequested(job_id(), "left"))
    assert world.phase() is Phase.GONE


def _moves_of(simulation: Simulation) -> Moves:
    moves: Moves = set()
    book = simulation.machine.book
    move = book.move

    def note(job: Any, phase: Phase, deadline_ms: int | None = None) -> None:
        moves.add((job.phase, phase))
        move(job, phase, deadline_ms)

    book.move = note
    for _ in range(300):
        if not simulation.step():
            break
    return moves


def test_every_phase_is_shown_as_a_status():
    assert STATUS.keys() == set(Phase)
    assert LEADS.keys() == set(Phase)


# ------------------------------------------------------------------------------------------- a node dies in each phase

FAULTS: dict[str, Step] = {
    "killed": lambda world: world.lose(A, "closed"),
    "hung": _then(lambda world: world.lose(A, "suspect"), lambda world: world.lose(A, "lost")),
    "socket cut": lambda world: world.lose(A, "replaced"),
    "error": lambda world: world.error(A),
    "lease over": _time,
    "rejected": EVENTS["rejected"],
}


def drive(world: World) -> None:
    """Answer whatever is asked, place on B, and let B succeed, until every job is concluded."""
    asked = list(world.all)
    for _ in range(100):
        while asked:
            effect = asked.pop(0)
            job = world.machine.book.jobs.get(getattr(effect, "job_id", JobId("")))
            match effect:
                case ev.SelectNode(request) if (job := world.machine.book.jobs.get(request.job_id)) and job.is_asking:
                    reply = Selected(B.node_id, B.instance_id, request.attempt, "only")
                    asked += world.feed(ev.PlacementReplied(request.job_id, request.attempt, reply, B))
                case ev.RequeueJob(requeued, attempt) if job and job.is_asking:
                    asked += world.feed(ev.RequeueReplied(requeued, attempt, "OK"))
                case ev.FinishJob(finished, attempt) if job:
                    asked += world.feed(ev.FinishReplied(finished, attempt, "OK"))
                case _:
                    pass
        if world.machine.is_idle:
            return
        waiting = [job for job in world.machine.book.jobs.values() if job.phase in SENT]
        for job in waiting:
            if job.node is not None and job.phase in SENT:
                asked += world.result(job.node, job.index)
        asked += world.pass_ms(1_000)
    raise AssertionError(f"no end: {[(job.job_id, job.phase) for job in world.machine.book.jobs.values()]}")


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.GONE])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_any_phase_costs_an_attempt_and_nothing_else(phase: Phase, fault: str):
    world = World(**SETTINGS)
    INTO[phase](world)
    FAULTS[fault](world)
    drive(world)
    outcomes = world.outcomes()
    concluded = [effect.job_id for effect in world.of(ev.Conclude, world.all)]
    assert len(concluded) == len(set(concluded)) == len(outcomes)
    assert all(isinstance(outcome, Translated) for outcome in outcomes.values())
    assert sorted(world.freed()) == sorted(outcomes)
    assert max(sent.assign.attempt_id for sent in world.of(ev.SendAssign, world.all)) <= 3


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase in SENT])
def test_a_late_result_of_a_node_that_was_given_up_changes_nothing(phase: Phase):
    world = World(**SETTINGS)
    INTO[phase](world)
    world.lose(A, "suspect")
    world.result(A, attempt=1, text_translated="too late")
    assert world.one(ev.RefuseReport).why == "stale_attempt"
    world.again(B)
    world.result(A, attempt=1, text_translated="too late")
    assert world.one(ev.RefuseReport).why == "stale_attempt"
    world.conclude(B)
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.result.text_translated == "hola"
