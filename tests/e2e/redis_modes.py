"""A fleet's Redis that is a shard of a Redis Cluster, or whichever server the sentinels name."""

import json
from dataclasses import dataclass
from typing import cast

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.cluster import Cluster
from lingua_scheduler.store.servers import Finder
from tests.e2e.fleet import PATIENT_MS, Redis, Reply
from tests.redis_groups import MASTER_NAME, RedisCluster, SentinelGroup
from tests.store.spelled import SpellingClient, plain

_PREFIX = "LINGUA_SCHEDULER__PHASE2__REDIS__"


@dataclass(slots=True, kw_only=True)
class FoundRedis(Redis):
    """Key names are those of a single server with the default prefix, in questions and in answers."""

    finder: Finder
    cell: str = "lingua"

    @property
    def serve_options(self) -> tuple[str, ...]:
        return ()

    async def ask(self, *words: str) -> Reply:
        client = (SpellingClient if isinstance(self.finder, Cluster) else RedisClient)(self.finder, PATIENT_MS)
        if isinstance(client, SpellingClient):
            client.cell = self.cell
        try:
            return cast("Reply", await client.call(*words))
        finally:
            client.close()

    async def keys(self, pattern: str = "*") -> list[str]:
        names = await self.ask("KEYS", pattern)
        assert isinstance(names, list)
        return sorted(plain(name, self.cell) for name in names)


def in_cluster(cluster: RedisCluster, cell: str = "lingua") -> FoundRedis:
    env = {
        f"{_PREFIX}MODE": "cluster",
        f"{_PREFIX}CLUSTER_URLS": json.dumps(cluster.urls),
        f"{_PREFIX}KEY_PREFIX": cell,
    }
    return FoundRedis(processes=cluster.processes, env=env, finder=cluster.finder(cell), cell=cell)


def behind_sentinels(group: SentinelGroup) -> FoundRedis:
    env = {
        f"{_PREFIX}MODE": "sentinel",
        f"{_PREFIX}SENTINEL_URLS": json.dumps(group.urls),
        f"{_PREFIX}SENTINEL_MASTER": MASTER_NAME,
    }
    return FoundRedis(processes=group.processes, env=env, finder=group.finder())
