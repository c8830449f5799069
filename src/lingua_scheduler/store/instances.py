"""Scheduler instances in the store: who is there, who owns which node and session, and clearing up after the dead."""

import msgspec

from lingua_scheduler.protocol.ids import InstanceId, NodeId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.keys import OWNER_TTL_MS, PRESENCE_TTL_MS
from lingua_scheduler.store.records import OwnedKind, OwnerReply, Presence, ReapReply, Word
from lingua_scheduler.store.replies import held_jobs, items, number, offers, text, texts

_CLAIM = Script("claim_owner")
_RENEW = Script("renew_owner")
_RELEASE = Script("release_owner")
_REAP = Script("reap")
REAP_ROUND = 16
"""How many overdue entries one round of clearing looks at: it bounds the script to about a quarter of a millisecond."""


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
        """A graceful stop: gone at once."""
        await self._client.pipeline([
            ("DEL", self._keys.presence(instance_id)),
            ("SREM", self._keys.instances, instance_id),
        ])  # fmt: skip

    async def list(self) -> list[Presence]:
        """Every live instance, by id."""
        return [presence for _, presence in await self._known() if presence is not None]

    async def dead(self) -> "list[InstanceId]":
        """Instances that are gone and whose inbox is not: somebody should take it over and remove it."""
        return [instance_id for instance_id, presence in await self._known() if presence is None]

    async def _known(self) -> "list[tuple[InstanceId, Presence | None]]":
        """By id. Names of instances that are gone, inbox and all, are removed on the way."""
        names = [InstanceId(name) for name in sorted(texts(await self._client.call("SMEMBERS", self._keys.instances)))]
        if not names:
            return []
        values = items(await self._client.call("MGET", *map(self._keys.presence, names)))
        known = [
            (name, None if value is None else msgspec.json.decode(text(value), type=Presence))
            for name, value in zip(names, values, strict=True)
        ]
        missing = [name for name, presence in known if presence is None]
        has_inbox = await self._client.pipeline([("EXISTS", self._keys.inbox(name)) for name in missing])
        if gone := [name for name, is_there in zip(missing, has_inbox, strict=True) if not is_there]:
            await self._client.call("SREM", self._keys.instances, *gone)
        return [(name, presence) for name, presence in known if name not in gone]

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
