"""The attempt number fences every transition of a job, and every call may be repeated."""

from typing import Any

import pytest

from lingua_scheduler.core.placement import Selected
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.store.records import Presence, Word
from lingua_scheduler.store.store import Store
from tests.store.conftest import StatedTime
from tests.store.dump import dump
from tests.store.samples import HERE, join, request

J = JobId("j")
N, M = NodeId("n"), NodeId("m")


async def pending(store: Store) -> None:
    """Known, revoked once, waiting for its second attempt."""
    await assigned(store)
    await store.jobs.requeue(J, 1, "node_lost")


async def assigned(store: Store) -> None:
    await join(store, "n", capacity=1)
    assert isinstance(await store.jobs.select(request("j")), Selected)


async def second(store: Store) -> None:
    """At its second attempt."""
    await pending(store)
    assert isinstance(await store.jobs.select(request("j", 2)), Selected)


async def completed(store: Store) -> None:
    await assigned(store)
    await store.jobs.finish(J, 1, N, "completed")


async def unknown(store: Store) -> None:
    await join(store, "n")


FINISH = [
    (assigned, 1, N, Word.OK),
    (assigned, 1, M, Word.NOT_ASSIGNED),
    (assigned, 2, N, Word.STALE_ATTEMPT),
    (assigned, 1, None, Word.OK),
    (pending, 1, N, Word.NOT_ASSIGNED),
    (pending, 1, None, Word.OK),
    (pending, 2, None, Word.OK),
    (second, 1, N, Word.STALE_ATTEMPT),
    (second, 1, None, Word.STALE_ATTEMPT),
    (second, 2, N, Word.OK),
    (completed, 1, N, Word.REPEAT),
    (completed, 1, M, Word.ALREADY_FINAL),
    (completed, 2, N, Word.ALREADY_FINAL),
    (unknown, 1, N, Word.UNKNOWN_JOB),
    (unknown, 1, None, Word.OK),
]


@pytest.mark.parametrize(("state", "attempt", "node", "word"), FINISH)
async def test_finish(stores: Store, state: Any, attempt: int, node: NodeId | None, word: Word):
    await state(stores)
    before = await dump(stores.client)
    reply = await stores.jobs.finish(J, attempt, node, "completed")
    assert reply.word is word
    if word is not Word.OK:
        after = await dump(stores.client)
        assert {name: one.value for name, one in after.items()} == {name: one.value for name, one in before.items()}
        return
    assert (await stores.nodes.snapshot())[0].reserved == 0
    assert (await stores.jobs.finish(J, attempt, node, "completed")).word is Word.REPEAT
    assert (await stores.jobs.finish(J, attempt, node, "failed")).word is Word.ALREADY_FINAL


REQUEUE = [
    (assigned, 1, Word.OK),
    (assigned, 2, Word.STALE_ATTEMPT),
    (pending, 1, Word.REPEAT),
    (second, 1, Word.STALE_ATTEMPT),
    (second, 2, Word.OK),
    (completed, 1, Word.ALREADY_FINAL),
    (unknown, 1, Word.UNKNOWN_JOB),
]


@pytest.mark.parametrize(("state", "attempt", "word"), REQUEUE)
async def test_requeue(stores: Store, state: Any, attempt: int, word: Word):
    await state(stores)
    reply = await stores.jobs.requeue(J, attempt, "node_lost")
    assert reply.word is word
    if word is Word.OK:
        assert (await stores.nodes.snapshot())[0].reserved == 0
        assert (await stores.jobs.requeue(J, attempt, "node_lost")).word is Word.REPEAT
        assert "lingua:v1:job:j:node" not in await dump(stores.client)


RENEW = [
    (assigned, 1, N, Word.OK),
    (assigned, 1, M, Word.NOT_ASSIGNED),
    (assigned, 2, N, Word.STALE_ATTEMPT),
    (pending, 1, N, Word.NOT_ASSIGNED),
    (second, 1, N, Word.STALE_ATTEMPT),
    (completed, 1, N, Word.ALREADY_FINAL),
    (unknown, 1, N, Word.UNKNOWN_JOB),
]


@pytest.mark.parametrize(("state", "attempt", "node", "word"), RENEW)
async def test_renew(stores: Store, state: Any, attempt: int, node: NodeId, word: Word):
    await state(stores)
    assert (await stores.jobs.renew_lease(J, attempt, node, 5000)).word is word


