"""Registration, heartbeats with pools, status, marks, leaving."""

from typing import Any, cast

import pytest

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import Queued, Selected, Unplaced
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.store import Store
from tests.store.conftest import StatedTime
from tests.store.dump import dump
from tests.store.samples import HERE, SERVICES, THERE, join, languages, registration, request
from tests.support import wait_until

N = NodeId("n")


async def beat(store: Store, epoch: int, spec: str | None = None, services: tuple[str, ...] = SERVICES, **fields: Any):
    told = languages(spec) if spec else None
    return await store.nodes.heartbeat(N, epoch, fields.get("status", "ready"), NodeLoad(), services, told)


async def pools_of(store: Store) -> set[str]:
    return {f"{pool.src}-{pool.tgt}" for pool in await store.nodes.pools(await store.nodes.snapshot())}


@pytest.mark.parametrize("missing", ["asr", "semantic", "tts"])
async def test_a_node_without_a_kind_of_languages_is_refused(store: Store, missing: str):
    faulty = registration("n")
    object.__setattr__(faulty.languages, missing, ())
    assert (await store.nodes.register(faulty, HERE)).word is Word.NO_LANGUAGES
    assert await store.nodes.ids() == []


async def test_a_node_is_selectable_from_its_first_heartbeat_and_not_before(store: Store):
    registered = await store.nodes.register(registration("n"), HERE)
    assert isinstance(await store.jobs.select(request("j")), Unplaced)
    assert (await beat(store, registered.epoch)).is_ok
    assert isinstance(await store.jobs.select(request("j")), Selected)


async def test_the_hash_says_what_an_operator_asks(store: Store):
    registered = await store.nodes.register(registration("n", "zh>en,pt", zone="eu"), HERE)
    await beat(store, registered.epoch)
    keys = await dump(store.client)
    node = keys["lingua:v1:node:n"]
    assert 44_000 < node.ttl_ms <= 45_000
    assert isinstance(node.value, dict)
    said = {name: node.value[name] for name in ("asr_langs", "tts_langs", "status", "capacity", "instance", "zone")}
    assert said == {
        "asr_langs": '["zh"]', "tts_langs": '["en", "pt"]', "status": "ready", "capacity": "2", "instance": "here",
        "zone": "eu",
    }  # fmt: skip
    assert keys["lingua:v1:nodes:all"].value == {"n"}
    assert keys["lingua:v1:node:n:pools"].value == {"zh:en": "0", "zh:pt": "0"}
    assert keys["lingua:v1:pool:zh:en:0:nodes"].value == {"n"}
    assert keys["lingua:v1:pool:zh:en:shards"].value == {"0"}


async def test_a_newer_registration_fences_the_older(store: Store):
    first = await store.nodes.register(registration("n"), HERE)
    second = await store.nodes.register(registration("n"), THERE)
    assert second.epoch > first.epoch
    await beat(store, second.epoch)
    for late in (
        await beat(store, first.epoch),
        await store.nodes.set_status(N, first.epoch, "draining"),
        await store.nodes.offline(N, first.epoch),
    ):
        assert (late.word, late.epoch) == (Word.STALE_EPOCH, second.epoch)
    (node,) = await store.nodes.snapshot()
    assert (node.instance_id, node.status) == (THERE, "ready")


