"""Scheduler instances in the store: who is there, who owns which node and session, and clearing up after the dead."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lingua_scheduler.protocol.ids import InstanceId, NodeId
from lingua_scheduler.store.client import Script, ScriptRunner, Words
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.keys import LEAVING_TTL_MS, OWNER_TTL_MS, PRESENCE_TTL_MS
from lingua_scheduler.store.records import OwnedKind, OwnerReply, Presence, ReapReply, Word
from lingua_scheduler.store.replies import held_jobs, items, number, offers, text, texts

_CLAIM = Script("claim_owner")
_RENEW = Script("renew_owner")
_RELEASE = Script("release_owner")
_REAP = Script("reap")
REAP_ROUND = 16
"""How many overdue entries one round of clearing looks at: it bounds the script to about a quarter of a millisecond."""


@dataclass(frozen=True, slots=True)
class Known:
    """All instances with a name in the store, each list by id."""

    alive: list[tuple[InstanceId, Presence]]
    with_inbox: list[InstanceId]
    """Gone; what was meant for them is not dealt with."""
    with_dead_letters: list[InstanceId]
    """Gone; they left dead letters, for a day."""


class InstanceStore:
    """Presence of instances and ownership of nodes and sessions."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys

    async def announce(self, presence: Presence) -> None:
        """This instance lives, for 30 s from now; repeated every 15 s."""
        value = msgspec.json.encode(msgspec.to_builtins(presence))
        name = presence.instance_id
        await self._client.pipeline([
            ("SET", self._keys.presence(name), value, "PX", PRESENCE_TTL_MS),
            ("SADD", self._keys.instances, name),
        ])  # fmt: skip

    async def withdraw(self, instance_id: InstanceId) -> None:
        """A graceful stop: gone at once. Its name goes with the next `list`, unless it left dead letters."""
        await self._client.call("DEL", self._keys.presence(instance_id), self._keys.report(instance_id))
        await self.known()

    async def tell_leaving(self) -> None:
        """This instance's nodes move to others now: whoever misses one waits, for `LEAVING_TTL_MS`."""
        await self._client.call("SET", self._keys.leaving, "1", "PX", LEAVING_TTL_MS)

    async def is_one_leaving(self) -> bool:
        """Whether nodes that are missing may be on their way from one instance to another."""
        return bool(await self._client.call("EXISTS", self._keys.leaving))

    async def list(self) -> list[Presence]:
        """Every live instance, by id."""
        return [presence for _, presence in (await self.known()).alive]

    async def dead(self) -> "list[InstanceId]":
        """Instances that are gone and whose inbox is not: somebody should take it over and remove it."""
        return (await self.known()).with_inbox

    async def exchange(self, me: InstanceId, report: bytes, peers: Sequence[InstanceId]) -> "list[str]":
        """Leave this instance's report for the pages and read those of `peers`, as far as there are any."""
        words = ("SET", self._keys.report(me), report, "PX", PRESENCE_TTL_MS)
        commands: list[Words] = [words, ("MGET", *map(self._keys.report, peers))] if peers else [words]
        replies = await self._client.pipeline(commands)
        return [text(reply) for reply in items(replies[1]) if reply is not None] if peers else []

    async def known(self) -> Known:
        """Who lives, and who is gone and left something. Names of others that are gone are removed on the way."""
        names = [InstanceId(name) for name in sorted(texts(await self._client.call("SMEMBERS", self._keys.instances)))]
        if not names:
            return Known([], [], [])
        values = items(await self._client.call("MGET", *map(self._keys.presence, names)))
        alive = [
            (name, msgspec.json.decode(text(value), type=Presence))
            for name, value in zip(names, values, strict=True)
            if value is not None
        ]
        missing = [name for name, value in zip(names, values, strict=True) if value is None]
        left = await self._client.pipeline(
            [("EXISTS", key) for name in missing for key in (self._keys.inbox(name), self._keys.dlq(name))]
        )
        with_inbox = [name for name, inbox in zip(missing, left[::2], strict=True) if inbox]
        with_dlq = [name for name, dlq in zip(missing, left[1::2], strict=True) if dlq]
        if gone := sorted({*missing} - {*with_inbox, *with_dlq}):
            await self._client.call("SREM", self._keys.instances, *gone)
        return Known(alive, with_inbox, with_dlq)

    async def is_alive(self, instance_id: InstanceId) -> bool:
        return bool(await self._client.call("EXISTS", self._keys.presence(instance_id)))

    async def claim_owner(
        self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, *, take_over: bool = False
    ) -> OwnerReply:
        """Own a node or session for 45 s, under a higher epoch than any before.

        Words: OK (with the epoch), HELD (by whom; not with `take_over`: a newer registration or a resume). Who owns it
        already gets its present epoch again.
        """
        key = self._keys.owner(kind, owned_id)
        return _owner(await self._run.on_keys(_CLAIM, (key,), instance_id, int(take_over), OWNER_TTL_MS))

    async def renew_owner(self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, epoch: int) -> OwnerReply:
        """Another 45 s. Words: OK, LOST: what the caller still does for it must stop."""
        key = self._keys.owner(kind, owned_id)
        return _owner(await self._run.on_keys(_RENEW, (key,), instance_id, epoch, OWNER_TTL_MS))

    async def release_owner(self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, epoch: int) -> OwnerReply:
        """Words: OK, LOST (nothing was removed)."""
        key = self._keys.owner(kind, owned_id)
        return _owner(await self._run.on_keys(_RELEASE, (key,), instance_id, epoch))

    async def owner_of(self, kind: OwnedKind, owned_id: str) -> InstanceId | None:
        owner, _, _ = text(await self._client.call("GET", self._keys.owner(kind, owned_id))).rpartition(":")
        return InstanceId(owner) if owner else None

    async def reap(self) -> ReapReply:
        """One round of clearing up after the dead; any instance may, every few seconds one should.

        Frees the slots of leases that ended 5 s ago and whose owner is gone (after 30 s whoever the owner is) and
        removes nodes whose heartbeat ended. Bounded: at most `REAP_ROUND` entries are looked at.
        """
        reply = await self._run(_REAP, REAP_ROUND)
        return ReapReply(
            jobs=held_jobs(reply[1]),
            nodes=tuple(NodeId(node) for node in texts(reply[2])),
            offers=offers(reply[3]),
            is_more_due=bool(number(reply[4])),
        )


def _owner(reply: list[Reply]) -> OwnerReply:
    owner, _, epoch = text(reply[1]).rpartition(":")
    return OwnerReply(Word(text(reply[0])), InstanceId(owner) if owner else None, number(epoch))
