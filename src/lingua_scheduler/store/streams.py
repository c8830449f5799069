"""The inbox of each instance: messages from peers, on a Redis stream, each handled at least once or dead-lettered.

An entry is acknowledged and deleted only after its effect is done. Entries that a dead instance had not finished are
claimed by others. Reading blocks, and so takes a client of its own: on the shared one it would hold up every command.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.replies import number, text

GROUP = "scheduler"
LENGTH_MAX = 10_000
"""Approximate: Redis trims whole nodes of a stream. A reader this far behind is dead or as good as dead."""
IDLE_MS = 5_000
"""Unfinished for so long by an instance that is gone, an entry may be claimed."""
DELIVERIES_MAX = 10
INBOX_TTL_MS = 120_000
GIVE_UP_MS = 60_000
"""An entry delivered `DELIVERIES_MAX` times and older than this goes to the dead letters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it lies in a stream."""

    entry_id: str
    body: bytes
    deliveries: int = 1

    @property
    def sent_at_ms(self) -> int:
        """Server wall time, which the id begins with."""
        return int(self.entry_id.partition("-")[0])


class Inboxes:
    """Writes to the inbox of any instance; reads and empties those it is asked to."""

    def __init__(self, client: RedisClient, keys: Keys, *, group: str = GROUP, length_max: int = LENGTH_MAX) -> None:
        self._client = client
        self._keys = keys
        self._group = group
        self._length_max = length_max

    async def publish(self, instance_id: InstanceId, body: bytes) -> bool:
        """Put a message into an instance's inbox. False where it has none: the instance is gone. Raises StoreError."""
        inbox = self._keys.inbox(instance_id)
        reply = await self._client.call("XADD", inbox, "NOMKSTREAM", "MAXLEN", "~", self._length_max, "*", "body", body)
        return reply is not None

    async def keep(self, instance_id: InstanceId) -> None:
        """The inbox lives for another `INBOX_TTL_MS`: it must not outlast a fleet that died as a whole."""
        await self._client.call("PEXPIRE", self._keys.inbox(instance_id), INBOX_TTL_MS)

    async def create(self, instance_id: InstanceId) -> None:
        """Make the inbox and its group; harmless where they exist."""
        try:
            await self._client.call("XGROUP", "CREATE", self._keys.inbox(instance_id), self._group, "0", "MKSTREAM")
        except StoreError as error:
            if "BUSYGROUP" not in str(error):
                raise
        await self.keep(instance_id)

    async def read(self, reader: RedisClient, instance_id: InstanceId, count: int, block_ms: int) -> list[Entry]:
        """The next entries, waiting for the first at most `block_ms`. `reader` is a client used for nothing else."""
        reply = await reader.call(
            "XREADGROUP", "GROUP", self._group, instance_id, "COUNT", count, "BLOCK", block_ms,
            "STREAMS", self._keys.inbox(instance_id), ">",
        )  # fmt: skip
        if not isinstance(reply, list):
            return []
        # RESP2: one pair of name and entries for each stream.
        [[_, entries]] = cast("list[list[Reply]]", reply)
        return _entries(entries)

    async def finish(self, instance_id: InstanceId, entry_ids: Sequence[str]) -> None:
        """Acknowledge and delete: their effects are done."""
        inbox = self._keys.inbox(instance_id)
        await self._client.pipeline([("XACK", inbox, self._group, *entry_ids), ("XDEL", inbox, *entry_ids)])

    async def take_unread(self, dead: InstanceId, claimer: InstanceId, count: int) -> list[Entry]:
        """Entries that an instance which is gone had not even read; they are the claimer's for `IDLE_MS`."""
        reply = await self._client.call(
            "XREADGROUP", "GROUP", self._group, claimer, "COUNT", count, "STREAMS", self._keys.inbox(dead), ">"
        )
        if not isinstance(reply, list):
            return []
        [[_, entries]] = cast("list[list[Reply]]", reply)
        return _entries(entries)

    async def reclaim(self, owner: InstanceId, claimer: InstanceId, count: int) -> list[Entry]:
        """Entries that were read `IDLE_MS` ago and not finished; they are the claimer's for as long."""
        inbox = self._keys.inbox(owner)
        reply = await self._client.call("XAUTOCLAIM", inbox, self._group, claimer, IDLE_MS, "0", "COUNT", count)
        claimed = _entries(cast("list[Reply]", reply)[1])
        return [await self._counted(inbox, entry) for entry in claimed]

    async def dead_letter(self, instance_id: InstanceId, entry: Entry, reason: str) -> None:
        """Put an entry that could not be handled aside, with the reason, and finish it."""
        await self._client.call(
            "XADD", self._keys.dlq(instance_id), "MAXLEN", "~", self._length_max, "*",
            "body", entry.body, "reason", reason, "entry", entry.entry_id, "deliveries", entry.deliveries,
        )  # fmt: skip
        await self.finish(instance_id, [entry.entry_id])

    async def lengths(self, instance_id: InstanceId) -> tuple[int, int]:
        """Entries in the inbox and in the dead letters."""
        inbox, dlq = self._keys.inbox(instance_id), self._keys.dlq(instance_id)
        replies = await self._client.pipeline([("XLEN", inbox), ("XLEN", dlq)])
        return number(replies[0]), number(replies[1])

    async def remove(self, instance_id: InstanceId) -> None:
        """The instance is gone and its inbox empty: remove it. Dead letters stay until somebody has looked at them."""
        await self._client.call("DEL", self._keys.inbox(instance_id))

    async def _counted(self, inbox: str, entry: Entry) -> Entry:
        reply = await self._client.call("XPENDING", inbox, self._group, entry.entry_id, entry.entry_id, 1)
        rows = cast("list[list[Reply]]", reply or [])
        return Entry(entry.entry_id, entry.body, number(rows[0][3]) if rows else 1)


def _entries(reply: Reply) -> list[Entry]:
    """Entries out of `[[id, [field, value, …]], …]`; those deleted meanwhile have no fields."""
    rows = cast("list[list[Reply]]", reply or [])
    found: list[Entry] = []
    for entry_id, fields in rows:
        if isinstance(fields, list):
            named = dict(zip(fields[::2], fields[1::2], strict=True))
            body = text(named["body"])
            found.append(Entry(text(entry_id), body.encode("utf-8", "surrogateescape")))
    return found
