"""Between instances: what poisons an inbox, what a remote job costs Redis, and what an idle instance costs it."""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from msgspec import structs

from lingua_scheduler.core.jobs.events import SendAssign
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, JobId
from lingua_scheduler.protocol.messages import TranslationResult
from lingua_scheduler.protocol.node import NodeControl
from lingua_scheduler.scheduler import bus as bus_module
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.dispatch import Dispatch
from lingua_scheduler.scheduler.upkeep import ROUND_S
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.streams import Entry
from tests.scheduler.conftest import QUICK, changed
from tests.support.peers import ClientPeer, Peers
from tests.support.waiting import wait_until

POISON = b"not a message"
LEVEL = 4660
SAMPLE = LEVEL.to_bytes(2, "little")


@asynccontextmanager
async def monitored(redis: EmbeddedRedis) -> AsyncGenerator[list[bytes]]:
    """Every command that Redis is given, as its monitor spells it."""
    reader, writer = await asyncio.open_unix_connection(redis.url.removeprefix("unix://"), limit=1 << 24)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    lines: list[bytes] = []

    async def read() -> None:
        while line := await reader.readline():
            lines.append(line)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read())
        yield lines
        reading.cancel()
    writer.close()


@asynccontextmanager
async def apart(redis: EmbeddedRedis) -> AsyncGenerator[tuple[Scheduler, Scheduler, ClientPeer, Peers]]:
    """A client's instance and another one for nodes, the client, and those who make nodes."""
    async with (
        Scheduler.start(QUICK, redis.url) as here,
        Scheduler.start(QUICK, redis.url) as there,
        Peers.of(here.url) as clients,
        Peers.of(there.url, there.context.store) as nodes,
    ):
        yield here, there, await clients.client(), nodes


async def test_a_message_that_cannot_be_read_stops_no_other_and_ends_as_a_dead_letter(redis: EmbeddedRedis):
    config = changed(QUICK, "scheduler.phase2", dlq_max_deliveries=1, dlq_min_idle_ms=0)
    async with Scheduler.start(config, redis.url) as here, Scheduler.start(QUICK, redis.url) as there:
        me, inbox = here.context.instance_id, there.upkeep.bus._inbox
        await inbox.publish(me, POISON)
        async with Peers.of(here.url, here.context.store) as peers:
            node = await peers.node()
            await node.register("n1")
            there.upkeep.bus.publish(me, wire.DrainNode(node_id="n1"))
            await node.wait_for(NodeControl)
        await here.upkeep.bus._give_up(me)
        state = await inbox.state(me)
        assert (state.length, state.dead) == (0, 1)
        letters = str(await here.context.store.client.call("XRANGE", here.context.store.keys.dlq(me), "-", "+"))
        assert "ValidationError" in letters
        assert "not a message" in letters


async def test_of_two_dead_peers_none_is_forgotten_when_redis_fails_at_the_first(
    redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
):
    async with Scheduler.start(QUICK, redis.url) as here:
        bus, store = here.upkeep.bus, here.context.store
        dead = {InstanceId("dead-1"), InstanceId("dead-2")}
        inboxes = [store.keys.inbox(one) for one in sorted(dead)]
        for inbox in inboxes:
            await store.client.call("XGROUP", "CREATE", inbox, bus._inbox._config.group, "0", "MKSTREAM")
        take_over = bus._inbox.take_over
        failures = iter([StoreError("cut", may_have_happened=False)])

        async def once_in_vain(instance_id: InstanceId) -> list[Entry]:
            for error in failures:
                raise error
            return await take_over(instance_id)

        monkeypatch.setattr(bus._inbox, "take_over", once_in_vain)
        bus._peers = set(dead)
        with pytest.raises(StoreError):
            await bus.keep({here.context.instance_id})
        await bus.keep({here.context.instance_id})
        assert await store.client.call("EXISTS", *inboxes) == 0


async def test_a_peer_that_died_while_redis_was_away_is_missed_when_it_had_time_to_come_back(redis: EmbeddedRedis):
    """All peers were forgotten at an outage. Of one that had died meanwhile a Redis that came back empty said nothing.

    So its people stayed in their rooms, and what its nodes had waited for leases to end.
    """
    async with Scheduler.start(QUICK, redis.url) as here:
        me, bus = here.context.instance_id, here.upkeep.bus
        assert here.upkeep._running is not None
        here.upkeep._running.cancel()
        late, dead = InstanceId("late"), InstanceId("dead")
        assert await bus.keep({me, late, dead}) == set()
        bus.wait_for_peers()
        assert await bus.keep({me}) == set(), "both may only be late"
        assert await bus.keep({me, late}) == set()
        bus._unseen_until_ms = here.context.clock.now_ms()
        assert await bus.keep({me, late}) == {dead}
        assert await bus.keep({me, late}) == set(), "once"
        assert await bus.keep({me}) == {late}, "who was seen since is missed at once"


