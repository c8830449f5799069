"""A Redis that comes back empty learns from the instances which nodes there are, and what those are working on."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import pytest

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers


class Fleet:
    """A client at one instance, and a node at it or at another."""

    def __init__(self, instances: list[Scheduler], client: ClientPeer, node: NodePeer) -> None:
        self.instances, self.client, self.node = instances, client, node
        self.store = instances[0].context.store

    async def empty_redis(self) -> None:
        """All is gone, and the instances find out when they next ask."""
        await self.store.client.call("FLUSHALL")
        for instance in self.instances:
            instance.context.health.failed("test")

    async def wait_reserved(self, slots: int) -> None:
        async def is_reserved() -> bool:
            return [(one.reserved, len(one.pairs)) for one in await self.store.nodes.snapshot()] == [(slots, 1)]

        await wait_until(is_reserved, f"{slots} slots of the node to be taken")


@pytest.fixture(params=[1, 2], ids=["one instance", "node elsewhere"])
async def fleet(request: pytest.FixtureRequest, redis: EmbeddedRedis, config: Config) -> AsyncGenerator[Fleet]:
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(Scheduler.start(config, redis.url)) for _ in range(request.param)]
        at = [await stack.enter_async_context(Peers.of(one.url, one.context.store)) for one in instances]
        yield Fleet(instances, await at[0].client(), await at[-1].node())


async def test_a_node_at_work_gets_no_more_jobs_than_it_has_slots(fleet: Fleet):
    """It was registered anew with all its slots free: with two jobs in two slots it got two more."""
    client, node = fleet.client, fleet.node
    await node.register(capacity=2)
    await client.open()
    jobs: list[node_wire.JobAssign] = []
    for _ in range(2):
        await client.speak(400)
        jobs.append(await node.take_job())
    before = (await fleet.store.nodes.snapshot())[0].epoch

    await fleet.empty_redis()
    await fleet.wait_reserved(2)
    assert (await fleet.store.nodes.snapshot())[0].epoch > before
    await client.speak(400)

    await node.answer(jobs[0])
    third = await node.take_job()
    assert third.utterance_index == 2
    await fleet.wait_reserved(2)
    for job in (jobs[1], third):
        await node.answer(job)
    heard = [await client.wait_for(wire.TranslationResult) for _ in range(3)]
    assert [one.utterance_index for one in heard] == [0, 1, 2]
    await fleet.wait_reserved(0)
    assert not [one for one in client.received if isinstance(one, wire.MissingResult)]


async def test_a_slot_that_a_fail_over_forgot_is_taken_again(fleet: Fleet):
    """The node was known, and so did not register: its slot stayed free, and was given to a job too many."""
    client, node = fleet.client, fleet.node
    await node.register(capacity=1)
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    await fleet.wait_reserved(1)
    await fleet.store.client.call("ZREM", fleet.store.keys.node_jobs(NodeId(node.node_id)), job.job_id)
    await fleet.store.client.call("DEL", fleet.store.keys.job(JobId(job.job_id)))
    await fleet.wait_reserved(0)
    fleet.instances[-1].context.health.failed("test")
    await fleet.wait_reserved(1)
    await node.answer(job)
    await client.wait_for(wire.TranslationResult)
    await fleet.wait_reserved(0)


async def test_a_node_that_registers_again_on_its_connection_keeps_its_jobs(fleet: Fleet):
    """A node of protocol 1 does not say what it works on: its jobs lost their slots and were run elsewhere too."""
    client, node = fleet.client, fleet.node
    await node.register(capacity=2, protocol_version=None)
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    await node.register(capacity=3, protocol_version=None)
    await fleet.wait_reserved(1)
    await node.answer(job)
    assert (await client.wait_for(wire.TranslationResult)).utterance_index == 0
    await fleet.wait_reserved(0)
