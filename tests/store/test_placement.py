"""Which node a job gets, or why none."""

import asyncio
import math
from collections import Counter

import pytest

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import (
    AlreadyDone,
    NoNodeReason,
    Queued,
    Selected,
    SelectReply,
    StaleAttempt,
    Unplaced,
)
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId
from lingua_scheduler.store.store import Store
from tests.store.conftest import StatedTime
from tests.store.samples import HERE, THERE, join, request


def node_of(reply: SelectReply) -> str:
    assert isinstance(reply, Selected), reply
    return reply.node_id


def refusal(reply: SelectReply) -> tuple[NoNodeReason, dict[str, int]]:
    assert isinstance(reply, Unplaced), reply
    return reply.reason, reply.counts


# ------------------------------------------------------------------------------------------- why not


async def test_no_node_at_all(stores: Store):
    assert refusal(await stores.jobs.select(request("j"))) == (NoNodeReason.NO_NODES, {})


async def test_none_for_the_pair_fails_at_once(stores: Store):
    await join(stores, "n", "ja>en")
    assert refusal(await stores.jobs.select(request("j"))) == (NoNodeReason.NONE_FOR_PAIR, {})


async def test_all_full(stores: Store):
    await join(stores, "n", capacity=1)
    await join(stores, "m", capacity=1)
    for job in "ab":
        assert node_of(await stores.jobs.select(request(job)))
    assert refusal(await stores.jobs.select(request("c", wait_ms=0))) == (NoNodeReason.ALL_FULL, {"full": 2})


async def test_all_degraded(stores: Store):
    await join(stores, "n", capacity=1, status="degraded")
    await join(stores, "m", status="suspect")
    assert node_of(await stores.jobs.select(request("a"))) == "n"
    why = refusal(await stores.jobs.select(request("b", wait_ms=0)))
    assert why == (NoNodeReason.ALL_DEGRADED, {"degraded": 1, "suspect": 1})


async def test_all_draining(stores: Store):
    await join(stores, "n", status="draining")
    assert refusal(await stores.jobs.select(request("j", wait_ms=0))) == (NoNodeReason.ALL_DRAINING, {"draining": 1})


async def test_all_excluded(stores: Store):
    await join(stores, "n")
    asked = request("j", wait_ms=0, exclude=frozenset({NodeId("n")}), exclude_is_soft=False)
    assert refusal(await stores.jobs.select(asked)) == (NoNodeReason.ALL_EXCLUDED, {"excluded": 1})


# ------------------------------------------------------------------------------------------- which


async def test_degraded_nodes_get_jobs_only_when_no_ready_one_can(stores: Store):
    await join(stores, "poor", capacity=1, status="degraded")
    await join(stores, "good", capacity=2)
    assert [node_of(await stores.jobs.select(request(job))) for job in "abc"] == ["good", "good", "poor"]


async def test_suspect_and_draining_nodes_get_none(stores: Store):
    for status in ("suspect", "draining"):
        await join(stores, status, capacity=9, status=status)
    await join(stores, "n", capacity=9)
    assert {node_of(await stores.jobs.select(request(f"j{number}"))) for number in range(9)} == {"n"}


async def test_a_node_that_is_ready_again_gets_jobs_again(stores: Store):
    epoch = (await join(stores, "n")).epoch
    await stores.nodes.set_status(NodeId("n"), epoch, "suspect")
    assert isinstance(await stores.jobs.select(request("j", wait_ms=0)), Unplaced)
    await stores.nodes.set_status(NodeId("n"), epoch, "ready")
    assert node_of(await stores.jobs.select(request("j"))) == "n"


async def test_the_less_loaded_of_two_gets_the_job(stores: Store):
    await join(stores, "a", capacity=20)
    await join(stores, "b", capacity=20)
    nodes = Counter([node_of(await stores.jobs.select(request(f"j{number}"))) for number in range(20)])
    assert abs(nodes["a"] - nodes["b"]) <= 2


async def test_a_slot_counts_by_the_size_of_its_node(stores: Store):
    await join(stores, "small", capacity=2)
    await join(stores, "large", capacity=20)
    nodes = Counter([node_of(await stores.jobs.select(request(f"j{number}"))) for number in range(11)])
    assert nodes["large"] >= 8


async def test_reported_load_weighs(stores: Store):
    await join(stores, "hot", capacity=50, load=NodeLoad(cpu_percent=20, gpu_percent=100))
    await join(stores, "cool", capacity=50, load=NodeLoad(cpu_percent=30))
    drawn = [await stores.jobs.select(request(f"j{number}")) for number in range(3)]
    both = [reply for reply in drawn if isinstance(reply, Selected) and reply.why == "two_choices"]
    assert both, "the same node four times in a row is one in a thousand"
    assert {node_of(reply) for reply in both} == {"cool"}


