"""The server that holds a fleet's keys changes: a slot moves, a master dies and its replica follows it."""

import asyncio
import random

import pytest

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.config import ConfigError, RedisConfig
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.cluster import Cluster, slot_of
from lingua_scheduler.store.configured import finder_of, keys_of
from lingua_scheduler.store.connection import RedisConnection
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.sentinel import Sentinels
from lingua_scheduler.store.servers import Endpoint, Finder
from lingua_scheduler.store.store import Store
from lingua_scheduler.store.streams import Inbox
from tests.redis_groups import QUICK_MS, RedisCluster, SentinelGroup, Server
from tests.store.samples import HERE, THERE, join
from tests.support.processes import Processes
from tests.support.waiting import wait_until

CLUSTERED = Keys(is_cluster=True)


@pytest.fixture
async def cluster(processes: Processes) -> RedisCluster:
    """Of a test's own: it changes it."""
    return await RedisCluster.start(processes)


async def wait_taken(store: Store, key: str) -> None:
    """Until the store takes a write."""

    async def is_taken() -> bool:
        try:
            return await store.client.call("SET", key, "1", "PX", 60_000) == "OK"
        except StoreError:
            return False

    await wait_until(is_taken, "a server that takes writes", 60)


def test_slots_are_those_of_the_servers():
    assert [slot_of(tag) for tag in ("123456789", "foo", "lingua")] == [0x31C3, 12182, slot_of("lingua")]


async def test_the_owner_is_found_through_any_node(cluster: RedisCluster):
    for server in cluster.masters:
        async with RedisClient.open(Cluster([server.url], "lingua")) as client:
            assert await client.call("SET", "{lingua}:x", "1") == "OK"
            assert await client.call("CLUSTER", "MYID") == await cluster.owner("lingua").ask("CLUSTER", "MYID")


async def test_a_node_that_is_away_is_passed_over(cluster: RedisCluster):
    [first, *_] = [server for server in cluster.masters if server is not cluster.owner("lingua")]
    await first.kill()
    async with RedisClient.open(Cluster([first.url, cluster.owner("lingua").url], "lingua")) as client:
        await client.call("CLUSTER", "MYID")


async def test_cells_of_one_cluster_never_meet(cluster: RedisCluster):
    """Of each its own prefix; the slots of these three lie with three masters."""
    cells: dict[int, str] = {}
    for number in range(100):
        cells.setdefault(cluster.masters.index(cluster.owner(f"cell{number}")), f"cell{number}")
    assert len(cells) == 3
    for master, cell in cells.items():
        async with Store.open(cluster.finder(cell), Keys(cell, is_cluster=True), rng=random.Random(1)) as store:
            await join(store, "n")
            assert [node.node_id for node in await store.nodes.snapshot()] == ["n"]
            names = await cluster.masters[master].ask("KEYS", "*")
            assert isinstance(names, list)
            assert names
            assert all(str(name).startswith(f"{{{cell}}}:") for name in names)


async def test_a_slot_moves_under_load(cluster: RedisCluster):
    """While it moves scripts wait, so that none of them sees half of the keys; nothing is lost or counted twice."""
    target = next(server for server in cluster.masters if server is not cluster.owner("lingua"))
    counted, is_moved, half_way = 0, asyncio.Event(), asyncio.Event()
    async with (
        Store.open(cluster.finder(), CLUSTERED, timeout_ms=30_000, rng=random.Random(1)) as store,
        Inbox.open(cluster.finder(), CLUSTERED, store.client, HERE) as inbox,
    ):
        await inbox.create()
        for number in range(20):
            await join(store, f"n{number}")

        async def count() -> None:
            nonlocal counted
            while not is_moved.is_set():
                await store.client.call("INCR", "{lingua}:count")
                await store.client.pipeline([("INCR", "{lingua}:count"), ("INCR", "{lingua}:other")])
                counted += 2
                if counted > 20:
                    half_way.set()

        async def talk() -> list[bytes]:
            heard: list[bytes] = []
            number = 0
            while not is_moved.is_set() or len(heard) < number:
                if not is_moved.is_set():
                    assert await inbox.publish(HERE, b"%d" % number)
                    number += 1
                for entry in await inbox.read():
                    heard.append(entry.payload)
                    await inbox.done([entry])
            return heard

        async def own() -> int:
            claims = 0
            while not is_moved.is_set():
                assert (await store.instances.claim_owner("nodes", f"x{claims}", InstanceId("i"))).is_ok
                claims += 1
            return claims

        async with asyncio.TaskGroup() as group:
            group.create_task(count())
            heard, claims = group.create_task(talk()), group.create_task(own())
            registering = group.create_task(join(store, "late"))
            await cluster.migrate("lingua", target, meanwhile=half_way)
            is_moved.set()
        assert heard.result() == [b"%d" % number for number in range(len(heard.result()))]
        assert await store.client.call("GET", "{lingua}:count") == str(counted)
        assert claims.result() > 0
        assert registering.result().is_ok
        assert len(await store.nodes.snapshot()) == 21
        assert await store.client.call("CLUSTER", "MYID") == await target.ask("CLUSTER", "MYID")


