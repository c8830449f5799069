"""Waiting for a slot: in turn, without overtaking, offered as soon as one is free."""

import asyncio
from collections.abc import Iterable

import pytest

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import NoNodeReason, Queued, Selected, SelectReply, Unplaced
from lingua_scheduler.protocol.ids import JobId, NodeId, TenantId
from lingua_scheduler.store.records import Offer, Word
from lingua_scheduler.store.store import Store
from tests.store.conftest import StatedTime
from tests.store.samples import SERVICES, THERE, join, request

N = NodeId("n")


async def fill(store: Store, *nodes: str, pairs: str = "zh-en", capacity: int = 1) -> None:
    """Nodes that are full: each runs `<node>-<number>`."""
    spec = ",".join(sorted({pair.split("-")[0] for pair in pairs.split(",")})) + ">en"
    for node in nodes:
        await join(store, node, spec, capacity=capacity)
    for _ in nodes:
        for _ in range(capacity):
            number = sum(one.reserved for one in await store.nodes.snapshot())
            reply = await store.jobs.select(request(f"run{number}"))
            assert isinstance(reply, Selected)


async def wait(store: Store, *names: str, tenant: str = "tenant", attempt: int = 1) -> list[SelectReply]:
    return [await store.jobs.select(request(job, attempt, tenant_id=TenantId(tenant))) for job in names]


async def end(store: Store, job: str, node: str = "n") -> list[str]:
    """The job's end; returns to whom its slot is offered."""
    reply = await store.jobs.finish(JobId(job), 1, NodeId(node), "completed")
    assert reply.word is Word.OK
    return jobs(reply.offers)


def jobs(offers: Iterable[Offer]) -> list[str]:
    return [offer.job_id for offer in offers]


def positions(replies: Iterable[SelectReply]) -> list[int]:
    return [reply.position for reply in replies if isinstance(reply, Queued)]


async def served_in_order(store: Store) -> list[str]:
    """End what runs again and again; each time the job that is offered the slot takes it."""
    order: list[str] = []
    running = "run0"
    while offered := await end(store, running):
        assert len(offered) == 1
        running = offered[0]
        assert isinstance(await store.jobs.select(request(running)), Selected)
        order.append(running)
    return order


async def test_the_place_in_the_line_is_told(stores: Store):
    await fill(stores, "n")
    assert await wait(stores, "a", "b", "a") == [Queued(1, 1000, 1000), Queued(2, 2000, 1000), Queued(1, 1000, 1000)]


async def test_oldest_first(stores: Store):
    await fill(stores, "n")
    await wait(stores, "c", "a", "b")
    assert await served_in_order(stores) == ["c", "a", "b"]