async def test_the_choice_is_told_with_its_loads(stores: Store):
    await join(stores, "n", load=NodeLoad(cpu_percent=50))
    await stores.jobs.select(request("a"))
    reply = await stores.jobs.select(request("b"))
    assert isinstance(reply, Selected)
    assert [(one.node_id, one.load) for one in reply.candidates] == [("n", 0.5)]
    story = await stores.jobs.story(JobId("b"))
    assert story
    assert story.choices == {1: "only n=500"}


async def test_a_node_of_the_own_instance_is_preferred_when_loads_are_close(stores: Store):
    for number in range(10):
        await join(stores, f"far{number}", capacity=10, instance=THERE)
    await join(stores, "near", capacity=10, instance=HERE)
    assert {node_of(await stores.jobs.select(request(f"a{number}"))) for number in range(8)} == {"near"}
    others = {node_of(await stores.jobs.select(request(f"b{number}"))) for number in range(5)}
    assert "near" not in others, "it is over half loaded, and elsewhere it is clearly better"


async def test_a_node_elsewhere_must_be_clearly_better(stores: Store):
    """At over half load one of all nodes is weighed too: it gets the job where it is better by more than 0.2."""
    for node, instance in (("near", HERE), ("far", THERE)):
        await join(stores, node, capacity=10, instance=instance, load=NodeLoad(gpu_percent=100))
    chosen = [node_of(await stores.jobs.select(request(f"j{number}"))) for number in range(6)]
    assert chosen == ["near", "near", "near", "far", "near", "far"]


async def _reserved(store: Store, node: str) -> int:
    return next(one.reserved for one in await store.nodes.snapshot() if one.node_id == node)


async def test_two_way_needs_both_directions(stores: Store):
    await join(stores, "one", "zh>en", capacity=9)
    await join(stores, "other", "en>zh", capacity=9)
    assert isinstance(await stores.jobs.select(request("j", pairs="zh-en,en-zh")), Unplaced)
    await join(stores, "both", "zh,en>en,zh", capacity=9)
    for number in range(4):
        assert node_of(await stores.jobs.select(request(f"j{number}", pairs="zh-en,en-zh"))) == "both"
        assert node_of(await stores.jobs.select(request(f"k{number}", pairs="en-zh,zh-en"))) == "both"


async def test_any_set_of_pairs_is_honoured(stores: Store):
    for number in range(6):
        await join(stores, f"n{number}", "zh>en", capacity=9)
    await join(stores, "both", "zh,ja>en", capacity=9)
    assert node_of(await stores.jobs.select(request("j", pairs="zh-en,ja-en"))) == "both"


async def test_a_failed_node_is_avoided(stores: Store):
    await join(stores, "bad", capacity=9)
    await join(stores, "good", capacity=9)
    for number in range(9):
        asked = request(f"j{number}", exclude=frozenset({NodeId("bad")}))
        assert node_of(await stores.jobs.select(asked)) == "good"


async def test_a_failed_node_is_taken_when_there_is_no_other(stores: Store):
    await join(stores, "bad")
    reply = await stores.jobs.select(request("j", exclude=frozenset({NodeId("bad")})))
    assert isinstance(reply, Selected)
    assert (reply.node_id, reply.why) == ("bad", "excluded")


async def test_a_failed_node_is_not_taken_while_another_is_only_full(stores: Store):
    await join(stores, "bad")
    await join(stores, "busy", capacity=1)
    assert node_of(await stores.jobs.select(request("a", exclude=frozenset({NodeId("bad")})))) == "busy"
    asked = request("j", exclude=frozenset({NodeId("bad")}))
    assert isinstance(await stores.jobs.select(asked), Queued)
    assert node_of(await stores.jobs.select(request("j", exclude=asked.exclude, wait_ms=0))) == "bad"


async def test_a_free_slot_is_found_among_many_full_nodes(stores: Store):
    """Other languages filled the nodes: the lane learns it as it meets them, 64 in a call."""
    await asyncio.gather(*(join(stores, f"n{number:03}", "zh,ja>en", capacity=1) for number in range(200)))
    replies = await asyncio.gather(*(stores.jobs.select(request(f"j{n}", pairs="ja-en")) for n in range(199)))
    free = {f"n{number:03}" for number in range(200)} - {node_of(reply) for reply in replies}
    assert {node_of(await stores.jobs.select(request("last")))} == free
    assert refusal(await stores.jobs.select(request("more", wait_ms=0))) == (NoNodeReason.ALL_FULL, {"full": 200})


