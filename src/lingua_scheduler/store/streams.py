"""Messages between instances: one inbox (a Redis stream) per instance, read in blocks on a connection of its own.

An entry is delivered at least once: it stays pending until `done` says that its effect has happened, and what an
instance that died had pending, or never read, is taken over by another. An entry that was delivered ten times and is a
minute old goes to the dead-letter stream with its reason. A stream holds about 10,000 entries: past that the oldest are
dropped, for a receiver so far behind is as good as gone; `state` shows who is behind.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.client import RedisClient, Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import DLQ_TTL_MS, Keys
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.replies import items, number, text
from lingua_scheduler.store.servers import Finder

_DEAD_LETTER = Script("dead_letter")
_REMOVE = Script("remove_inbox")
_FIELD = "message"
_SLACK_MS = 2000
PEEK_MAX = 1000


@dataclass(frozen=True, slots=True)
class InboxConfig:
    """Relations: `reclaim_idle_ms` is longer than the slowest effect, or an entry is processed twice side by side."""

    group: str = "scheduler"
    block_ms: int = 1000
    """How long one read waits; a stop of the reader may take as long."""
    count: int = 64
    """Entries per read."""
    maxlen: int = 10_000
    reclaim_idle_ms: int = 5000
    dead_deliveries: int = 10
    dead_age_ms: int = 60_000
    """Since it was written: each delivery would start an idle time anew."""
    dlq_maxlen: int = 10_000
    """Dead letters that are kept; 0: none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it lies in an inbox. `inbox_of` is another instance's where it was taken over."""

    entry_id: str
    inbox_of: InstanceId
    payload: bytes


@dataclass(frozen=True, slots=True)
class InboxState:
    """For the pages and the metrics."""

    length: int
    pending: int
    dead: int