async def test_what_redis_lost_on_its_way_to_a_node_is_sent_again_and_nothing_else_is(redis: EmbeddedRedis):
    """A node of protocol 1 acknowledges nothing: that it never had the job came out when the lease ended."""
    async with apart(redis) as (here, there, client, nodes):
        node = await nodes.node()
        await node.register("far", capacity=4, protocol_version=None)
        await client.open()
        await client.speak(400)
        arrived = await node.take_job()
        bus, inbox = there.upkeep.bus, there.context.store.keys.inbox(there.context.instance_id)
        await wait_until(lambda: _is_empty(there, inbox), "the delivered entry to be deleted")
        assert bus._reading is not None
        bus._reading.cancel()
        await client.speak(400)
        await wait_until(lambda: _is_full(there, inbox), "the second assignment to be on its way")
        await there.context.store.client.call("XTRIM", inbox, "MAXLEN", "0")
        bus.start()

        here.context.health.failed("test")

        again = await node.take_job()
        assert (again.utterance_index, again.attempt_id) == (1, 2)
        for job in (arrived, again):
            await node.answer(job)
        heard = [await client.wait_for(TranslationResult) for _ in range(2)]
        assert [one.utterance_index for one in heard] == [0, 1]


async def test_a_job_whose_answer_redis_lost_is_done_again_elsewhere(redis: EmbeddedRedis):
    """And not by the node that answered: one of protocol 1 takes each utterance once."""
    async with apart(redis) as (here, _there, client, nodes):
        node = await nodes.node()
        await node.register("far", protocol_version=None)
        await client.open()
        await client.speak(400)
        first = await node.take_job()
        other = await nodes.node()
        await other.register("another", protocol_version=None)
        reading = here.upkeep.bus._reading
        assert reading is not None
        reading.cancel()
        inbox = here.context.store.keys.inbox(here.context.instance_id)
        await node.answer(first)
        await wait_until(lambda: _is_full(here, inbox), "the answer to be on its way")
        await here.context.store.client.call("XTRIM", inbox, "MAXLEN", "0")
        here.upkeep.bus.start()

        here.context.health.failed("test")

        again = await other.take_job()
        assert (again.job_id, again.attempt_id) == (first.job_id, 2)
        await other.answer(again)
        assert (await client.wait_for(TranslationResult)).utterance_index == 0


async def test_an_assignment_that_comes_twice_is_given_to_its_node_once(redis: EmbeddedRedis):
    async with apart(redis) as (here, there, client, nodes):
        node = await nodes.node()
        await node.register("far", protocol_version=None)
        await client.open()
        for index in range(2):
            await client.speak(400)
            job = await node.take_job()
            assert job.utterance_index == index
            await node.answer(job)
            await client.wait_for(TranslationResult)
            (picture,) = await there.context.store.nodes.snapshot()
            owner = here.context.instance_id
            there.upkeep.bus._handle(
                wire.AssignJob(owner=owner, node_id="far", epoch=picture.epoch, assign=job, audio=bytes(8))
            )
        assert there.upkeep.bus.remote_jobs == 0


async def test_a_late_word_of_a_lost_connection_leaves_the_jobs_of_the_newer_one(redis: EmbeddedRedis):
    """They were forgotten with the older one's, and what the node said of them was refused."""
    async with apart(redis) as (_here, there, client, nodes):
        node = await nodes.node()
        await node.register("far")
        await client.open()
        await client.speak(400)
        job = await node.take_job()
        epoch = (await there.context.store.nodes.snapshot())[0].epoch

        there.upkeep.bus._handle(wire.NodeGone(node_id="far", epoch=epoch - 1, cause="closed"))

        await node.answer(job)
        assert (await client.wait_for(TranslationResult)).utterance_index == 0
        await client.speak(400)
        last = await node.take_job()
        assert (last.utterance_index, last.attempt_id) == (1, 1)
        await node.ws.close()  # whose loss still concerns those who have jobs there
        other = await nodes.node()
        await other.register("another")
        again = await other.take_job()
        assert (again.job_id, again.attempt_id) == (last.job_id, 2)


async def test_an_attempt_that_was_taken_back_while_it_waited_is_not_sent(redis: EmbeddedRedis):
    """Behind a cancel that waits for Redis: the next attempt may be with the same node by then."""
    async with apart(redis) as (here, _, client, nodes):
        node = await nodes.node()
        await node.register("far", protocol_version=None)
        await client.open()
        await client.speak(400)
        sent = await node.take_job()
        (actor,) = here.sessions.with_jobs()
        ((traits, _, _),) = actor.sent_jobs()
        dispatcher, over = here.sessions.dispatcher, asyncio.create_task(asyncio.sleep(0))
        assert isinstance(dispatcher, Dispatch)
        assert actor.is_sent(JobId(sent.job_id), 1)
        taken_back = SendAssign(traits, structs.replace(sent, attempt_id=2), bytes(8))
        await dispatcher._assign_behind({over}, taken_back, actor)
        await client.speak(400)
        assert (await node.take_job()).utterance_index == 1


