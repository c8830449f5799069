"""How long an attempt may take, what renews it, and what its end does."""

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.utterance import Missing
from lingua_scheduler.protocol.errors import ErrorCode
from tests.core.jobs.support import MAX, TIMEOUT, A, B, World, job_id


def lease_ms(world: World) -> int:
    deadline = world.machine.next_deadline_ms()
    assert deadline is not None
    return deadline - world.now


def test_a_node_that_sends_no_ack_has_a_minute():
    world = World()
    world.run(A)
    assert lease_ms(world) == 60_000


@pytest.mark.parametrize(("audio_ms", "expected_ms"), [(2_000, 21_000), (10_000, 45_000), (20_000, 60_000)])
def test_an_ack_shortens_the_lease_to_what_the_audio_needs(audio_ms: int, expected_ms: int):
    world = World()
    world.run(A, ms=audio_ms)
    world.pass_ms(1_000)
    world.ack(A)
    assert world.phase() is Phase.ACCEPTED
    assert lease_ms(world) == expected_ms


def test_signs_of_work_renew_the_lease():
    world = World()
    world.run(A)
    world.ack(A)
    world.pass_ms(20_000)
    world.start(A)
    assert (world.phase(), lease_ms(world)) == (Phase.RUNNING, 21_000)
    world.pass_ms(20_000)
    world.partial(A)
    assert lease_ms(world) == 21_000


def test_a_sign_of_work_never_shortens_the_lease():
    world = World()
    world.run(A)
    world.partial(A)
    assert lease_ms(world) == 60_000


def test_a_held_job_has_its_wait_and_the_time_to_be_processed():
    world = World()
    world.run(A, reason=TIMEOUT, ms=500)
    world.ack(A)
    world.hold(A, deadline_ms=10_000)
    assert (world.phase(), lease_ms(world)) == (Phase.HELD, 10_000 + 15_000 + 1_500)


def test_a_node_cannot_hold_a_job_for_longer_than_a_lease():
    world = World()
    world.run(A, reason=TIMEOUT, ms=500)
    world.hold(A, deadline_ms=10**12)
    assert lease_ms(world) == 60_000


def test_reports_for_ever_do_not_hold_a_sentence_for_ever():
    world = World()
    world.run(A)
    for _ in range(30):
        world.pass_ms(10_000)
        if world.phase() is not Phase.RUNNING and world.phase() is not Phase.ASSIGNED:
            break
        world.partial(A)
    assert world.phase() is Phase.REQUEUING
    assert world.now <= 1_000 + world.config.attempt_max_ms + 10_000


def test_the_end_of_the_lease_is_told_to_the_node_and_counted():
    world = World()
    world.run(A)
    world.pass_ms(60_000)
    assert world.last == [
        ev.CountNodeOutcome(A.node_id, is_good=False),
        ev.SendCancel(A, job_id(), "job_timeout"),
        ev.RequeueJob(job_id(), 1, A.node_id, "job_timeout"),
    ]
    world.requeue()
    assert world.one(ev.SelectNode).request.exclude == {A.node_id}


def test_a_job_that_always_takes_too_long_fails_after_its_attempts():
    world = World()
    world.run(A)
    for attempt in range(2, 5):
        world.pass_ms(60_000)
        world.requeue()
        world.select(B if attempt % 2 else A)
    world.pass_ms(60_000)
    world.finish()
    assert world.outcomes()[0] == Missing("job_timeout", ErrorCode.JOB_TIMEOUT)
    progress = world.of(ev.Progress, world.all)
    assert [(one.event, one.code) for one in progress][-1] == ("ERROR", ErrorCode.JOB_TIMEOUT)


def test_what_a_node_may_have_joined_goes_elsewhere_together():
    """The lease of a held job ended while its node was answering for it together with the next one: the audio of the
    first was said by the second's result, and once more by its own new attempt.
    """
    world = World()
    world.run(A, 0, reason=TIMEOUT, ms=500)
    world.pass_ms(1_000)
    world.run(A, 1)
    world.pass_ms(59_000)
    assert [effect.job_id for effect in world.of(ev.RequeueJob)] == [job_id(0), job_id(1)]
    world.result(A, 1)
    assert world.one(ev.RefuseReport).why == "stale_attempt"


# ------------------------------------------------------------------------------------------- the store's copy


def test_the_store_is_not_asked_while_its_lease_is_the_longer_one():
    world = World()
    world.run(A)
    for _ in range(4):
        world.pass_ms(10_000)
        world.partial(A)
    assert not world.of(ev.RenewLease, world.all)


def test_the_store_is_asked_before_its_lease_ends():
    world = World()
    world.run(A)
    for _ in range(6):
        world.pass_ms(9_000)
        world.partial(A)
    renewals = world.of(ev.RenewLease, world.all)
    assert renewals == [ev.RenewLease(job_id(), 1, A.node_id, world.config.store_lease_ms)]


def test_a_renewal_that_failed_is_made_again():
    world = World()
    world.run(A)
    world.pass_ms(50_000)
    world.partial(A)
    assert world.of(ev.RenewLease)
    world.fail_store("renew")
    world.pass_ms(1_000)
    world.partial(A)
    assert world.of(ev.RenewLease)


def test_a_job_sent_late_takes_its_full_time_from_the_store_too():
    world = World()
    world.run(A, 0, reason=MAX, ms=10_000)
    world.request(1)
    world.select(B, 1)
    assert world.phase(1) is Phase.PARKED
    world.pass_ms(10_000)
    world.conclude(A, 0)
    assert world.phase(1) is Phase.ASSIGNED
    assert world.of(ev.RenewLease, world.all) == [ev.RenewLease(job_id(1), 1, B.node_id, world.config.store_lease_ms)]
