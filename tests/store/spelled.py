"""The store's tests on a Redis Cluster: they spell keys as a single server has them, a cluster's carry a hash tag."""

from collections.abc import Sequence

from lingua_scheduler.store.client import RedisClient, Words
from lingua_scheduler.store.connection import Reply

_SPELLED = (
    ("scheduler:session:", "{lingua}:session:"),
    ("scheduler:job_key:", "{lingua}:job_key:"),
    ("lingua:", "{lingua}:"),
)


def _in_cluster(word: str | bytes | int) -> str | bytes | int:
    if isinstance(word, str):
        for single, clustered in _SPELLED:
            if word.startswith(single):
                return clustered + word.removeprefix(single)
    return word


def plain(name: str) -> str:
    """A key's name as a single server has it."""
    for single, clustered in _SPELLED:
        if name.startswith(clustered):
            return single + name.removeprefix(clustered)
    return name


class SpellingClient(RedisClient):
    """Takes either spelling."""

    async def call(self, *words: str | bytes | int) -> Reply:
        return await super().call(*map(_in_cluster, words))

    async def pipeline(self, commands: Sequence[Words]) -> list[Reply]:
        return await super().pipeline([tuple(map(_in_cluster, words)) for words in commands])
