"""Inboxes of instances: nothing is lost, nothing is done twice by two, and nothing is left behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.records import Presence
from lingua_scheduler.store.replies import items
from lingua_scheduler.store.servers import Finder
from lingua_scheduler.store.store import Store
from lingua_scheduler.store.streams import Entry, Inbox, InboxConfig, InboxState
from tests.store.dump import dump
from tests.store.samples import HERE, THERE

Where = str | Finder
QUICK = InboxConfig(block_ms=50, reclaim_idle_ms=0, dead_age_ms=0, dead_deliveries=2)
HELD_BACK = InboxConfig(block_ms=50, reclaim_idle_ms=60_000)
AUDIO = bytes(range(256))


@asynccontextmanager
async def inbox(
    store: Store, where: Where, instance: InstanceId = HERE, config: InboxConfig = QUICK
) -> AsyncGenerator[Inbox]:
    async with Inbox.open(where, store.keys, store.client, instance, config) as opened:
        await opened.create()
        yield opened


def payloads(entries: list[Entry]) -> list[bytes]:
    return [entry.payload for entry in entries]


async def test_a_message_arrives_once_and_is_gone_when_done(stores: Store, where: Where):
    async with inbox(stores, where) as here, inbox(stores, where, THERE) as there:
        for payload in (b"one", AUDIO, b""):
            assert await there.publish(HERE, payload)
        entries = await here.read()
        assert payloads(entries) == [b"one", AUDIO, b""]
        assert await here.read() == []
        assert await here.state(HERE) == InboxState(length=3, pending=3, dead=0)
        await here.done(entries)
        assert await here.state(HERE) == InboxState(0, 0, 0)
        for one in (here, there):
            await one.close_down()
    assert await dump(stores.client) == {}


async def test_a_reader_is_woken_by_a_message(store: Store, redis_url: str):
    patient = InboxConfig(block_ms=20_000)
    async with inbox(store, redis_url, config=patient) as here, asyncio.TaskGroup() as group:
        reading = group.create_task(here.read())
        await here.publish(HERE, b"x")
        assert payloads(await reading) == [b"x"]


async def test_a_blocked_reader_delays_no_command(store: Store, redis_url: str):
    patient = InboxConfig(block_ms=20_000)
    async with inbox(store, redis_url, config=patient) as here, asyncio.TaskGroup() as group:
        reading = group.create_task(here.read())
        for _ in range(20):
            await store.ping()
            assert await here.redeliver() == []
        assert not reading.done()
        reading.cancel()


async def test_a_message_to_nobody_is_told_and_makes_no_stream(store: Store, redis_url: str):
    async with inbox(store, redis_url) as here:
        assert not await here.publish(THERE, b"x")
        await here.close_down()
    assert await dump(store.client) == {}


async def test_what_was_read_and_not_done_comes_again(stores: Store, where: Where):
    async with inbox(stores, where) as here:
        await here.publish(HERE, AUDIO)
        (first,) = await here.read()
        (again,) = await here.redeliver()
        assert again == first
        await here.done([again])
        assert await here.redeliver() == []


async def test_what_was_just_read_is_left_to_its_reader(store: Store, redis_url: str):
    async with inbox(store, redis_url, config=HELD_BACK) as here:
        await here.publish(HERE, b"x")
        await here.read()
        assert await here.redeliver() == []


async def test_an_instance_takes_over_what_a_dead_one_left(stores: Store, where: Where):
    async with inbox(stores, where, THERE) as dead:
        for payload in (b"read", b"unread"):
            await dead.publish(THERE, payload)
            if payload == b"read":
                await dead.read()
    async with inbox(stores, where) as here:
        taken: list[Entry] = []
        while entries := await here.take_over(THERE):
            taken += entries
            await here.done(entries)
        assert payloads(taken) == [b"read", b"unread"]
        assert {entry.inbox_of for entry in taken} == {THERE}
        await here.remove(THERE)
        assert await here.take_over(THERE) == []
        await here.close_down()
    assert await dump(stores.client) == {}


async def test_two_that_take_over_at_once_get_different_entries(stores: Store, where: Where):
    config = InboxConfig(block_ms=50, count=5, reclaim_idle_ms=60_000)
    async with (
        inbox(stores, where, THERE, config) as dead,
        inbox(stores, where, HERE, config) as one,
        inbox(stores, where, InstanceId("third"), config) as other,
    ):
        for number in range(10):
            await dead.publish(THERE, b"%d" % number)
        halves = await asyncio.gather(one.take_over(THERE), other.take_over(THERE))
        assert sorted(payloads([*halves[0], *halves[1]])) == [b"%d" % number for number in range(10)]


async def test_an_entry_that_fails_again_and_again_is_a_dead_letter(stores: Store, where: Where):
    async with inbox(stores, where) as here:
        await here.publish(HERE, b"poison")
        await here.publish(HERE, b"fine")
        poison, fine = await here.read()
        await here.done([fine])
        assert await here.give_up(HERE, {poison.entry_id: "no handler"}) == 0
        assert await here.redeliver() == [poison]
        assert await here.give_up(HERE, {poison.entry_id: "no handler"}) == 1
        assert await here.give_up(HERE, {poison.entry_id: "no handler"}) == 0
        assert await here.state(HERE) == InboxState(0, 0, dead=1)
        letters = await stores.client.call("XRANGE", "lingua:streams:{instance:here}:dlq", "-", "+")
        assert isinstance(letters, list)
        (letter,) = [items(items(row)[1]) for row in letters]
        assert letter == ["entry", poison.entry_id, "reason", "no handler", "message", "poison"]


async def test_a_young_entry_is_no_dead_letter(store: Store, redis_url: str):
    patient = InboxConfig(block_ms=50, reclaim_idle_ms=0, dead_deliveries=1, dead_age_ms=60_000)
    async with inbox(store, redis_url, config=patient) as here:
        await here.publish(HERE, b"x")
        await here.read()
        assert await here.give_up(HERE, {}) == 0


async def test_an_inbox_is_bounded(store: Store, redis_url: str):
    async with inbox(store, redis_url, config=InboxConfig(maxlen=500)) as here:
        await asyncio.gather(*(here.publish(HERE, b"x") for _ in range(2000)))
        assert (await here.state(HERE)).length < 700  # Redis trims whole blocks of about a hundred


async def test_an_inbox_that_redis_lost_is_made_anew(stores: Store, where: Where):
    async with inbox(stores, where) as here:
        await stores.client.call("FLUSHALL")
        assert await here.read() == []
        assert await here.publish(HERE, b"x")
        assert payloads(await here.read()) == [b"x"]
        await stores.client.call("FLUSHALL")
        assert await here.redeliver() == []
        assert await here.give_up(HERE, {}) == 0
        assert await here.take_over(HERE) == []
        assert await here.state(HERE) == InboxState(0, 0, 0)


async def test_a_dead_instance_is_known_until_its_inbox_is_gone(store: Store, redis_url: str):
    await store.instances.announce(Presence(THERE, 1, "host", 1, "1", "address"))
    async with inbox(store, redis_url, THERE) as there:
        assert await store.instances.dead() == []
        await store.client.call("DEL", "lingua:schedulers:presence:there")
        assert await store.instances.dead() == [THERE]
        assert await store.instances.list() == []
        await there.close_down()
    assert await store.instances.dead() == []
    assert await dump(store.client) == {}


@pytest.mark.parametrize("size", [150_000])
async def test_audio_crosses_whole(store: Store, redis_url: str, size: int):
    async with inbox(store, redis_url) as here:
        await here.publish(HERE, AUDIO * (size // 256))
        assert payloads(await here.read()) == [AUDIO * (size // 256)]
        assert payloads(await here.redeliver()) == [AUDIO * (size // 256)]


async def test_redelivery_does_not_make_a_poisoned_entry_young(store: Store, redis_url: str):
    """Each delivery starts the idle time of an entry anew: measured by that, none ever became a dead letter."""
    config = InboxConfig(block_ms=50, reclaim_idle_ms=0, dead_deliveries=10, dead_age_ms=60_000)
    seconds, _ = items(await store.client.call("TIME"))
    async with inbox(store, redis_url, config=config) as here:
        old, young = f"{(int(str(seconds)) - 61) * 1000}-0", f"{(int(str(seconds)) - 30) * 1000}-0"
        for entry_id in (old, young):
            await store.client.call("XADD", store.keys.inbox(HERE), entry_id, "message", b"poison")
        await here.read()
        for _ in range(9):
            assert await here.give_up(HERE, {}) == 0
            await here.redeliver()
        assert await here.give_up(HERE, {old: "no handler"}) == 1
        assert [entry.entry_id for entry in await here.redeliver()] == [young]


async def test_many_that_fail_do_not_hide_the_others(store: Store, redis_url: str):
    config = InboxConfig(block_ms=50, count=4, reclaim_idle_ms=0)
    async with inbox(store, redis_url, config=config) as here:
        for number in range(10):
            await here.publish(HERE, b"%d" % number)
        while await here.read():
            pass
        rounds = [payloads(await here.redeliver()) for _ in range(4)]
        assert rounds == [[b"0", b"1", b"2", b"3"], [b"4", b"5", b"6", b"7"], [b"8", b"9"], [b"0", b"1", b"2", b"3"]]


async def test_an_inbox_with_something_in_it_is_not_removed(stores: Store, where: Where):
    """It was deleted whatever had come in since the last look: an answer that a peer had sent was lost."""
    async with inbox(stores, where) as here:
        await here.publish(HERE, b"late")
        assert not await here.close_down()
        entries = await here.read()
        assert not await here.close_down(), "nobody has said that it is done"
        await here.done(entries)
        assert await here.close_down()
        assert await here.close_down(), "and again"
    assert await dump(stores.client) == {}


async def test_what_was_just_read_is_there_for_a_stop(stores: Store, where: Where):
    """It was made a dead letter, because nobody could claim an entry that was read a moment ago."""
    async with inbox(stores, where, config=HELD_BACK) as here:
        await here.publish(HERE, AUDIO)
        entries = await here.read()
        assert await here.redeliver() == []
        assert await here.unfinished() == entries
        await here.done(entries)
        assert await here.unfinished() == []
        assert await here.close_down()
        assert await here.unfinished() == []


async def test_dead_letters_outlive_their_inbox_for_a_day(store: Store, redis_url: str):
    async with inbox(store, redis_url) as here:
        await here.publish(HERE, b"poison")
        (poison,) = await here.read()
        assert await here.give_up(HERE, {poison.entry_id: "it stops"}, at_once=True) == 1
        assert await here.close_down()
    left = await dump(store.client)
    assert list(left) == ["lingua:streams:{instance:here}:dlq"]
    assert 0 < next(iter(left.values())).ttl_ms <= 24 * 3_600_000


async def test_no_dead_letters_are_kept_where_none_are_wanted(store: Store, redis_url: str):
    async with inbox(store, redis_url, config=InboxConfig(block_ms=50, dlq_maxlen=0)) as here:
        await here.publish(HERE, b"poison")
        await here.read()
        assert await here.give_up(HERE, {}, at_once=True) == 1
        assert await here.close_down()
    assert await dump(store.client) == {}