async def test_a_renewal_moves_the_deadline_and_the_status_forward(timed: Store, time: StatedTime):
    await assigned(timed)
    time.pass_ms(1000)
    steps = [await timed.jobs.renew_lease(J, 1, N, 5000, status) for status in ("running", "accepted", "held", None)]
    assert [step.status for step in steps] == ["running", "running", "held", "held"]
    keys = await dump(timed.client)
    assert keys["lingua:v1:node:n:jobs"].value == {"j": time.now + 5000}
    deadlines = keys["lingua:v1:deadlines"].value
    assert isinstance(deadlines, dict)
    assert deadlines["job:j"] == time.now + 5000


async def test_a_result_is_refused_as_long_as_the_job_is_known(timed: Store, time: StatedTime):
    """Not for thirty seconds: for an hour, which is longer than any node keeps a job."""
    await completed(timed)
    time.pass_ms(3_500_000)
    assert (await timed.jobs.finish(J, 1, M, "completed")).word is Word.ALREADY_FINAL


async def test_the_story_tells_every_attempt(timed: Store, time: StatedTime):
    await second(timed)
    time.pass_ms(50)
    await timed.jobs.finish(J, 2, N, "failed", cause="JOB_TIMEOUT")
    story = await timed.jobs.story(J)
    assert story
    assert (story.status, story.attempt, story.node_id, story.owner) == ("failed", 2, "n", "here")
    assert (story.session_id, story.pairs, story.trace_id) == ("session", (("zh", "en"),), "trace")
    assert story.choices == {1: "only n=0", 2: "only n=0"}
    assert story.causes == {1: "node_lost", 2: "JOB_TIMEOUT"}
    assert story.times_ms == {"assigned": time.now - 50, "finished": time.now}
    assert await timed.jobs.story(JobId("unknown")) is None


# ------------------------------------------------------------------------------------------- the reaper


async def announce(store: Store) -> None:
    await store.instances.announce(Presence(HERE, 1, "host", 1, "1", "address"))


async def test_a_lease_whose_owner_is_gone_is_taken_back(timed: Store, time: StatedTime):
    await assigned(timed)
    time.pass_ms(64_999)
    assert (await timed.instances.reap()).jobs == ()
    await join(timed, "n", capacity=1)
    time.pass_ms(1)
    (held,) = (await timed.instances.reap()).jobs
    assert (held.job_id, held.attempt, held.node_id, held.owner) == ("j", 1, "n", HERE)
    story = await timed.jobs.story(J)
    assert story
    assert (story.status, story.causes) == ("pending", {1: "lease_expired"})
    assert (await timed.jobs.finish(J, 1, N, "completed")).word is Word.NOT_ASSIGNED
    assert isinstance(await timed.jobs.select(request("j", 2)), Selected)


async def test_a_living_owner_is_left_its_lease_for_half_a_minute(timed: Store, time: StatedTime):
    await assigned(timed)
    await announce(timed)
    time.pass_ms(65_000)
    assert (await timed.instances.reap()).jobs == ()
    time.pass_ms(24_999)
    assert (await timed.instances.reap()).jobs == ()
    time.pass_ms(5000)
    assert [held.job_id for held in (await timed.instances.reap()).jobs] == ["j"]


async def test_a_reaped_slot_is_offered(timed: Store, time: StatedTime):
    epoch = (await join(timed, "n", capacity=1)).epoch
    await timed.jobs.select(request("j", lease_ms=1000))
    await timed.jobs.select(request("waits"))
    time.pass_ms(6000)
    assert [offer.job_id for offer in (await timed.instances.reap()).offers] == ["waits"]
    assert epoch


async def test_a_job_in_line_that_nobody_asks_for_any_more_leaves_it(timed: Store, time: StatedTime):
    """Its owner died and its session ended: it counted as waiting for an hour, or until somebody looked there."""
    await join(timed, "n", capacity=1)
    await timed.jobs.select(request("runs", lease_ms=60_000))
    await timed.jobs.select(request("left", wait_ms=2_000))
    await timed.jobs.select(request("waits", wait_ms=20_000))
    time.pass_ms(7_000)
    await timed.instances.reap()
    stories = [await timed.jobs.story(JobId(job)) for job in ("left", "waits")]
    assert [one.waits_behind for one in stories if one] == [None, 0]


async def test_a_round_of_reaping_is_bounded(timed: Store, time: StatedTime):
    for number in range(20):
        await join(timed, f"n{number}")
    await timed.client.pipeline([("DEL", f"lingua:v1:node:n{number}") for number in range(20)])
    time.pass_ms(50_000)
    first, then = await timed.instances.reap(), await timed.instances.reap()
    assert (len(first.nodes), first.is_more_due) == (16, True)
    assert (len(then.nodes), then.is_more_due) == (4, False)
