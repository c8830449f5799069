"""Redis Cluster and Sentinel for tests: real servers on free ports of 127.0.0.1, ended with their `Processes`.

Cluster nodes are introduced to each other by hand, so that no tool is needed that Debian ships apart.
"""

import asyncio
import itertools
import signal
from dataclasses import dataclass, field
from typing import cast

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.cluster import SLOTS, Cluster, slot_of
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.sentinel import Sentinels
from tests.redis_servers import REDIS, binary_of
from tests.support.ports import free_port
from tests.support.processes import Child, Processes
from tests.support.waiting import wait_until

PATIENT_MS = 15_000
"""The node timeout of a cluster in which nothing is to fail over: a busy machine is no reason to."""
QUICK_MS = 1500
MASTER_NAME = "lingua-master"
_START_S = 60
_PORT_TRIES = 5


@dataclass(slots=True)
class Server:
    """One Redis process."""

    port: int
    child: Child

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def ask(self, *words: str | int) -> Reply:
        async with RedisClient.open(self.url) as client:
            return await client.call(*words)

    async def said(self, *words: str | int) -> str:
        """The reply as text; "" where there is none."""
        try:
            return str(await self.ask(*words))
        except StoreError:
            return ""

    async def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        await self.child.wait_exit()


async def start_server(processes: Processes, *options: str, config: str | None = None, cluster: bool = False) -> Server:
    """A server that answers; on another port where somebody took the first in between. `config`: of a sentinel."""
    program = binary_of(REDIS).path
    for _ in range(_PORT_TRIES):
        port = free_port()
        folder = processes.folder / str(port)
        folder.mkdir()
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--loglevel", "notice", *options]
        if cluster:
            words += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        if config is not None:
            (folder / "sentinel.conf").write_text(config)
            words = [str(folder / "sentinel.conf"), "--sentinel", *words]
        else:
            words += ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        server = Server(port, processes.start(program, *words))
        if await wait_until(lambda server=server: _is_decided(server), f"Redis on {port}", _START_S) == "answers":
            return server
    raise AssertionError(f"no port for Redis\n{processes.children[-1].story()}")


async def _is_decided(server: Server) -> str:
    if not server.child.running:
        return "ended"
    return "answers" if await server.said("PING") == "PONG" else ""


@dataclass(slots=True)
class RedisCluster:
    """Masters that share the slots evenly, and replicas of some of them."""

    processes: Processes
    timeout_ms: int
    masters: list[Server] = field(default_factory=list[Server])
    replicas: list[Server] = field(default_factory=list[Server])

    @staticmethod
    async def start(processes: Processes, *, masters: int = 3, timeout_ms: int = PATIENT_MS) -> "RedisCluster":
        cluster = RedisCluster(processes, timeout_ms)
        cluster.masters = list(await asyncio.gather(*(cluster._server() for _ in range(masters))))
        edges = [SLOTS * at // masters for at in range(masters + 1)]
        for number, (server, (first, end)) in enumerate(zip(cluster.masters, itertools.pairwise(edges), strict=True)):
            await server.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            await server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other in cluster.masters[1:]:
            await cluster._introduce(other)
        await cluster.wait_ok()
        return cluster

    @property
    def urls(self) -> list[str]:
        return [server.url for server in (*self.masters, *self.replicas)]

    def finder(self, tag: str = "lingua") -> Cluster:
        return Cluster(self.urls, tag)

    def owner(self, tag: str) -> Server:
        """The master of a tag's slot, as it was at the start."""
        return self.masters[slot_of(tag) * len(self.masters) // SLOTS]

    async def add_replica(self, master: Server) -> Server:
        """In step with `master` when it returns."""
        replica = await self._server()
        await self._introduce(replica)
        master_id = await master.said("CLUSTER", "MYID")
        await wait_until(lambda: _did(replica, "CLUSTER", "REPLICATE", master_id), "a replica to know its master", 30)
        await wait_in_step(replica)
        self.replicas.append(replica)
        await self.wait_ok()
        return replica

    async def wait_ok(self) -> None:
        """Until every node that runs knows all others and finds the cluster whole."""
        servers = [server for server in (*self.masters, *self.replicas) if server.child.running]

        async def is_ok() -> bool:
            told = [await server.said("CLUSTER", "INFO") for server in servers]
            known = f"cluster_known_nodes:{len(self.masters) + len(self.replicas)}"
            return all("cluster_state:ok" in one and known in one for one in told)

        await wait_until(is_ok, "the cluster to be whole", _START_S)

    async def flush(self) -> None:
        for server in self.masters:
            await server.ask("FLUSHALL")
            await server.ask("CONFIG", "RESETSTAT")

    async def migrate(self, tag: str, target: Server, *, meanwhile: "asyncio.Event | None" = None) -> None:
        """Move the slot of `tag` from its owner to `target`, key by key; half-way it waits for `meanwhile`."""
        slot, source = slot_of(tag), self.owner(tag)
        ids = {server.port: await server.said("CLUSTER", "MYID") for server in (source, target)}
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        while keys := cast("list[str]", await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 3)):
            await source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            if meanwhile is not None:
                await meanwhile.wait()
        for server in (target, source, *self.masters):
            await server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    async def _server(self) -> Server:
        options = ("--cluster-node-timeout", str(self.timeout_ms), "--cluster-replica-validity-factor", "0")
        return await start_server(self.processes, *options, cluster=True)

    async def _introduce(self, other: Server) -> None:
        bus = cast("list[str]", await other.ask("CONFIG", "GET", "cluster-port"))[1]
        await self.masters[0].ask("CLUSTER", "MEET", "127.0.0.1", other.port, bus)


@dataclass(slots=True)
class SentinelGroup:
    """A master with one replica, watched by three sentinels."""

    processes: Processes
    master: Server
    replica: Server
    sentinels: list[Server]

    @staticmethod
    async def start(processes: Processes, *, timeout_ms: int = QUICK_MS) -> "SentinelGroup":
        master = await start_server(processes)
        replica = await start_server(processes, "--replicaof", f"127.0.0.1 {master.port}")
        await wait_in_step(replica)
        config = (
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master.port} 2\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} {timeout_ms}\n"
            f"sentinel failover-timeout {MASTER_NAME} {6 * timeout_ms}\n"
        )
        sentinels = list(await asyncio.gather(*(start_server(processes, config=config) for _ in range(3))))
        for sentinel in sentinels:
            await wait_until(lambda one=sentinel: _knows_all(one), "the sentinels to know each other", _START_S)
        return SentinelGroup(processes, master, replica, sentinels)

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.sentinels]

    def finder(self) -> Sentinels:
        return Sentinels(self.urls, MASTER_NAME, "redis://localhost")

    async def wait_promoted(self) -> None:
        await wait_until(lambda: _is_master(self.replica), "the replica to be made master", _START_S)


async def wait_in_step(replica: Server) -> None:
    async def is_in_step() -> bool:
        return "master_link_status:up" in await replica.said("INFO", "replication")

    await wait_until(is_in_step, "a replica to be in step", _START_S)


async def _is_master(server: Server) -> bool:
    return "role:master" in await server.said("INFO", "replication")


async def _did(server: Server, *words: str) -> bool:
    return await server.said(*words) == "OK"


async def _knows_all(sentinel: Server) -> bool:
    told = await sentinel.said("SENTINEL", "MASTER", MASTER_NAME)
    return "'num-other-sentinels', '2'" in told and "'num-slaves', '1'" in told
