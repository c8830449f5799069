"""All inboxes and dead letters of a fleet, for the people who look after it: how full they are, what lies in them.

How an instance reads and writes its own is in `streams.py`.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.client import ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.replies import items, number, text
from lingua_scheduler.store.streams import InboxState

LETTERS_MAX = 25
"""At a look: each may hold a minute of speech."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be processed."""

    letter_id: str
    """In the dead-letter stream; its head is the time, in ms of the server's clock, when it was given up."""
    entry_id: str
    """In the inbox that it came from; its head is the time when it was written."""
    reason: str
    payload: bytes


class Inboxes:
    """Every call raises StoreError where Redis cannot answer; each is safe to repeat."""

    def __init__(self, run: ScriptRunner) -> None:
        self._client = run.client
        self._keys = run.keys

    async def states(self, instances: Iterable[InstanceId], group: str) -> dict[InstanceId, InboxState]:
        """Two round trips for all of them."""
        names = list(instances)
        lengths = await self._client.pipeline(
            [("XLEN", key) for name in names for key in (self._keys.inbox(name), self._keys.dlq(name))]
        )
        found = {
            name: InboxState(number(length), 0, number(dead))
            for name, length, dead in zip(names, lengths[::2], lengths[1::2], strict=True)
        }
        # Where nothing lies in an inbox nothing is pending.
        full = [name for name in names if found[name].length]
        pending_in = await asyncio.gather(*(self._pending(name, group) for name in full))
        for name, pending in zip(full, pending_in, strict=True):
            state = found[name]
            found[name] = InboxState(state.length, pending, state.dead)
        return found

    async def _pending(self, instance_id: InstanceId, group: str) -> int:
        try:
            return number(items(await self._client.call("XPENDING", self._keys.inbox(instance_id), group))[0])
        except StoreError as fault:
            if "NOGROUP" not in str(fault):
                raise
            return 0  # it was removed just now

    async def dead_letters(self, instance_id: InstanceId) -> list[DeadLetter]:
        """The newest, at most `LETTERS_MAX`, newest first."""
        reply = await self._client.call("XREVRANGE", self._keys.dlq(instance_id), "+", "-", "COUNT", LETTERS_MAX)
        return [_letter(row) for row in items(reply)]

    async def redeliver(self, instance_id: InstanceId, letter_id: str, to: InstanceId, maxlen: int) -> bool:
        """Put a dead letter into an inbox once more. False where there is no such letter, or no such inbox.

        A repeat, or an end in between, delivers it twice at worst: whatever it says is fenced.
        """
        found = items(await self._client.call("XRANGE", self._keys.dlq(instance_id), letter_id, letter_id))
        if not found:
            return False
        payload, inbox = _letter(found[0]).payload, self._keys.inbox(to)
        words = ("XADD", inbox, "NOMKSTREAM", "MAXLEN", "~", maxlen, "*", "message", payload)
        if await self._client.call(*words) is None:
            return False
        await self.delete(instance_id, letter_id)
        return True

    async def delete(self, instance_id: InstanceId, letter_id: str) -> bool:
        """False where there is no such letter (any more)."""
        return bool(await self._client.call("XDEL", self._keys.dlq(instance_id), letter_id))


def _letter(row: Reply) -> DeadLetter:
    letter_id, flat = items(row)
    words = items(flat)
    fields = {text(name): value for name, value in zip(words[::2], words[1::2], strict=True)}
    payload = fields.get("message", b"")
    body = payload if isinstance(payload, bytes) else text(payload).encode("utf-8", "surrogateescape")
    return DeadLetter(text(letter_id), text(fields.get("entry", "")), text(fields.get("reason", "")), body)
