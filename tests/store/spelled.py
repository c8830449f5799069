"""The store's tests on a Redis Cluster: they spell keys as a single server has them, a cluster's carry a hash tag."""

from collections.abc import Sequence

from lingua_scheduler.store.client import RedisClient, Words
from lingua_scheduler.store.connection import Reply

_SPELLED = (
    ("scheduler:session:", "{lingua}:session:"),
    ("scheduler:job_key:", "{lingua}:job_key:"),
    ("lingua:", "{lingua}:"),
)


def _in_cluster(word: str | bytes | int, cell: str) -> str | bytes | int:
    if isinstance(word, str):
        for single, clustered in _SPELLED:
            if word.startswith(single):
                return clustered.replace("lingua", cell) + word.removeprefix(single)
    return word


def plain(name: str, cell: str = "lingua") -> str:
    """A key's name as a single server has it with the default prefix."""
    for single, clustered in _SPELLED:
        if name.startswith(spelled := clustered.replace("lingua", cell)):
            return single + name.removeprefix(spelled)
    return name


class SpellingClient(RedisClient):
    """Takes either spelling, and means the keys of `cell`."""

    cell = "lingua"

    async def call(self, *words: str | bytes | int) -> Reply:
        return await super().call(*(_in_cluster(word, self.cell) for word in words))

    async def pipeline(self, commands: Sequence[Words]) -> list[Reply]:
        return await super().pipeline([tuple(_in_cluster(word, self.cell) for word in words) for words in commands])
