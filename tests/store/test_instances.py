"""Presence, ownership and sessions."""

import asyncio

from lingua_scheduler.protocol.ids import InstanceId, SessionId
from lingua_scheduler.store.keys import LEAVING_TTL_MS
from lingua_scheduler.store.records import Presence, Word
from lingua_scheduler.store.store import Store
from tests.store.dump import dump
from tests.store.samples import HERE, THERE

S = SessionId("s")


def presence(instance: InstanceId) -> Presence:
    return Presence(instance, started_at_ms=5, hostname="host", pid=7, version="1", address="127.0.0.1:5010")


async def test_instances_are_listed_while_they_announce_themselves(stores: Store):
    assert await stores.instances.list() == []
    for instance in (THERE, HERE):
        await stores.instances.announce(presence(instance))
    assert await stores.instances.list() == [presence(HERE), presence(THERE)]
    assert await stores.instances.is_alive(HERE)
    await stores.instances.withdraw(HERE)
    assert await stores.instances.list() == [presence(THERE)]
    assert not await stores.instances.is_alive(HERE)


async def test_peers_of_an_instance_that_leaves_are_told_that_nodes_move(store: Store):
    assert not await store.instances.is_one_leaving()
    await store.instances.tell_leaving()
    assert await store.instances.is_one_leaving()
    assert 0 < int(str(await store.client.call("PTTL", "lingua:schedulers:leaving"))) <= LEAVING_TTL_MS


async def test_a_dead_instance_leaves_the_list(store: Store):
    await store.instances.announce(presence(HERE))
    await store.client.call("DEL", "lingua:schedulers:presence:here")
    assert await store.instances.list() == []
    assert await dump(store.client) == {}


async def test_one_owns_and_others_are_told_who(stores: Store):
    mine = await stores.instances.claim_owner("nodes", "n", HERE)
    assert mine.is_ok
    assert await stores.instances.claim_owner("nodes", "n", HERE) == mine
    theirs = await stores.instances.claim_owner("nodes", "n", THERE)
    assert (theirs.word, theirs.owner, theirs.epoch) == (Word.HELD, HERE, mine.epoch)
    assert await stores.instances.owner_of("nodes", "n") == HERE
    assert await stores.instances.owner_of("sessions", "n") is None
    assert set(await dump(stores.client)) == {"lingua:nodes:owner:{node:n}"}


async def test_a_paused_owner_finds_itself_replaced(stores: Store):
    mine = await stores.instances.claim_owner("sessions", "s", HERE)
    theirs = await stores.instances.claim_owner("sessions", "s", THERE, take_over=True)
    assert theirs.epoch > mine.epoch
    assert (await stores.instances.renew_owner("sessions", "s", HERE, mine.epoch)).word is Word.LOST
    assert (await stores.instances.release_owner("sessions", "s", HERE, mine.epoch)).word is Word.LOST
    assert (await stores.instances.renew_owner("sessions", "s", THERE, theirs.epoch)).is_ok


async def test_an_owner_that_came_back_holds_its_old_epoch_no_more(stores: Store):
    first = await stores.instances.claim_owner("nodes", "n", HERE)
    assert (await stores.instances.release_owner("nodes", "n", HERE, first.epoch)).is_ok
    assert (await stores.instances.release_owner("nodes", "n", HERE, first.epoch)).word is Word.LOST
    between = await stores.instances.claim_owner("nodes", "n", THERE)
    await stores.instances.release_owner("nodes", "n", THERE, between.epoch)
    await stores.client.call("FLUSHALL")
    assert (await stores.instances.claim_owner("nodes", "n", HERE)).epoch >= between.epoch
    assert (await stores.instances.renew_owner("nodes", "n", HERE, 1)).word is Word.LOST


async def test_of_many_claims_one_wins(stores: Store):
    claims = [stores.instances.claim_owner("nodes", "n", InstanceId(f"i{number}")) for number in range(20)]
    words = [reply.word for reply in await asyncio.gather(*claims)]
    assert sorted(words) == [Word.HELD] * 19 + [Word.OK]