async def test_an_epoch_grows_even_when_redis_forgot_the_last(store: Store):
    """A paused instance must not find its old epoch valid again."""
    first = await store.nodes.register(registration("n"), HERE)
    await store.client.call("FLUSHALL")

    async def has_moved() -> bool:
        seconds, micros = cast("list[str]", await store.client.call("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000 > first.epoch

    # An epoch that Redis forgot grows with its clock, which counts milliseconds.
    await wait_until(has_moved, "the server's clock to move on")
    assert (await store.nodes.register(registration("n"), THERE)).epoch > first.epoch


async def test_the_heartbeat_of_an_unknown_node_is_told_so(store: Store):
    assert (await beat(store, 1)).word is Word.NODE_NOT_REGISTERED
    assert (await store.nodes.set_status(N, 1, "ready")).word is Word.NODE_NOT_REGISTERED
    assert (await store.nodes.mark_unavailable(N, "asr")).word is Word.NODE_NOT_REGISTERED


@pytest.mark.parametrize(
    ("spec", "pairs"),
    [
        ("zh>en", {"zh-en"}),
        ("zh,en>en,zh", {"zh-en", "zh-zh", "en-en", "en-zh"}),
        ("zh,en>en,zh:zh-en", {"zh-en"}),
        ("zh>en:zh-en,en-zh", {"zh-en"}),
        ("zh>en:fr-de", set[str]()),
    ],
)
async def test_pools_are_asr_times_tts_less_what_is_not_named(stores: Store, spec: str, pairs: set[str]):
    await join(stores, "n", spec)
    assert await pools_of(stores) == pairs


async def test_a_heartbeat_may_change_the_languages(stores: Store):
    epoch = (await join(stores, "n", "zh,ja>en")).epoch
    await beat(stores, epoch, "zh,ko>en")
    assert await pools_of(stores) == {"zh-en", "ko-en"}
    assert "lingua:v1:pool:ja:en:shards" not in await dump(stores.client)
    assert isinstance(await stores.jobs.select(request("j", pairs="ko-en")), Selected)
    await beat(stores, epoch)
    assert await pools_of(stores) == {"zh-en", "ko-en"}


async def test_a_registration_may_change_the_languages(store: Store):
    await join(store, "n", "zh,ja>en")
    await join(store, "n", "ja,ko>en")
    assert await pools_of(store) == {"ja-en", "ko-en"}


async def test_a_node_may_not_flood_the_pools(store: Store):
    many = ",".join(f"{a}{b}" for a in "abcdefghijklm" for b in "abcde")
    registered = await store.nodes.register(registration("n", f"{many}>{many}"), HERE)
    assert (await beat(store, registered.epoch)).word is Word.TOO_MANY_PAIRS
    assert (await beat(store, registered.epoch, f"{many}>{many}:aa-ab")).is_ok
    assert await pools_of(store) == {"aa-ab"}


async def test_shards_hold_a_hundred_and_vanish_with_their_members(stores: Store):
    for number in range(250):
        await join(stores, f"n{number}")
    keys = await dump(stores.client)
    shards = {name: value.value for name, value in keys.items() if name.startswith("lingua:v1:pool:zh:en:")}
    assert shards.pop("lingua:v1:pool:zh:en:shards") == {str(number) for number in range(len(shards))}
    sizes = [len(members) for members in shards.values() if isinstance(members, set)]
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    for node in await stores.nodes.snapshot():
        await stores.nodes.offline(node.node_id, node.epoch)
    assert await dump(stores.client) == {}


async def test_a_pool_without_room_is_told(store: Store):
    full = [
        ("SADD", f"lingua:v1:pool:zh:en:{shard}:nodes", *(f"x{shard}-{member}" for member in range(100)))
        for shard in range(1000)
    ]
    await store.client.pipeline(full)
    registered = await store.nodes.register(registration("n", "zh>en,pt"), HERE)
    assert (await beat(store, registered.epoch)).word is Word.POOL_FULL
    assert await pools_of(store) == {"zh-pt"}
    await store.client.call("SREM", "lingua:v1:pool:zh:en:7:nodes", "x7-7")
    assert (await beat(store, registered.epoch)).word is Word.OK
    assert await pools_of(store) == {"zh-en", "zh-pt"}


async def test_services_of_a_heartbeat_are_honoured(store: Store):
    epoch = (await join(store, "n", services=("asr", "nmt"))).epoch
    refused = await store.jobs.select(request("j", wait_ms=0))
    assert isinstance(refused, Unplaced)
    assert refused.counts == {"unsupported": 1}
    await beat(store, epoch)
    assert isinstance(await store.jobs.select(request("j")), Selected)


async def test_a_service_that_comes_back_is_offered_to_who_waits_for_it(store: Store):
    epoch = (await join(store, "n", services=("asr", "nmt"))).epoch
    await join(store, "busy", capacity=1)
    await store.jobs.select(request("running"))
    assert isinstance(await store.jobs.select(request("j")), Queued)
    assert [offer.job_id for offer in (await beat(store, epoch)).offers] == ["j"]


async def test_registering_again_frees_the_slots_of_jobs_that_are_not_named(store: Store):
    await join(store, "n")
    for job in ("kept", "lost"):
        assert isinstance(await store.jobs.select(request(job)), Selected)
    again = await store.nodes.register(registration("n", active=[("kept", 1)]), HERE)
    assert [(held.job_id, held.attempt, held.owner, held.session_id) for held in again.jobs] == [
        ("lost", 1, HERE, "session")
    ]
    (node,) = await store.nodes.snapshot()
    assert node.reserved == 1


async def test_going_offline_returns_the_jobs_and_leaves_nothing(stores: Store):
    epoch = (await join(stores, "n", "zh,en>en,zh")).epoch
    await stores.jobs.select(request("j"))
    gone = await stores.nodes.offline(N, epoch)
    assert [(held.job_id, held.node_id) for held in gone.jobs] == [("j", "n")]
    await stores.jobs.finish(JobId("j"), 1, None, "failed")
    left = set(await dump(stores.client))
    assert left == {"lingua:v1:job:j", "lingua:v1:job:j:node", "scheduler:job_key:key:j"}
    assert (await stores.nodes.offline(N, epoch)).word is Word.NODE_NOT_REGISTERED


async def test_a_node_whose_key_expired_can_still_be_cleared(store: Store):
    epoch = (await join(store, "n")).epoch
    await store.client.call("DEL", "lingua:v1:node:n")
    assert (await store.nodes.offline(N, epoch)).word is Word.NODE_NOT_REGISTERED
    assert await dump(store.client) == {}


async def test_a_dead_member_is_removed_where_it_is_met(stores: Store):
    await join(stores, "dead", "zh,en>en,zh")
    await join(stores, "alive", capacity=9)
    await stores.client.call("DEL", "lingua:v1:node:dead")
    for number in range(9):
        reply = await stores.jobs.select(request(f"j{number}"))
        assert isinstance(reply, Selected)
        assert reply.node_id == "alive"
    keys = await dump(stores.client)
    assert keys["lingua:v1:pool:zh:en:0:nodes"].value == {"alive"}
    assert isinstance(await stores.jobs.select(request("both", pairs="zh-en,en-zh")), Unplaced)
    assert isinstance(await stores.jobs.select(request("back", pairs="en-zh")), Unplaced)
    assert "lingua:v1:pool:en:zh:0:nodes" not in await dump(stores.client)


async def test_the_reaper_clears_what_nobody_met(timed: Store, time: StatedTime):
    await join(timed, "dead")
    await timed.jobs.select(request("j"))
    await timed.client.call("DEL", "lingua:v1:node:dead")
    time.pass_ms(50_000)
    reply = await timed.instances.reap()
    assert reply.nodes == ("dead",)
    assert [held.job_id for held in reply.jobs] == ["j"]
    assert not [name for name in await dump(timed.client) if ":node:dead" in name or ":pool:" in name]


async def test_the_reaper_leaves_the_living(timed: Store, time: StatedTime):
    epoch = (await join(timed, "n")).epoch
    time.pass_ms(44_000)
    await beat(timed, epoch)
    time.pass_ms(10_000)
    assert (await timed.instances.reap()).nodes == ()
    assert await timed.nodes.ids() == ["n"]


async def test_a_mark_passes_the_node_over_for_a_minute(timed: Store, time: StatedTime):
    await join(timed, "n", capacity=9)
    assert (await timed.nodes.mark_unavailable(N, "tts")).is_ok
    refused = await timed.jobs.select(request("j", wait_ms=0))
    assert isinstance(refused, Unplaced)
    assert refused.counts == {"unavailable": 1}
    assert isinstance(await timed.jobs.select(request("k", services=("asr", "nmt"))), Selected)
    (node,) = await timed.nodes.snapshot()
    assert node.unavailable_until_ms == {"tts": time.now + 60_000}
    time.pass_ms(60_000)
    assert isinstance(await timed.jobs.select(request("j")), Selected)


async def test_marks_are_limited_to_thirty_in_ten_seconds(timed: Store, time: StatedTime):
    await join(timed, "n")
    words = [(await timed.nodes.mark_unavailable(N, "tts")).word for _ in range(31)]
    assert words == [Word.OK] * 30 + [Word.TOO_MANY_MARKS]
    time.pass_ms(10_000)
    assert (await timed.nodes.mark_unavailable(N, "tts")).is_ok


async def test_a_mark_survives_a_heartbeat(store: Store):
    epoch = (await join(store, "n")).epoch
    await store.nodes.mark_unavailable(N, "tts")
    await beat(store, epoch)
    assert isinstance(await store.jobs.select(request("j", wait_ms=0)), Unplaced)


async def test_every_call_may_be_repeated(stores: Store):
    epoch = (await join(stores, "n", "zh,en>en,zh")).epoch
    before = {name: stored.value for name, stored in (await dump(stores.client)).items() if name != "lingua:v1:node:n"}
    before.pop("lingua:v1:deadlines")
    await beat(stores, epoch)
    await stores.nodes.set_status(N, epoch, "ready")
    await stores.nodes.set_status(N, epoch, "ready")
    after = {name: stored.value for name, stored in (await dump(stores.client)).items() if name != "lingua:v1:node:n"}
    after.pop("lingua:v1:deadlines")
    assert after == before


async def test_a_node_that_is_still_at_work_has_its_slots_when_redis_came_back_empty(stores: Store):
    """It was registered with all its slots free, and got as many jobs again as it was working on."""
    await join(stores, "n", capacity=2)
    for job in "ab":
        assert isinstance(await stores.jobs.select(request(job)), Selected)
    await stores.client.call("FLUSHALL")
    again = await stores.nodes.register(registration("n", capacity=2), HERE, [(JobId("a"), 1), (JobId("b"), 1)])
    await stores.nodes.heartbeat(N, again.epoch, "ready", NodeLoad(), SERVICES)
    refused = await stores.jobs.select(request("c", wait_ms=0))
    assert isinstance(refused, Unplaced)
    assert refused.counts == {"full": 1}
    assert (await stores.jobs.finish(JobId("a"), 1, N, "completed")).word is Word.OK
    assert isinstance(await stores.jobs.select(request("c")), Selected)
    assert (await stores.jobs.requeue(JobId("b"), 1, "node_lost")).word is Word.OK
    assert isinstance(await stores.jobs.select(request("b", 2)), Selected)


async def test_a_heartbeat_gives_slots_back_that_redis_has_lost(stores: Store):
    """The write that gave the slot away was lost at a fail-over, and the slot was given to another job as well."""
    epoch = (await join(stores, "n", capacity=2)).epoch
    at_work = [(JobId("a"), 1), (JobId("b"), 3)]
    for _ in range(2):
        reply = await stores.nodes.heartbeat(N, epoch, "ready", NodeLoad(), SERVICES, at_work=at_work)
        assert reply.word is Word.OK
        assert (await stores.nodes.snapshot())[0].reserved == 2
    assert isinstance(await stores.jobs.select(request("c", wait_ms=0)), Unplaced)
    assert (await stores.jobs.finish(JobId("b"), 3, N, "completed")).word is Word.OK
    await stores.nodes.heartbeat(N, epoch, "ready", NodeLoad(), SERVICES, at_work=at_work)
    assert (await stores.nodes.snapshot())[0].reserved == 1, "what has ended gets no slot again"
    assert (await stores.nodes.heartbeat(N, epoch - 1, "ready", NodeLoad(), SERVICES, at_work=at_work)).word is (
        Word.STALE_EPOCH
    )


async def test_a_node_names_its_jobs_itself_when_it_connects_again(stores: Store):
    await stores.nodes.register(registration("n", active=[("a", 2)]), HERE)
    story = await stores.jobs.story(JobId("a"))
    assert story
    assert (story.status, story.attempt, story.node_id) == ("assigned", 2, "n")
    assert (await stores.nodes.snapshot())[0].reserved == 1


async def test_a_node_cannot_take_a_slot_for_a_job_that_is_known_to_stand_otherwise(stores: Store):
    await join(stores, "other", capacity=9)
    for job in ("elsewhere", "ended", "revoked"):
        assert isinstance(await stores.jobs.select(request(job)), Selected)
    await stores.jobs.finish(JobId("ended"), 1, NodeId("other"), "completed")
    await stores.jobs.requeue(JobId("revoked"), 1, "node_lost")
    claimed = [("elsewhere", 1), ("ended", 1), ("revoked", 1)]
    await stores.nodes.register(registration("n", active=claimed), HERE)
    assert {node.node_id: node.reserved for node in await stores.nodes.snapshot()} == {"n": 0, "other": 1}
    for active, reserved in (((), 0), ([("elsewhere", 2)], 0), ([("elsewhere", 1)], 1)):
        await stores.nodes.register(registration("other", active=active), HERE)
        assert {node.node_id: node.reserved for node in await stores.nodes.snapshot()} == {"n": 0, "other": reserved}


async def test_a_slot_that_nobody_gives_back_after_a_loss_is_reaped(timed: Store, time: StatedTime):
    await timed.nodes.register(registration("n", active=[("lost", 1)]), HERE)
    time.pass_ms(40_000)
    epoch = (await join(timed, "n", at_work=[(JobId("lost"), 1)])).epoch
    time.pass_ms(30_000)
    await timed.nodes.heartbeat(N, epoch, "ready", NodeLoad(), SERVICES)
    assert [held.job_id for held in (await timed.instances.reap()).jobs] == ["lost"]
    assert (await timed.nodes.snapshot())[0].reserved == 0


async def test_a_connection_that_never_broke_costs_no_job_its_slot(stores: Store):
    """The node's key had expired while Redis was away: every job that it had got a new attempt elsewhere."""
    await join(stores, "n")
    await stores.jobs.select(request("a"))
    await stores.client.call("DEL", "lingua:v1:node:n")
    again = await stores.nodes.register(registration("n"), HERE, [])
    assert not again.jobs
    assert (await stores.nodes.snapshot())[0].reserved == 1
