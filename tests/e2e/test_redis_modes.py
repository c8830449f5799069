"""Fleets on a Redis Cluster and behind sentinels: they work as on one server, and outlive the death of its master."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from lingua_scheduler.protocol.errors import ErrorCode
from tests.e2e.fleet import Fleet
from tests.e2e.redis_modes import behind_sentinels, in_cluster
from tests.e2e.talk import Talk, talking
from tests.redis_groups import QUICK_MS, RedisCluster, SentinelGroup
from tests.support import wait_until
from tests.support.processes import Processes

DOWN = ErrorCode.SCHEDULER_DEPENDENCY_DOWN


async def talk_through(
    fleet: Fleet, fail: Callable[[], Awaitable[object]], heal: Callable[[], Awaitable[object]]
) -> None:
    """Two instances with a node each and a client each talk on while `fail` happens, and after `heal`."""
    a, b = await fleet.serve(2)
    await asyncio.gather(fleet.node("far", b, work_ms=30), fleet.node("near", a, work_ms=30))
    async with talking(a.url) as here, talking(b.url) as there:
        for talk in (here, there):
            await talk.speak(4)
        await asyncio.gather(*(talk.wait_outcomes(4) for talk in (here, there)))

        await asyncio.gather(here.speak(4), there.speak(4), fail())
        await asyncio.gather(here.speak(4), there.speak(4))
        await heal()
        await asyncio.gather(a.wait_ready(), b.wait_ready())

        await asyncio.gather(here.speak(4), there.speak(4))
        await asyncio.gather(here.finish(60), there.finish(60))
    for talk in (here, there):
        assert_unharmed(talk)
    await fleet.finish()


def assert_unharmed(talk: Talk) -> None:
    assert not talk.missing()
    assert not talk.disconnections()
    assert talk.errors(DOWN) <= 1


async def test_a_slot_moves_while_people_talk(processes: Processes):
    cluster = await RedisCluster.start(processes)
    target = next(server for server in cluster.masters if server is not cluster.owner("lingua"))
    fleet = Fleet(processes, in_cluster(cluster))

    async def heal() -> None:
        await wait_until(lambda: _has_keys(fleet), "the keys to be there")

    await talk_through(fleet, lambda: cluster.migrate("lingua", target), heal)


async def test_a_replica_of_the_shard_takes_over_while_people_talk(processes: Processes):
    cluster = await RedisCluster.start(processes, timeout_ms=QUICK_MS)
    owner = cluster.owner("lingua")
    replica = await cluster.add_replica(owner)

    async def is_master() -> bool:
        return "role:master" in await replica.said("INFO", "replication")

    await talk_through(
        Fleet(processes, in_cluster(cluster)), owner.kill, lambda: wait_until(is_master, "the replica's promotion", 60)
    )


async def test_cells_of_one_cluster_do_not_notice_each_other(processes: Processes):
    """Two fleets with nodes of the same name, on two masters: one loses its node and an instance, the other nothing."""
    cluster = await RedisCluster.start(processes)
    names = (f"cell{number}" for number in range(100))
    elsewhere = next(name for name in names if cluster.owner(name) is not cluster.owner("lingua"))
    stricken, calm = Fleet(processes, in_cluster(cluster)), Fleet(processes, in_cluster(cluster, elsewhere))
    (a, b), (c, d) = await asyncio.gather(stricken.serve(2), calm.serve(2))
    victim, node = await asyncio.gather(stricken.node("node", b, work_ms=-1), calm.node("node", d, work_ms=-1))
    async with talking(a.url) as here, talking(c.url) as there:
        await asyncio.gather(here.speak(2), there.speak(2))
        await asyncio.gather(victim.wait_jobs(2), node.wait_jobs(2))
        victim.child.send(signal.SIGKILL)
        b.child.send(signal.SIGKILL)
        await stricken.node("node", a)
        node.release()
        await asyncio.gather(here.finish(), there.finish())
    assert [one.attempt for one in here.heard] == [2, 2]
    assert [one.attempt for one in there.heard] == [1, 1]
    assert node.jobs() == [(0, 1), (1, 1)]
    await asyncio.gather(stricken.finish(), calm.finish())


async def test_a_master_behind_sentinels_dies_while_people_talk(processes: Processes):
    group = await SentinelGroup.start(processes)
    await talk_through(Fleet(processes, behind_sentinels(group)), group.master.kill, group.wait_promoted)


async def _has_keys(fleet: Fleet) -> bool:
    return bool(await fleet.redis.keys())
