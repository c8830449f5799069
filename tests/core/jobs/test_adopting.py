"""Jobs that another instance began: they go on, end or are tried again, once their audio is here."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.machine import JobsMachine
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.utterance import JobSpec, Translated
from tests.core.jobs.support import HERE, A, job_id, spec
from tests.core.session.support import job_result

LEASE_MS = 20_000


def bare(index: int = 0) -> JobSpec:
    whole = spec(index)
    return replace(whole, utterance=replace(whole.utterance, audio=b""))


def adopted(node_of: ev.NodeTraits | None = A, attempt: int = 2) -> JobsMachine:
    machine = JobsMachine(JobsConfig(), HERE)
    effects = machine.handle(ev.JobAdopted(bare(), attempt, node_of, LEASE_MS if node_of else 0), 1000)
    assert not effects, "it was sent by whoever had it before"
    machine.check()
    return machine


def result(attempt: int = 2) -> ev.ResultArrived:
    told = job_result(0, "text", job_id=job_id(), attempt_id=attempt, node_id=A.node_id)
    return ev.ResultArrived(told, A.node_id)


def step(machine: JobsMachine, event: ev.JobEvent, now_ms: int = 2000) -> list[ev.JobEffect]:
    effects = machine.handle(event, now_ms)
    machine.check()
    return effects


def test_the_attempt_that_runs_concludes_the_job():
    machine = adopted()
    [finish] = [one for one in step(machine, result()) if isinstance(one, ev.FinishJob)]
    assert (finish.attempt, finish.node_id) == (2, A.node_id)
    told = step(machine, ev.FinishReplied(job_id(), 2, "OK"))
    [conclusion] = [one for one in told if isinstance(one, ev.Conclude)]
    assert isinstance(conclusion.outcome, Translated)


def test_an_older_attempt_is_refused():
    machine = adopted()
    [refusal] = step(machine, result(attempt=1))
    assert isinstance(refusal, ev.RefuseReport)
    assert refusal.why == "stale_attempt"


def test_an_attempt_that_was_never_sent_begins_anew_and_its_node_is_not_to_blame():
    machine = adopted()
    [requeue] = step(machine, ev.AssignFailed(job_id(), 2, A.node_id, is_unsent=True))
    assert isinstance(requeue, ev.RequeueJob)
    assert requeue.cause == "not_sent"
    step(machine, ev.AudioRestored(0, spec().utterance.audio))
    [select] = step(machine, ev.RequeueReplied(job_id(), 2, "OK"))
    assert isinstance(select, ev.SelectNode)
    assert (select.request.attempt, select.request.exclude) == (3, frozenset())


def test_word_of_an_unsent_attempt_that_comes_late_changes_nothing():
    machine = adopted()
    assert not step(machine, ev.AssignFailed(job_id(), 1, A.node_id, is_unsent=True))
    assert not step(machine, ev.AssignFailed(job_id(9), 2, A.node_id, is_unsent=True))
    step(machine, ev.NodeStarted(job_id(), 2, A.node_id))
    assert not step(machine, ev.AssignFailed(job_id(), 2, A.node_id, is_unsent=True))


def test_without_its_audio_no_further_attempt_begins():
    machine = adopted()
    effects = step(machine, ev.TimeReached(), 1000 + LEASE_MS)
    assert any(isinstance(one, ev.RequeueJob) for one in effects)
    assert not step(machine, ev.RequeueReplied(job_id(), 2, "OK"), 22_000)
    assert machine.book.jobs[job_id()].phase is Phase.GATED

    [select] = step(machine, ev.AudioRestored(0, spec().utterance.audio), 23_000)

    assert isinstance(select, ev.SelectNode)
    assert (select.request.attempt, select.request.exclude) == (3, frozenset({A.node_id}))
    assert machine.book.jobs[job_id()].utterance.audio == spec().utterance.audio


def test_a_job_without_a_node_waits_for_its_audio_alone():
    machine = adopted(None, 1)
    assert machine.next_deadline_ms() is None
    [select] = step(machine, ev.AudioRestored(0, b"audio"))
    assert isinstance(select, ev.SelectNode)
    assert select.request.attempt == 1


def test_audio_that_comes_after_the_result_changes_nothing():
    machine = adopted()
    step(machine, result())
    step(machine, ev.FinishReplied(job_id(), 2, "OK"))
    assert not step(machine, ev.AudioRestored(0, b"audio"))
    assert machine.is_idle


def test_a_lost_node_costs_an_attempt_as_ever():
    machine = adopted()
    effects = step(machine, ev.NodeLost(A.node_id, "closed", A.epoch))
    assert any(isinstance(one, ev.RequeueJob) for one in effects)