async def test_the_one_node_that_can_is_found_among_many_that_cannot(stores: Store):
    await asyncio.gather(*(join(stores, f"n{number:03}", services=("asr", "nmt")) for number in range(200)))
    why = refusal(await stores.jobs.select(request("j")))
    assert why == (NoNodeReason.NONE_FOR_PAIR, {"unsupported": 200})
    await join(stores, "n150x")
    assert node_of(await stores.jobs.select(request("j"))) == "n150x"


# ------------------------------------------------------------------------------------------- even


@pytest.mark.parametrize("nodes", [7, 150])
async def test_every_node_is_equally_likely_whatever_its_shard(store: Store, nodes: int):
    """150 nodes stand in three shards of different size. Each draw is a fresh one: the job ends at once."""
    for number in range(nodes):
        await join(store, f"n{number:03}", instance=HERE if number % 3 else THERE)
    draws = nodes * 40
    hits: Counter[str] = Counter()

    async def draw(number: int) -> None:
        asked = request(f"j{number}", preferred_instance="nobody")
        reply = await store.jobs.select(asked)
        hits[node_of(reply)] += 1
        assert isinstance(reply, Selected)
        await store.jobs.finish(asked.job_id, 1, reply.node_id, "completed")

    for number in range(draws):
        await draw(number)
    expected, sigma = draws / nodes, math.sqrt(draws * (1 / nodes) * (1 - 1 / nodes))
    chi_squared = sum((hits[f"n{number:03}"] - expected) ** 2 / expected for number in range(nodes))
    freedom = nodes - 1
    assert abs(chi_squared - freedom) < 3 * math.sqrt(2 * freedom)
    outside = [node for node in hits if abs(hits[node] - expected) > 3 * sigma]
    assert len(outside) <= max(1, nodes // 50), "three in a thousand lie outside of three sigma by chance"
    shards = [await store.client.call("SMEMBERS", f"lingua:v1:pool:zh:en:{shard}:nodes") for shard in range(3)]
    for members in shards:
        assert isinstance(members, list)
        share = len(members) / nodes
        got = sum(hits[str(node)] for node in members)
        assert abs(got - draws * share) <= 3 * math.sqrt(draws * share * (1 - share)) + 1e-9


# ------------------------------------------------------------------------------------------- affinity


async def test_affinity_comes_first(stores: Store):
    await join(stores, "keeper", capacity=2, load=NodeLoad(gpu_percent=100))
    await join(stores, "idle", capacity=9)
    await stores.jobs.select(request("x", affinity_node=NodeId("keeper")))
    reply = await stores.jobs.select(request("j", affinity_node=NodeId("keeper")))
    assert isinstance(reply, Selected)
    assert (reply.node_id, reply.why) == ("keeper", "affinity")


@pytest.mark.parametrize("status", ["draining", "suspect", "offline"])
async def test_affinity_to_a_node_that_cannot_is_dropped(stores: Store, status: str):
    epoch = (await join(stores, "keeper")).epoch
    await join(stores, "other")
    if status == "offline":
        await stores.nodes.offline(NodeId("keeper"), epoch)
    else:
        await stores.nodes.set_status(NodeId("keeper"), epoch, status)  # pyright: ignore[reportArgumentType]
    asked = request("j", affinity_node=NodeId("keeper"), affinity_wait_ms=500)
    assert node_of(await stores.jobs.select(asked)) == "other"


async def test_affinity_waits_for_a_slot_and_gets_the_next_one(timed: Store, time: StatedTime):
    await join(timed, "keeper", capacity=1)
    await join(timed, "idle", capacity=1)
    await timed.jobs.select(request("running", affinity_node=NodeId("keeper")))
    asked = request("j", affinity_node=NodeId("keeper"), affinity_wait_ms=500)
    assert await timed.jobs.select(asked) == Queued(1, 500, 500)
    time.pass_ms(100)
    assert await timed.jobs.select(asked) == Queued(1, 400, 400)
    done = await timed.jobs.finish(JobId("running"), 1, NodeId("keeper"), "completed")
    assert [offer.job_id for offer in done.offers] == ["j"]
    assert node_of(await timed.jobs.select(request("thief"))) == "idle", "the slot is kept"
    assert node_of(await timed.jobs.select(asked)) == "keeper"


async def test_affinity_gives_up_after_its_patience(timed: Store, time: StatedTime):
    await join(timed, "keeper", capacity=1)
    await timed.jobs.select(request("running"))
    await join(timed, "idle", capacity=1)
    asked = request("j", affinity_node=NodeId("keeper"), affinity_wait_ms=500)
    assert isinstance(await timed.jobs.select(asked), Queued)
    time.pass_ms(500)
    assert node_of(await timed.jobs.select(asked)) == "idle"


async def test_affinity_does_not_wait_for_a_node_that_does_not_serve_the_pair(stores: Store):
    await join(stores, "keeper", "ja>en", capacity=1)
    await stores.jobs.select(request("running", pairs="ja-en"))
    await join(stores, "other")
    asked = request("j", affinity_node=NodeId("keeper"), affinity_wait_ms=500)
    assert node_of(await stores.jobs.select(asked)) == "other"


async def test_a_session_is_bound_when_asked_and_freed_by_the_end(stores: Store):
    await join(stores, "n")
    session = SessionId("s")
    await stores.jobs.select(request("j", session_id=session, bind="max_duration"))
    assert await stores.sessions.read(session) == {"max_duration_node_id": "n"}
    await stores.jobs.finish(JobId("j"), 1, NodeId("n"), "completed", hold="timeout")
    assert await stores.sessions.read(session) == {"timeout_node_id": "n"}
    await stores.jobs.select(request("k", session_id=session))
    await stores.jobs.finish(JobId("k"), 1, NodeId("n"), "completed")
    assert await stores.sessions.read(session) == {}


# ------------------------------------------------------------------------------------------- asked twice


async def test_asking_again_for_a_placed_attempt_answers_the_same(stores: Store):
    await join(stores, "a", capacity=1)
    await join(stores, "b", capacity=1)
    first = await stores.jobs.select(request("j"))
    assert isinstance(first, Selected)
    again = await stores.jobs.select(request("j"))
    assert isinstance(again, Selected)
    assert (again.node_id, again.instance_id, again.attempt, again.why) == (first.node_id, HERE, 1, "repeat")
    assert sum(node.reserved for node in await stores.nodes.snapshot()) == 1


async def test_a_choice_whose_slot_is_gone_is_made_anew(stores: Store):
    """Its node was lost before the owner heard of it: asked again, Redis named the node, and no slot was taken."""
    first = await join(stores, "n", capacity=1)
    assert isinstance(await stores.jobs.select(request("a")), Selected)
    await stores.nodes.offline(NodeId("n"), first.epoch)
    await join(stores, "n", capacity=1)
    again = await stores.jobs.select(request("a"))
    assert isinstance(again, Selected)
    assert (again.attempt, again.why) == (1, "only")
    assert isinstance(await stores.jobs.select(request("b", wait_ms=0)), Unplaced)
    repeated = await stores.jobs.select(request("a"))
    assert isinstance(repeated, Selected)
    assert repeated.why == "repeat"


async def test_a_job_is_created_once_per_key(stores: Store):
    await join(stores, "n")
    await stores.jobs.select(request("first", job_key="same"))
    assert await stores.jobs.select(request("second", job_key="same")) == AlreadyDone(JobId("first"), "assigned")
    assert sum(node.reserved for node in await stores.nodes.snapshot()) == 1


async def test_a_finished_job_is_not_placed_again(stores: Store):
    await join(stores, "n")
    await stores.jobs.select(request("j"))
    await stores.jobs.finish(JobId("j"), 1, NodeId("n"), "completed")
    for attempt in (1, 2):
        assert await stores.jobs.select(request("j", attempt)) == AlreadyDone(JobId("j"), "completed")


async def test_an_older_attempt_is_stale(stores: Store):
    await join(stores, "n")
    await stores.jobs.select(request("j"))
    await stores.jobs.requeue(JobId("j"), 1, "node_lost")
    assert await stores.jobs.select(request("j", 1)) == StaleAttempt(1)
    assert node_of(await stores.jobs.select(request("j", 2))) == "n"
    assert await stores.jobs.select(request("j", 1)) == StaleAttempt(2)


async def test_a_newer_attempt_takes_the_older_ones_slot_back(stores: Store):
    await join(stores, "a", capacity=1)
    await join(stores, "b", capacity=1)
    first = node_of(await stores.jobs.select(request("j")))
    second = node_of(await stores.jobs.select(request("j", 2, exclude=frozenset({NodeId(first)}))))
    assert {first, second} == {"a", "b"}
    assert await _reserved(stores, first) == 0
    assert node_of(await stores.jobs.select(request("k"))) == first
