"""The one object through which a scheduler instance speaks to Redis."""

import contextlib
import random
from collections.abc import AsyncGenerator, Callable

from lingua_scheduler.store.allowances import AllowanceStore
from lingua_scheduler.store.client import RedisClient, ScriptRunner
from lingua_scheduler.store.inboxes import Inboxes
from lingua_scheduler.store.instances import InstanceStore
from lingua_scheduler.store.jobs import JobStore
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.nodes import NodeStore
from lingua_scheduler.store.rooms import RoomStore
from lingua_scheduler.store.servers import Finder
from lingua_scheduler.store.sessions import SessionStore
from lingua_scheduler.store.shares import ShareStore


class Store:
    """What several instances must agree on.

    Each call is one script or one pipeline, with a deadline, and safe to repeat; each raises StoreError where Redis
    cannot answer, and works again when it can.
    """

    def __init__(self, run: ScriptRunner, rng: random.Random) -> None:
        self.client = run.client
        self.keys = run.keys
        self.nodes = NodeStore(run)
        self.jobs = JobStore(run, rng)
        self.sessions = SessionStore(run)
        self.instances = InstanceStore(run)
        self.inboxes = Inboxes(run)
        self.rooms = RoomStore(run)
        self.shares = ShareStore(run)
        self.allowances = AllowanceStore(run)

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(
        where: str | Finder,
        keys: Keys | None = None,
        *,
        timeout_ms: int = 2000,
        rng: random.Random | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> "AsyncGenerator[Store]":
        """A store on the Redis at a URL, or on the one that is found.

        It is not contacted yet: `ping` tells whether it answers. Scripts use the server's clock; tests and simulations
        state another through `now_ms`.
        """
        async with RedisClient.open(where, timeout_ms=timeout_ms) as client:
            yield Store(ScriptRunner(client, keys or Keys(), now_ms), rng or random.Random())

    @property
    def in_flight(self) -> int:
        """Commands whose reply has not come."""
        return self.client.in_flight

    async def ping(self) -> None:
        """Raises StoreError where Redis does not answer."""
        await self.client.call("PING")