async def test_a_connection_made_for_a_slot_that_has_moved_meanwhile_does_not_stay(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
):
    """A command was pointed aside; before the connection to there was made, another learnt that the slot had moved.

    Whoever learns that closes what was made to ask aside: later nobody did, and a descriptor stayed open for good.
    """
    target = next(server for server in cluster.masters if server is not cluster.owner("lingua"))
    half_way, may_connect = asyncio.Event(), asyncio.Event()
    async with RedisClient.open(cluster.finder(), timeout_ms=30_000) as client:
        await client.call("SET", "{lingua}:x", "1")
        open_, connecting = client._open, asyncio.Event()
        made: list[RedisConnection] = []

        async def open_when_told(endpoint: Endpoint) -> RedisConnection:
            connecting.set()
            await may_connect.wait()
            made.append(await open_(endpoint))
            return made[-1]

        monkeypatch.setattr(client, "_open", open_when_told)
        async with asyncio.TaskGroup() as group:
            migrating = group.create_task(cluster.migrate("lingua", target, meanwhile=half_way))
            await wait_until(lambda: _is_pointed_on(cluster), "the key to be on its way")
            aside = group.create_task(client.call("GET", "{lingua}:x"))
            await connecting.wait()
            half_way.set()
            await migrating
            moved = group.create_task(client.call("GET", "{lingua}:x"))
            await wait_until(lambda: client._connection is None, "the client to learn that the slot has moved")
            may_connect.set()
        assert (aside.result(), moved.result()) == ("1", "1")
        assert [one.address.port for one in made] == [target.port] * 2
        assert [one for one in made if not one.is_closed] == [client._connection]


async def test_a_replica_takes_over_for_a_master_that_died(processes: Processes):
    cluster = await RedisCluster.start(processes, timeout_ms=QUICK_MS)
    owner = cluster.owner("lingua")
    replica = await cluster.add_replica(owner)
    async with Store.open(cluster.finder(), CLUSTERED, rng=random.Random(1)) as store:
        await join(store, "n")
        await store.client.call("WAIT", 1, 1000)

        await owner.kill()

        await wait_taken(store, "{lingua}:schedulers:presence:x")
        assert await store.client.call("CLUSTER", "MYID") == await replica.ask("CLUSTER", "MYID")
        assert [node.node_id for node in await store.nodes.snapshot()] == ["n"]
        assert (await join(store, "m")).is_ok, "scripts are given to the new master"


async def _failover(group: SentinelGroup, *, kills: bool) -> None:
    if kills:
        await group.master.kill()
    else:
        await group.sentinels[0].ask("SENTINEL", "FAILOVER", "lingua-master")


@pytest.mark.parametrize("kills", [True, False], ids=["the master dies", "the master becomes a replica"])
async def test_sentinels_name_another_master(processes: Processes, kills: bool):
    group = await SentinelGroup.start(processes)
    async with (
        Store.open(group.finder(), rng=random.Random(1)) as store,
        Inbox.open(group.finder(), Keys(), store.client, HERE) as inbox,
    ):
        await inbox.create()
        await join(store, "n")
        await store.client.call("WAIT", 1, 1000)

        await _failover(group, kills=kills)
        await group.wait_promoted()

        await wait_until(lambda: _is_served_by(store, group.replica), "the new master", 60)
        assert [node.node_id for node in await store.nodes.snapshot()] == ["n"]
        assert await inbox.publish(HERE, b"x")
        assert not await inbox.publish(THERE, b"x")

        async def is_read() -> bool:
            try:
                return [entry.payload for entry in await inbox.read()] == [b"x"]
            except StoreError:
                return False

        await wait_until(is_read, "the reader to follow", 60)


async def _is_served_by(store: Store, server: Server) -> bool:
    try:
        await store.client.call("SET", "lingua:schedulers:presence:x", "1", "PX", 60_000)
        return f"tcp_port:{server.port}" in str(await store.client.call("INFO", "server"))
    except StoreError:
        return False


async def test_sentinels_that_do_not_know_the_master_say_so(processes: Processes):
    group = await SentinelGroup.start(processes)
    finder = Sentinels(group.urls, "another", "redis://localhost")
    async with RedisClient.open(finder) as client:
        with pytest.raises(StoreError, match="knows no master 'another'") as caught:
            await client.call("PING")
    assert not caught.value.may_have_happened


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (RedisConfig(url="http://x"), "redis.url"),
        (
            RedisConfig(mode="cluster", cluster_urls=["redis://h/1"]),
            "a Redis Cluster has database 0 alone",
        ),
        (RedisConfig(mode="cluster", cluster_urls=["h:1"]), "redis.cluster_urls"),
        (RedisConfig(mode="sentinel", sentinel_urls=["h:1"]), "redis.sentinel_urls"),
    ],
)
def test_a_wrong_setting_is_named(settings: RedisConfig, told: str):
    with pytest.raises(ConfigError, match=told):
        finder_of(settings)


def test_modes_decide_how_keys_are_spelled():
    assert keys_of(RedisConfig(mode="cluster", key_prefix="cell")).v1 == "{cell}:v1:"
    assert keys_of(RedisConfig(mode="sentinel", sentinel_urls=["redis://h"])).v1 == "lingua:v1:"
    with pytest.raises(ConfigError, match=r"redis\.key_prefix"):
        keys_of(RedisConfig(key_prefix="{x}"))


def test_finders_are_shown_without_passwords():
    finders: list[Finder] = [
        finder_of(RedisConfig(url="redis://:hush@h")),
        finder_of(RedisConfig(mode="cluster", cluster_urls=["redis://:hush@h"])),
        finder_of(RedisConfig(mode="sentinel", sentinel_urls=["redis://:hush@h"])),
    ]
    assert not any("hush" in str(finder) for finder in finders)


async def _is_pointed_on(cluster: RedisCluster) -> bool:
    async with RedisClient.open(cluster.owner("lingua").url) as asker:
        try:
            await asker.call("GET", "{lingua}:x")
        except StoreError as error:
            return "ASK" in str(error)
    return False