async def test_a_job_that_nobody_asks_for_any_more_is_forgotten(redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch):
    """Its owner gave it up, and a fail-over lost the cancel: it was named after each break of Redis, for ever."""
    async with apart(redis) as (here, there, client, nodes):
        node, bus = await nodes.node(), there.upkeep.bus
        await node.register("far")
        await client.open()
        for _ in range(2):
            await client.speak(400)
            await node.take_job()
        monkeypatch.setattr(bus_module, "REMOTE_JOB_MS", 1 << 40)
        bus._forget_old_jobs()
        assert bus.remote_jobs == 2
        monkeypatch.setattr(bus_module, "REMOTE_JOB_MS", 0)
        await bus.keep({here.context.instance_id, there.context.instance_id})
        assert bus.remote_jobs == 0
        await asyncio.wait_for(bus.wait_idle(), 1)


async def test_what_a_node_has_swallowed_takes_no_slot_again(redis: EmbeddedRedis):
    """Its instance was never told, and claimed a slot for it after each break."""
    async with (
        Scheduler.start(QUICK, redis.url) as here,
        Scheduler.start(QUICK, redis.url) as there,
        Peers.of(here.url) as clients,
        Peers.of(there.url, there.context.store) as nodes,
    ):
        node, client, store = await nodes.node(), await clients.client(), there.context.store
        await node.register("old", protocol_version=None)
        await client.open()
        await client.speak(400, is_final=False)
        swallowed = await node.take_job()
        await client.speak(400)
        await node.answer(await node.take_job())
        await client.wait_for(TranslationResult)
        await wait_until(lambda: there.upkeep.bus.remote_jobs == 0, "its instance to forget it")
        await store.client.call("DEL", store.keys.job(JobId(swallowed.job_id)))
        there.context.health.failed("test")
        await wait_until(lambda: there.context.health.is_up, "Redis to be back")
        await node.heartbeat()
        await client.speak(400)
        await node.take_job()
        assert [one.reserved for one in await store.nodes.snapshot()] == [1]


async def test_the_audio_of_a_remote_job_crosses_redis_once_as_it_is_and_is_gone_when_delivered(redis: EmbeddedRedis):
    async with apart(redis) as (_here, there, client, nodes):
        node = await nodes.node()
        await node.register("far")
        await client.open()
        async with monitored(redis) as commands:
            await client.speak(400, level=LEVEL)
            job = await node.take_job()
            inbox = there.context.store.keys.inbox(there.context.instance_id)
            await wait_until(lambda: _is_empty(there, inbox), "the delivered entry to be deleted")
            await node.answer(job)
            await client.wait_for(TranslationResult)
        raw = b"".join(b"\\x%02x" % byte if not 32 <= byte < 127 else bytes([byte]) for byte in SAMPLE * 100)
        with_audio = [line for line in commands if raw in line]
        assert [re.findall(rb'"(\w+)"', line)[0] for line in with_audio] == [b"XADD"]
        encoded = base64.b64encode(SAMPLE * 99)
        assert not any(encoded in line for line in commands)
        async with RedisClient.open(redis.url, is_binary=True) as client_of_redis:
            names = await client_of_redis.call("KEYS", "*")
            assert isinstance(names, list)
            dumps = [await client_of_redis.call("DUMP", name) for name in names if isinstance(name, bytes)]
        assert not any(SAMPLE * 100 in one for one in dumps if isinstance(one, bytes))


async def _is_empty(scheduler: Scheduler, key: str) -> bool:
    return await scheduler.context.store.client.call("XLEN", key) == 0


async def _is_full(scheduler: Scheduler, key: str) -> bool:
    return not await _is_empty(scheduler, key)


async def test_an_idle_instance_costs_redis_fewer_than_five_commands_a_second(redis: EmbeddedRedis):
    """Rounds of upkeep are counted, not waited for; commands inside scripts count too."""
    rounds = 28
    async with (
        Scheduler.start(QUICK, redis.url),
        Scheduler.start(QUICK, redis.url) as here,
        RedisClient.open(redis.url) as client,
    ):
        await client.call("CONFIG", "RESETSTAT")
        for number in range(rounds):
            await here.upkeep._round(number)
        stats = str(await client.call("INFO", "commandstats"))
    called = sum(
        int(calls)
        for name, calls in re.findall(r"cmdstat_(\w+)[^:]*:calls=(\d+)", stats)
        if name not in ("info", "config")
    )
    reads = 1000 / QUICK.scheduler.phase2.stream_block_ms
    assert called / (rounds * ROUND_S) + reads < 5, stats


async def test_an_instance_that_has_left_is_not_announced_again(redis: EmbeddedRedis):
    """A round of upkeep that was under way put its name back, which nobody was left to remove."""
    async with RedisClient.open(redis.url) as client:
        async with Scheduler.start(QUICK, redis.url) as here:

            async def announce_all_the_time() -> None:
                while True:
                    await here.upkeep._round(0)

            running = here.upkeep._running
            assert running is not None
            running.cancel()
            here.upkeep._running = here.context.scope.start(announce_all_the_time(), "upkeep")
        assert await client.call("KEYS", "*") == []
