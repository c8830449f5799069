"""Redis as instances see it: the store's pure model behind a network, with streams, failures and a fleeting memory.

Each call takes a moment to get there and one to come back. While Redis is down, calls fail at once; a reply may be
lost, so that the caller does not know whether its call happened. `flush` empties it; `fail_over` brings back an
older state, as a replica does that had not read the last writes.
"""

import asyncio
import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from lingua_scheduler.core.placement import Candidate, SelectRequest
from lingua_scheduler.protocol.ids import InstanceId, NodeId
from lingua_scheduler.sim.loop import Process, VirtualLoop
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.instances import Known
from lingua_scheduler.store.keys import LEAVING_TTL_MS, PRESENCE_TTL_MS
from lingua_scheduler.store.model import StoreModel
from lingua_scheduler.store.records import Presence
from lingua_scheduler.store.store import Store
from lingua_scheduler.store.streams import Entry, Inbox, InboxState

EPOCH_MS = 1_700_000_000_000
"""Wall time of the beginning of every simulation."""
BLOCK_MS = 1000
COUNT = 64
RECLAIM_IDLE_MS = 5000
DEAD_DELIVERIES = 10
DEAD_AGE_MS = 60_000
TIMEOUT_MS = 2000


@dataclass(slots=True)
class Pending:
    payload: bytes
    delivered_ms: int
    deliveries: int = 1


@dataclass(slots=True)
class Stream:
    """An inbox: entries nobody read yet, and those that were read and not said done."""

    unread: dict[str, bytes] = field(default_factory=dict[str, bytes])
    pending: dict[str, Pending] = field(default_factory=dict[str, Pending])
    dead: int = 0


@dataclass(slots=True)
class Data:
    """Everything that Redis forgets when it is flushed."""

    model: StoreModel
    streams: dict[InstanceId, Stream] = field(default_factory=dict[InstanceId, Stream])
    presences: dict[InstanceId, tuple[Presence, int]] = field(default_factory=dict[InstanceId, tuple[Presence, int]])
    leaving_until_ms: int = 0
    entries: int = 0


Asked = tuple[int, "asyncio.Future[Any]"]
"""A call under way: to which of the servers that follow each other, and who waits for the reply."""


def _connection_lost() -> StoreError:
    return StoreError("connection lost", may_have_happened=True)