class Inbox:
    """One instance's inbox, and its way to those of others. Every call raises StoreError where Redis cannot answer."""

    def __init__(self, run: ScriptRunner, reader: RedisClient, instance_id: InstanceId, config: InboxConfig) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys
        self._reader = reader
        self._me = instance_id
        self._claimed_to: dict[InstanceId, str] = {}
        self._config = config

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(
        where: str | Finder, keys: Keys, client: RedisClient, instance_id: InstanceId, config: InboxConfig | None = None
    ) -> "AsyncGenerator[Inbox]":
        """Commands go over `client`, shared with the store; blocking reads over another. Call `create` first."""
        chosen = config or InboxConfig()
        async with RedisClient.open(where, timeout_ms=chosen.block_ms + _SLACK_MS, is_binary=True) as reader:
            yield Inbox(ScriptRunner(client, keys), reader, instance_id, chosen)

    # ------------------------------------------------------------------------------- the own inbox

    async def create(self) -> None:
        """The inbox can be written to from now on. Harmless where it is there already."""
        try:
            words = ("XGROUP", "CREATE", self._keys.inbox(self._me), self._config.group, "0", "MKSTREAM")
            await self._client.call(*words)
        except StoreError as fault:
            if "BUSYGROUP" not in str(fault):
                raise

    async def read(self) -> list[Entry]:
        """The next entries, or none after `block_ms`. An inbox that Redis lost is made anew."""
        config = self._config
        words = (
            "XREADGROUP", "GROUP", config.group, self._me, "COUNT", config.count, "BLOCK", config.block_ms,
            "STREAMS", self._keys.inbox(self._me), ">",
        )  # fmt: skip
        try:
            return self._entries(self._me, await self._reader.call(*words))
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            await self.create()
            return []

    async def redeliver(self) -> list[Entry]:
        """What this instance read at least `reclaim_idle_ms` ago and has not said `done` to: its effect failed."""
        return await self._claim(self._me)

    async def unfinished(self) -> list[Entry]:
        """What this instance read and has not said `done` to, however short a time ago."""
        config = self._config
        words = (
            "XREADGROUP", "GROUP", config.group, self._me, "COUNT", config.maxlen,
            "STREAMS", self._keys.inbox(self._me), "0",
        )  # fmt: skip
        try:
            return self._entries(self._me, await self._reader.call(*words))
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            return []

    async def done(self, entries: Iterable[Entry]) -> None:
        """Their effects have happened."""
        by_inbox: dict[InstanceId, list[str]] = {}
        for entry in entries:
            by_inbox.setdefault(entry.inbox_of, []).append(entry.entry_id)
        commands: list[tuple[str, ...]] = []
        for instance_id, ids in by_inbox.items():
            inbox = self._keys.inbox(instance_id)
            commands += [("XACK", inbox, self._config.group, *ids), ("XDEL", inbox, *ids)]
        await self._client.pipeline(commands)

    async def close_down(self) -> bool:
        """A graceful stop, after the inbox was emptied: it is removed."""
        return await self.remove(self._me)

    # ------------------------------------------------------------------------------- other inboxes

    async def publish(self, to: InstanceId, payload: bytes) -> bool:
        """False where that instance has no inbox: it is gone, or was never there."""
        words = ("XADD", self._keys.inbox(to), "NOMKSTREAM", "MAXLEN", "~", self._config.maxlen, "*", _FIELD, payload)
        return await self._client.call(*words) is not None

    async def peek(self, instance_id: InstanceId) -> list[Entry]:
        """The newest entries of any inbox, read by its owner or not, without taking them."""
        words = ("XREVRANGE", self._keys.inbox(instance_id), "+", "-", "COUNT", PEEK_MAX)
        return self._entries(instance_id, [["", await self._client.call(*words)]])[::-1]

    async def take_over(self, dead: InstanceId) -> list[Entry]:
        """Entries of an instance that is gone: those that it had read and not done, then those that it never read.

        Call until it returns none, then `remove`. Two instances that do this at once get different entries.
        """
        claimed = await self._claim(dead)
        if claimed:
            return claimed
        config = self._config
        words = (
            "XREADGROUP", "GROUP", config.group, self._me, "COUNT", config.count, "STREAMS", self._keys.inbox(dead), ">"
        )  # fmt: skip
        try:
            return self._entries(dead, await self._client.call(*words))
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            return []

    async def remove(self, instance_id: InstanceId) -> bool:
        """The instance's inbox, once it is empty; False where it is not. Its dead letters stay for a day."""
        keys = (self._keys.inbox(instance_id), self._keys.dlq(instance_id))
        reply = await self._run.on_keys(_REMOVE, keys, DLQ_TTL_MS)
        return Word(text(reply[0])) is Word.OK

    async def give_up(self, inbox_of: InstanceId, reasons: Mapping[str, str], *, at_once: bool = False) -> int:
        """Dead letters are made of entries delivered `dead_deliveries` times and `dead_age_ms` old; how many.

        `reasons` tell by entry id why its effect failed. `at_once`: of every entry that is pending.
        """
        config, inbox = self._config, self._keys.inbox(inbox_of)
        words = ("XPENDING", inbox, config.group, "-", "+", config.count)
        try:
            pending, time = await self._client.pipeline([words, ("TIME",)])
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            return 0
        seconds, micros = map(number, items(time))
        written_before_ms = seconds * 1000 + micros // 1000 - config.dead_age_ms
        given_up = [
            entry_id
            for entry_id, _, _, deliveries in ((text(row[0]), *row[1:]) for row in map(items, items(pending)))
            if at_once
            or (number(deliveries) >= config.dead_deliveries and int(entry_id.partition("-")[0]) <= written_before_ms)
        ]
        keys = (inbox, self._keys.dlq(inbox_of))
        for entry_id in given_up:
            reason = reasons.get(entry_id, "its effect never happened")
            await self._run.on_keys(_DEAD_LETTER, keys, config.group, entry_id, reason, config.dlq_maxlen)
        return len(given_up)

    async def state(self, instance_id: InstanceId) -> InboxState:
        inbox = self._keys.inbox(instance_id)
        length, dead = await self._client.pipeline([("XLEN", inbox), ("XLEN", self._keys.dlq(instance_id))])
        pending = await self._client.call("XPENDING", inbox, self._config.group) if number(length) else None
        return InboxState(number(length), number(items(pending)[0]) if pending else 0, number(dead))

    # ------------------------------------------------------------------------------- inside

    async def _claim(self, inbox_of: InstanceId) -> list[Entry]:
        config = self._config
        words = (
            "XAUTOCLAIM", self._keys.inbox(inbox_of), config.group, self._me, config.reclaim_idle_ms,
            self._claimed_to.get(inbox_of, "0"), "COUNT", config.count,
        )  # fmt: skip
        try:
            reply = items(await self._client.call(*words))
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            return []
        # The next call goes on behind these: many that fail again and again must not hide the rest.
        if (claimed_to := text(reply[0])) == "0-0":
            self._claimed_to.pop(inbox_of, None)
        else:
            self._claimed_to[inbox_of] = claimed_to
        return self._entries(inbox_of, [["", reply[1]]])

    def _entries(self, inbox_of: InstanceId, reply: Reply) -> list[Entry]:
        """One stream's part of a read: `[[name, [[id, [field, value]], …]]]`, or nil."""
        rows = [items(row) for stream in items(reply) for row in items(items(stream)[1])]
        return [Entry(_bytes(entry_id).decode(), inbox_of, _bytes(items(fields)[1])) for entry_id, fields in rows]


def _bytes(value: Reply) -> bytes:
    return value if isinstance(value, bytes) else text(value).encode("utf-8", "surrogateescape")
