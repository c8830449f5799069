"""Whatever happens in whatever order: one outcome for each job, every sample said once, nothing kept for ever."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.utterance import Missing
from tests.core.jobs.simulation import Simulation
from tests.core.jobs.support import MANUAL

PATIENT = JobsConfig(retries_max=200, pending_timeout_ms=10**9)
"""No job ever fails for good, so every sample must be said."""


def run(simulation: Simulation, steps: int = 400) -> None:
    for _ in range(steps):
        if not simulation.step():
            break
    simulation.finish()


def check_ended(simulation: Simulation) -> None:
    machine = simulation.machine
    assert machine.is_idle
    assert len(simulation.outcomes) == simulation.index
    kept = {piece.utterance.index for lane in machine.book.lanes.values() for piece in lane.carry}
    assert simulation.freed | kept == set(simulation.utterances)
    assert not simulation.freed & kept


def check_all_said_once(simulation: Simulation) -> None:
    said = [span for _, spans in sorted(simulation.said().items()) for span in spans]
    joined = [(at) for start, stop in said for at in range(start, stop)]
    assert sorted(joined) == list(range(simulation.position)), "a sample was lost or said twice"


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_every_sample_is_said_once_when_a_last_job_follows(seed: int, jobs: int):
    simulation = Simulation(Random(seed), PATIENT, jobs=jobs)
    run(simulation)
    simulation.say(MANUAL, 500)
    simulation.finish()
    check_ended(simulation)
    check_all_said_once(simulation)


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_every_sample_is_said_once_when_nobody_follows(seed: int, jobs: int):
    simulation = Simulation(
        Random(seed), JobsConfig(retries_max=200, pending_timeout_ms=10**9, carry_wait_ms=1500), jobs=jobs
    )
    run(simulation)
    check_ended(simulation)
    check_all_said_once(simulation)


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_every_sample_is_said_once_where_reports_get_lost_and_overtake_each_other(seed: int, jobs: int):
    """Redis lost the last reports, or repeated one behind the next: a result tells by itself what is in it."""
    config = JobsConfig(retries_max=200, pending_timeout_ms=10**9, carry_wait_ms=1500)
    simulation = Simulation(Random(seed), config, jobs=jobs)
    simulation.is_way_bad = True
    for node in simulation.nodes.values():
        node.tells = True
    run(simulation)
    check_ended(simulation)
    check_all_said_once(simulation)


@given(st.integers(0, 2**32), st.integers(1, 8))
def test_each_job_ends_once_within_its_attempts(seed: int, jobs: int):
    simulation = Simulation(Random(seed), JobsConfig(carry_wait_ms=1500), jobs=jobs, may_cancel=True)
    run(simulation)
    check_ended(simulation)
    for conclude in simulation.outcomes.values():
        if isinstance(conclude.outcome, Missing):
            assert conclude.outcome.reason in ("merged", "job_failed", "job_timeout", "no_available_node")