class SimRedis:
    """The one server."""

    def __init__(self, loop: VirtualLoop, rng: Random) -> None:
        self.loop = loop
        self.rng = rng
        self.process = Process("redis")
        self.is_down = False
        self.lossy_until_ms = 0
        """Until then one reply in ten is lost."""
        self.slow_until_ms = 0
        self.asked = 0
        self.observe: Callable[[object], None] = lambda _reply: None
        """Told of each reply as it is made."""
        self.waiters: dict[InstanceId, asyncio.Future[StoreError | None]] = {}
        self._last: dict[Process, tuple[int, int]] = {}
        self.broken: dict[Process, Callable[[str], None]] = {}
        """Who is told that its connection broke."""
        self.has_forgotten = False
        """Writes that were answered are lost."""
        self._servers = 0
        """That there were before this one."""
        self.data = self._empty()

    def now_ms(self) -> int:
        """Redis's own clock."""
        return EPOCH_MS + self.loop.now_ms + self.process.wall_offset_ms

    def flush(self) -> None:
        self.has_forgotten = True
        self.data = self._empty()
        self.wake_readers()

    def snapshot(self) -> Data:
        return copy.deepcopy(self.data)

    def fail_over(self, to: Data) -> None:
        """The replica takes over with what it has. Connections to the one before are gone."""
        self.has_forgotten = True
        self.data = to
        self._servers += 1
        self.wake_readers(StoreError("connection lost", may_have_happened=False))
        for process, tell in self.broken.items():
            self.loop.call_in(process, 0, tell, "connection lost")

    def wake_readers(self, fault: StoreError | None = None) -> None:
        for waiter in list(self.waiters.values()):
            if not waiter.done():
                waiter.set_result(fault)

    def ask(self, process: Process, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        """The reply, or StoreError. Calls of one process are done in order, and answered in order."""
        loop, now_ms = self.loop, self.loop.now_ms
        future = loop.create_future()
        if not process.is_alive:
            return future
        self.asked += 1
        arrive_ms, reply_ms = self._last.get(process, (0, 0))
        at_ms = max(arrive_ms, now_ms + self._leg_ms())
        back_ms = max(reply_ms, at_ms + self._leg_ms())
        self._last[process] = at_ms, back_ms
        asked = self._servers, future
        loop.call_in(self.process, at_ms - now_ms, self._execute, process, call, asked, back_ms)
        return future

    def _leg_ms(self) -> int:
        if self.loop.now_ms < self.slow_until_ms:
            return self.rng.randint(20, 400)
        return 1 if self.rng.random() < 0.3 else 0

    def _execute(self, process: Process, call: Callable[[], Any], asked: "Asked", back_ms: int) -> None:
        error: StoreError | None = None
        reply: Any = None
        delay_ms = max(0, back_ms - self.loop.now_ms)
        if asked[0] != self._servers:
            error = _connection_lost()
        elif self.is_down:
            error = StoreError("connection refused", may_have_happened=False)
        else:
            try:
                reply = call()
            except StoreError as fault:
                error = fault
            except Exception as bug:  # noqa: BLE001 - the caller must not wait for ever; the run reports it
                self.loop.bugs.append(f"redis: {bug!r}")
                error = StoreError(f"the model failed: {bug!r}", may_have_happened=False)
            if self.loop.now_ms < self.lossy_until_ms and self.rng.random() < 0.1:
                error, delay_ms = StoreError("no reply in time", may_have_happened=True), TIMEOUT_MS
            self.observe(reply)
        self.loop.call_in(process, delay_ms, self._answer, asked, reply, error)

    def _answer(self, asked: "Asked", reply: Any, error: StoreError | None) -> None:
        server, future = asked
        _answer(future, reply, error if server == self._servers else _connection_lost())

    def _empty(self) -> Data:
        rng = self.rng

        def choose(free: Any, request: SelectRequest) -> list[NodeId]:
            del request
            known = cast("list[Candidate]", free)
            drawn = rng.sample(known, 2) if len(known) > 2 else known
            return [one.node_id for one in drawn]

        # Plain functions: a snapshot copies them by reference, and a bound method with all that it is bound to.
        return Data(StoreModel(lambda: self.now_ms(), choose))  # noqa: PLW0108


def _answer(future: "asyncio.Future[Any]", reply: Any, error: StoreError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(reply)


class _Area:
    """One part of the model (`jobs`, `nodes` …) with its methods awaitable, from where one instance stands."""

    def __init__(self, redis: SimRedis, process: Process, name: str) -> None:
        self._redis = redis
        self._process = process
        self._name = name

    def __getattr__(self, method: str) -> Any:
        redis, process, area = self._redis, self._process, self._name

        async def call(*args: Any, **named: Any) -> Any:
            return await redis.ask(process, lambda: getattr(getattr(redis.data.model, area), method)(*args, **named))

        setattr(self, method, call)
        return call


class _Nodes(_Area):
    async def traits(self, node_id: NodeId) -> tuple[int, int, InstanceId | None]:
        def found() -> tuple[int, int, InstanceId | None]:
            node = self._redis.data.model.world.node(node_id)
            return (node.protocol, node.epoch, node.instance) if node else (1, 0, None)

        return await self._redis.ask(self._process, found)

    async def instance_of(self, node_id: NodeId) -> InstanceId | None:
        def found() -> InstanceId | None:
            node = self._redis.data.model.world.node(node_id)
            return node.instance if node else None

        return await self._redis.ask(self._process, found)


class _Instances(_Area):
    async def announce(self, presence: Presence) -> None:
        def write() -> None:
            data = self._redis.data
            data.presences[presence.instance_id] = presence, self._redis.now_ms() + PRESENCE_TTL_MS
            data.model.instances.announce(presence)

        await self._redis.ask(self._process, write)

    async def withdraw(self, instance_id: InstanceId) -> None:
        def write() -> None:
            self._redis.data.presences.pop(instance_id, None)
            self._redis.data.model.instances.withdraw(instance_id)

        await self._redis.ask(self._process, write)

    async def tell_leaving(self) -> None:
        def write() -> None:
            self._redis.data.leaving_until_ms = self._redis.now_ms() + LEAVING_TTL_MS

        await self._redis.ask(self._process, write)

    async def is_one_leaving(self) -> bool:
        return await self._redis.ask(self._process, lambda: self._redis.now_ms() < self._redis.data.leaving_until_ms)

    async def dead(self) -> list[InstanceId]:
        return (await self.known()).with_inbox

    async def known(self) -> Known:
        def read() -> Known:
            data, now_ms = self._redis.data, self._redis.now_ms()
            for name in [one for one, (_, until) in data.presences.items() if until <= now_ms]:
                del data.presences[name]
            alive = [(name, presence) for name, (presence, _) in sorted(data.presences.items())]
            gone = sorted(name for name in data.streams if name not in data.presences)
            return Known(alive, gone, [])

        return await self._redis.ask(self._process, read)


class SimStore:
    """`store.Store` for one instance."""

    def __init__(self, redis: SimRedis, process: Process) -> None:
        self.nodes = _Nodes(redis, process, "nodes")
        self.jobs = _Area(redis, process, "jobs")
        self.sessions = _Area(redis, process, "sessions")
        self.instances = _Instances(redis, process, "instances")
        self.rooms = _Area(redis, process, "rooms")
        self._redis = redis
        self._process = process

    @property
    def in_flight(self) -> int:
        return 0

    async def ping(self) -> None:
        await self._redis.ask(self._process, lambda: None)

    def as_store(self) -> Store:
        return cast("Store", self)


class SimInbox:
    """`store.Inbox` for one instance."""

    def __init__(self, redis: SimRedis, process: Process, me: InstanceId) -> None:
        self._redis = redis
        self._process = process
        self._me = me

    def as_inbox(self) -> Inbox:
        return cast("Inbox", self)

    async def create(self) -> None:
        await self._ask(lambda: self._streams().setdefault(self._me, Stream()))

    async def read(self) -> list[Entry]:
        deadline_ms = self._redis.loop.now_ms + BLOCK_MS
        while True:
            entries = await self._ask(self._take_unread)
            if entries is None:
                await self.create()
                return []
            if entries or self._redis.loop.now_ms >= deadline_ms:
                return entries
            await self._wait(deadline_ms)

    async def redeliver(self) -> list[Entry]:
        return await self._ask(lambda: self._claim(self._me))

    async def unfinished(self) -> list[Entry]:
        return await self._ask(self._pending_here)

    def _pending_here(self) -> list[Entry]:
        stream = self._streams().get(self._me)
        pending = stream.pending.items() if stream is not None else ()
        return [Entry(name, self._me, one.payload) for name, one in pending]

    async def done(self, entries: Iterable[Entry]) -> None:
        finished = list(entries)

        def remove() -> None:
            for entry in finished:
                if (stream := self._streams().get(entry.inbox_of)) is not None:
                    stream.pending.pop(entry.entry_id, None)

        await self._ask(remove)

    async def publish(self, to: InstanceId, payload: bytes) -> bool:
        def add() -> bool:
            stream = self._streams().get(to)
            if stream is None:
                return False
            self._redis.data.entries += 1
            stream.unread[f"{self._redis.now_ms()}-{self._redis.data.entries}"] = payload
            waiter = self._redis.waiters.get(to)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            return True

        return await self._ask(add)

    async def take_over(self, dead: InstanceId) -> list[Entry]:
        def take() -> list[Entry]:
            return self._claim(dead) or self._take(dead) or []

        return await self._ask(take)

    async def remove(self, instance_id: InstanceId) -> bool:
        def drop() -> bool:
            stream = self._streams().get(instance_id)
            if stream is not None and (stream.unread or stream.pending):
                return False
            self._streams().pop(instance_id, None)
            return True

        return await self._ask(drop)

    async def close_down(self) -> bool:
        return await self.remove(self._me)

    async def peek(self, instance_id: InstanceId) -> list[Entry]:
        def look() -> list[Entry]:
            stream = self._streams().get(instance_id, Stream())
            payloads = {**{name: one.payload for name, one in stream.pending.items()}, **stream.unread}
            return [Entry(name, instance_id, payload) for name, payload in payloads.items()]

        return await self._ask(look)

    async def give_up(self, inbox_of: InstanceId, reasons: Mapping[str, str], *, at_once: bool = False) -> int:
        del reasons

        def overdue() -> int:
            stream = self._streams().get(inbox_of)
            if stream is None:
                return 0
            before_ms = self._redis.now_ms() - DEAD_AGE_MS
            old = [
                name
                for name, one in stream.pending.items()
                if at_once or (one.deliveries >= DEAD_DELIVERIES and int(name.partition("-")[0]) <= before_ms)
            ]
            for name in old:
                del stream.pending[name]
            stream.dead += len(old)
            return len(old)

        return await self._ask(overdue)

    async def state(self, instance_id: InstanceId) -> InboxState:
        def read() -> InboxState:
            stream = self._streams().get(instance_id, Stream())
            return InboxState(len(stream.unread) + len(stream.pending), len(stream.pending), stream.dead)

        return await self._ask(read)

    def _ask(self, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        return self._redis.ask(self._process, call)

    def _streams(self) -> dict[InstanceId, Stream]:
        return self._redis.data.streams

    async def _wait(self, deadline_ms: int) -> None:
        """Until there is an entry, Redis is another, or the block is over."""
        loop = self._redis.loop
        waiter = self._redis.waiters[self._me]
        handle = loop.call_in(self._process, max(0, deadline_ms - loop.now_ms), _answer, waiter, None, None)
        fault = await waiter
        handle.cancel()
        if fault is not None:
            raise fault

    def _take_unread(self) -> list[Entry] | None:
        """In one step with finding nothing, the reader begins to wait: no entry slips in between."""
        entries = self._take(self._me)
        if not entries:
            self._redis.waiters[self._me] = self._redis.loop.create_future()
        return entries

    def _take(self, inbox_of: InstanceId) -> list[Entry] | None:
        stream = self._streams().get(inbox_of)
        if stream is None:
            return None
        taken: list[Entry] = []
        for entry_id in list(stream.unread)[:COUNT]:
            payload = stream.unread.pop(entry_id)
            stream.pending[entry_id] = Pending(payload, self._redis.now_ms())
            taken.append(Entry(entry_id, inbox_of, payload))
        return taken

    def _claim(self, inbox_of: InstanceId) -> list[Entry]:
        stream = self._streams().get(inbox_of)
        if stream is None:
            return []
        now_ms = self._redis.now_ms()
        claimed: list[Entry] = []
        for entry_id, one in list(stream.pending.items())[:COUNT]:
            if now_ms - one.delivered_ms >= RECLAIM_IDLE_MS:
                one.delivered_ms, one.deliveries = now_ms, one.deliveries + 1
                claimed.append(Entry(entry_id, inbox_of, one.payload))
        return claimed
