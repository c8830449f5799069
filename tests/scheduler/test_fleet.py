"""Two instances on one Redis: a client on one, the node on the other, every message through the inboxes."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers


class Two:
    """Instances `a` and `b` and the peers of each."""

    def __init__(self, a: Scheduler, b: Scheduler, at_a: Peers, at_b: Peers) -> None:
        self.a, self.b, self.at_a, self.at_b = a, b, at_a, at_b

    async def client_here_node_there(self) -> tuple[ClientPeer, NodePeer]:
        client, node = await self.at_a.client(), await self.at_b.node()
        await node.register()
        await client.open(protocol_version="1.1")
        return client, node


@pytest.fixture
async def two(redis: EmbeddedRedis, config: Config) -> AsyncGenerator[Two]:
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(Scheduler.start(config, redis.url))
        b = await stack.enter_async_context(Scheduler.start(config, redis.url))
        at_a = await stack.enter_async_context(Peers.of(a.url, a.context.store))
        at_b = await stack.enter_async_context(Peers.of(b.url, b.context.store))
        yield Two(a, b, at_a, at_b)


async def test_speech_at_one_instance_is_translated_by_a_node_at_the_other(two: Two):
    client, node = await two.client_here_node_there()
    for index in range(3):
        await client.speak(400)
        job = await node.take_job()
        assert len(codec.decode_audio(job.audio)) == 400 * 32
        await node.send(
            node_wire.JobAck(
                job_id=job.job_id, attempt_id=1, node_id=node.node_id, session_id=job.session_id, trace_id=job.trace_id
            )
        )
        await node.send(
            node_wire.NodeAsrPartial(
                job_id=job.job_id, node_id=node.node_id, session_id=job.session_id, utterance_index=index,
                text="part", is_final=False, trace_id=job.trace_id,
            )
        )  # fmt: skip
        await node.answer(job)
        assert (await client.wait_for(wire.AsrPartial)).text == "part"
        assert (await client.wait_for(wire.TranslationResult)).utterance_index == index


async def test_the_death_of_a_remote_node_costs_a_second_attempt(two: Two):
    client, node = await two.client_here_node_there()
    await client.speak(400)
    await node.take_job()
    other = await two.at_a.node()
    await other.register("node-b")
    await node.ws.close()
    again = await other.take_job()
    assert again.attempt_id == 2
    await other.answer(again)
    await client.wait_for(wire.TranslationResult)


async def test_a_rejected_remote_job_goes_elsewhere(two: Two):
    client, node = await two.client_here_node_there()
    await client.speak(400)
    job = await node.take_job()
    other = await two.at_b.node()
    await other.register("node-b")
    await node.send(node_wire.JobReject(job_id=job.job_id, attempt_id=1, code="FULL"))
    await other.answer(await other.take_job())
    await client.wait_for(wire.TranslationResult)


async def test_a_slot_that_frees_at_one_instance_is_offered_to_the_job_that_waits_at_the_other(two: Two):
    node, here, there = await two.at_b.node(), await two.at_a.client(), await two.at_b.client()
    await node.register(capacity=1)
    await there.open()
    await here.open()
    await there.speak(400)
    first = await node.take_job()
    await here.speak(400)
    await wait_until(lambda: _waiting(two.a), "the second job to stand in the queue")
    await node.answer(first)
    second = await node.take_job()
    assert second.session_id == here.session_id
    await node.answer(second)
    await here.wait_for(wire.TranslationResult)


async def test_a_node_near_the_client_is_preferred(two: Two):
    client, far = await two.client_here_node_there()
    near = await two.at_a.node()
    await near.register("node-near")
    for _ in range(4):
        await client.speak(400)
        await near.answer(await near.take_job())
        await client.wait_for(wire.TranslationResult)
    assert not any(isinstance(message, node_wire.JobAssign) for message in far.received)


async def test_audio_leaves_redis_when_it_is_delivered_and_a_stopped_instance_leaves_nothing(
    redis: EmbeddedRedis, config: Config
):
    async with Scheduler.start(config, redis.url) as a, Scheduler.start(config, redis.url) as b:
        store = a.context.store
        async with Peers.of(a.url, a.context.store) as at_a, Peers.of(b.url, b.context.store) as at_b:
            client, node = await Two(a, b, at_a, at_b).client_here_node_there()
            await client.speak(400)
            await node.answer(await node.take_job())
            await client.wait_for(wire.TranslationResult)

            async def is_empty() -> bool:
                names = [store.keys.inbox(one.context.instance_id) for one in (a, b)]
                return [await store.client.call("XLEN", name) for name in names] == [0, 0]

            await wait_until(is_empty, "both inboxes to be empty")
        names = [a.context.instance_id, b.context.instance_id]
    async with Scheduler.start(config, redis.url) as c:
        store = c.context.store
        left = await store.client.call("EXISTS", *(store.keys.inbox(InstanceId(name)) for name in names))
        assert left == 0


async def _waiting(scheduler: Scheduler) -> bool:
    store = scheduler.context.store.nodes
    return sum(pool.waiting for pool in await store.pools(await store.snapshot())) == 1