async def test_tenants_take_turns(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a1", "a2", "a3", "a4", tenant="a")
    await wait(stores, "b1", "b2", tenant="b")
    await wait(stores, "c1", tenant="c")
    assert await served_in_order(stores) == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_a_late_tenant_does_not_catch_up_on_what_it_did_not_ask_for(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a1", "a2", "a3", tenant="a")
    assert await end(stores, "run0") == ["a1"]
    await stores.jobs.select(request("a1"))
    assert await end(stores, "a1") == ["a2"]
    await stores.jobs.select(request("a2"))
    await wait(stores, "b1", "b2", tenant="b")
    await wait(stores, "a4", tenant="a")
    assert await end(stores, "a2") == ["a3"]
    await stores.jobs.select(request("a3"))
    assert await end(stores, "a3") == ["b1"]
    await stores.jobs.select(request("b1"))
    assert (await end(stores, "b1"))[0] in {"b2", "a4"}


async def test_a_further_attempt_goes_to_the_head(stores: Store):
    await fill(stores, "n", "m")
    await wait(stores, "a", "b")
    lost, kept = await _running_on(stores, "m"), await _running_on(stores, "n")
    await stores.nodes.offline(NodeId("m"), (await _epochs(stores))["m"])
    await stores.jobs.requeue(JobId(lost), 1, "node_lost")
    assert await wait(stores, lost, attempt=2) == [Queued(1, 1000, 1000)]
    assert await end(stores, kept) == [lost]


async def _epochs(store: Store) -> dict[str, int]:
    return {str(node.node_id): node.epoch for node in await store.nodes.snapshot()}


async def test_a_kept_slot_is_nobody_elses(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await wait(timed, "a")
    assert await end(timed, "run0") == ["a"]
    assert isinstance((await wait(timed, "thief"))[0], Queued)
    reply = (await wait(timed, "a"))[0]
    assert isinstance(reply, Selected)
    assert reply.why == "offered"


async def test_a_kept_slot_that_nobody_takes_is_free_again(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await wait(timed, "gone")
    assert await end(timed, "run0") == ["gone"]
    time.pass_ms(250)
    assert isinstance((await wait(timed, "other"))[0], Selected)


async def test_who_missed_its_offer_keeps_its_place(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await wait(timed, "slow", "next")
    assert await end(timed, "run0") == ["slow"]
    time.pass_ms(250)
    assert isinstance((await wait(timed, "next"))[0], Selected)
    assert positions(await wait(timed, "slow", "late")) == [1, 2]


async def test_nobody_overtakes_while_slots_are_fewer_than_those_before(timed: Store, time: StatedTime):
    """A slot may lie free beside a line for a moment, where an offer was lost: the line still comes first."""
    await fill(timed, "n", "m")
    await wait(timed, "a", "b")
    for job in ("run0", "run1"):
        assert await timed.jobs.finish(JobId(job), 1, None, "completed")
    time.pass_ms(250)
    await wait(timed, "c")  # the offers to a and b have lapsed: c takes one slot, for nobody stands in line
    await wait(timed, "a")
    assert positions(await wait(timed, "b", "d")) == [1, 2]


async def test_more_slots_than_those_before_let_a_job_pass(stores: Store):
    """The one in front must avoid the node whose slots are free."""
    await fill(stores, "m", capacity=3)
    asked = request("a", exclude=frozenset({NodeId("m")}), exclude_is_soft=False)
    assert isinstance(await stores.jobs.select(asked), Queued)
    for job in ("run0", "run1", "run2"):
        assert await end(stores, job, "m") == []
    assert [type(reply) for reply in await wait(stores, "b", "c", "d")] == [Selected, Selected, Queued]
    assert isinstance(await stores.jobs.select(asked), Queued)
    assert isinstance((await wait(stores, "d"))[0], Selected), "it has seen that it cannot, and stands aside"


async def test_a_new_node_is_offered_to_as_many_as_it_has_room_for(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a", "b", "c")
    assert jobs((await join(stores, "new", capacity=2)).offers) == ["a", "b"]


async def test_a_node_that_may_work_again_is_offered(stores: Store):
    epoch = (await join(stores, "n", status="draining")).epoch
    await wait(stores, "a")
    assert jobs((await stores.nodes.set_status(N, epoch, "ready")).offers) == ["a"]


@pytest.mark.parametrize("status", ["draining", "suspect"])
async def test_slots_of_a_node_that_gets_no_jobs_are_not_offered(stores: Store, status: str):
    await fill(stores, "n")
    await wait(stores, "a")
    await stores.nodes.set_status(N, (await _epochs(stores))["n"], status)  # pyright: ignore[reportArgumentType]
    assert await end(stores, "run0") == []


async def test_every_way_to_free_a_slot_offers_it(stores: Store):
    await fill(stores, "n", capacity=4)
    await wait(stores, "a", "b", "c", "d")
    assert jobs((await stores.jobs.finish(JobId("run0"), 1, N, "failed")).offers) == ["a"]
    assert jobs((await stores.jobs.requeue(JobId("run1"), 1, "x")).offers)[-1] == "b"
    assert jobs((await stores.jobs.finish(JobId("run2"), 1, None, "cancelled")).offers)[-1] == "c"
    assert jobs((await stores.jobs.leave_queue(JobId("a"))).offers)[-1] == "d"


async def test_an_offer_names_the_owner(stores: Store):
    await fill(stores, "n")
    await stores.jobs.select(request("a", preferred_instance=THERE))
    assert (await stores.jobs.finish(JobId("run0"), 1, N, "completed")).offers == (Offer(JobId("a"), THERE),)


async def test_of_two_lanes_the_longest_waiting_comes_first(timed: Store, time: StatedTime):
    await fill(timed, "n", pairs="zh-en,ja-en")
    for job, pairs in (("ja1", "ja-en"), ("zh1", "zh-en"), ("ja2", "ja-en")):
        time.pass_ms(1)
        await timed.jobs.select(request(job, pairs=pairs))
    order: list[str] = []
    running = "run0"
    while offered := await end(timed, running):
        running = offered[0]
        assert isinstance(await timed.jobs.select(request(running, pairs=f"{running[:2]}-en")), Selected)
        order.append(running)
    assert order == ["ja1", "zh1", "ja2"]


async def test_a_busy_lane_does_not_starve_the_line_of_another(stores: Store):
    """Jobs of a lane where nobody waits could always be quicker than the offer: the slot is kept for it."""
    await fill(stores, "n", pairs="zh-en,ja-en")
    await stores.jobs.select(request("ja", pairs="ja-en"))
    assert await end(stores, "run0") == ["ja"]
    assert isinstance(await stores.jobs.select(request("zh")), Queued)
    assert isinstance(await stores.jobs.select(request("ja", pairs="ja-en")), Selected)


async def test_a_job_that_cannot_use_what_is_free_does_not_hold_up_others(stores: Store):
    """The failed node has room: the retry waits for another, everybody else goes on."""
    await join(stores, "bad", capacity=9)
    await fill(stores, "n")
    asked = request("retry", exclude=frozenset({NodeId("bad")}), exclude_is_soft=False)
    busy = await stores.jobs.select(request("busy", exclude=frozenset({NodeId("bad")}), affinity_node=N))
    if not isinstance(busy, Selected):
        await stores.jobs.leave_queue(JobId("busy"))
    assert isinstance(await stores.jobs.select(asked), Queued)
    for number in range(4):
        reply = await stores.jobs.select(request(f"j{number}"))
        assert isinstance(reply, Selected)


async def test_a_slot_is_not_offered_to_who_must_avoid_it(stores: Store):
    await join(stores, "bad", capacity=1)
    await stores.jobs.select(request("x"))
    await fill(stores, "good")
    asked = request("retry", exclude=frozenset({NodeId("bad")}))
    assert isinstance(await stores.jobs.select(asked), Queued)
    await wait(stores, "plain")
    assert await end(stores, "x", "bad") == ["plain"]
    freed = await stores.jobs.finish(JobId(await _running_on(stores, "good")), 1, NodeId("good"), "completed")
    assert jobs(freed.offers) == ["retry"]


async def _running_on(store: Store, node: str) -> str:
    members = await store.client.call("ZRANGE", f"lingua:v1:node:{node}:jobs", 0, -1)
    assert isinstance(members, list)
    return str(members[0])


async def test_whose_wait_has_ended_is_passed_over(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await timed.jobs.select(request("short", wait_ms=100))
    await wait(timed, "long")
    time.pass_ms(100)
    assert await end(timed, "run0") == ["long"]
    assert await timed.client.call("ZCARD", "lingua:v1:queue:zh:en") == 0


async def test_the_end_of_the_wait_tells_why(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await wait(timed, "a")
    time.pass_ms(10_000)
    assert await timed.jobs.select(request("a", wait_ms=0)) == Unplaced(NoNodeReason.ALL_FULL, {"full": 1})
    assert await end(timed, "run0") == []


async def test_no_wait_behind_others_is_refused_with_their_number(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a", "b")
    assert await stores.jobs.select(request("c", wait_ms=0)) == Unplaced(NoNodeReason.ALL_FULL, {"waiting": 2})


async def test_who_leaves_is_not_offered_anything(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a", "b")
    assert (await stores.jobs.leave_queue(JobId("a"))).word is Word.OK
    assert (await stores.jobs.leave_queue(JobId("a"))).word is Word.OK
    assert await end(stores, "run0") == ["b"]
    assert (await stores.jobs.leave_queue(JobId("unknown"))).word is Word.UNKNOWN_JOB


async def test_who_ended_is_not_offered_anything(stores: Store):
    await fill(stores, "n")
    await wait(stores, "a", "b")
    await stores.jobs.finish(JobId("a"), 1, None, "cancelled")
    assert await end(stores, "run0") == ["b"]


async def test_the_wait_is_estimated_from_how_fast_the_line_moves(timed: Store, time: StatedTime):
    await fill(timed, "n")
    await wait(timed, *"abcdef")
    running = "run0"
    for job in "abcd":
        time.pass_ms(200)
        assert await end(timed, running) == [job]
        await wait(timed, job)
        running = job
    (reply,) = await wait(timed, "f")
    assert isinstance(reply, Queued)
    assert reply.position == 2
    assert reply.estimated_wait_ms == 2 * 537  # from 1000 ms a quarter of the way to 200 ms, three times


async def test_the_line_is_bounded(store: Store):
    await fill(store, "n")
    for start in range(0, 10_000, 1000):
        await asyncio.gather(*(store.jobs.select(request(f"j{number}")) for number in range(start, start + 1000)))
    assert await store.jobs.select(request("more")) == Unplaced(NoNodeReason.ALL_FULL, {"waiting": 10_000})
    (reply,) = await wait(store, "j0")
    assert isinstance(reply, Queued)


async def test_draining_nodes_make_jobs_wait_for_others(stores: Store):
    """In a rolling restart nodes leave a moment before their successors come."""
    await join(stores, "old", status="draining")
    await wait(stores, "a")
    assert jobs((await join(stores, "new")).offers) == ["a"]


async def test_nothing_is_left_when_all_is_over(stores: Store):
    epoch = (await join(stores, "n", capacity=1)).epoch
    await wait(stores, "run", "a", "b")
    await end(stores, "run")
    await wait(stores, "a")
    await stores.jobs.finish(JobId("b"), 1, None, "cancelled")
    await end(stores, "a")
    await stores.nodes.heartbeat(N, epoch, "ready", NodeLoad(), SERVICES)
    await stores.nodes.offline(N, epoch)
    names = await stores.client.call("KEYS", "*")
    assert isinstance(names, list)
    assert {str(name).split(":")[2] for name in names if str(name).startswith("lingua")} <= {"job", "queue"}


async def test_the_story_of_a_waiting_job_tells_its_place(timed: Store, time: StatedTime):
    """Tenants in turn: the second of a busy tenant stands behind the first of another."""
    await join(timed, "n", capacity=1)
    await timed.jobs.select(request("running"))
    for job, tenant in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        await timed.jobs.select(request(job, tenant_id=TenantId(tenant)))
    stories = [await timed.jobs.story(JobId(job)) for job in ("a1", "b1", "a2", "running")]
    assert [(one.waits_behind, one.estimated_wait_ms) for one in stories if one] == [
        (0, 1000), (1, 2000), (2, 3000), (None, None)
    ]  # fmt: skip


async def test_the_story_of_a_job_that_found_no_node_says_why(stores: Store):
    await stores.jobs.finish(JobId("j"), 1, None, "failed", cause="no_available_node all_full: 2 full")
    story = await stores.jobs.story(JobId("j"))
    assert story
    assert story.causes == {1: "no_available_node all_full: 2 full"}
