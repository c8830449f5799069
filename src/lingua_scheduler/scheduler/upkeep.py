"""What an instance does by the clock: presence, clearing up after the dead, pictures, noticing that Redis is away; and
its own leaving.
"""

import asyncio
import os
import socket
from dataclasses import dataclass

from lingua_scheduler import __version__
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.node import events as node
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.routes import Routes
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.scheduler.shedding import shed
from lingua_scheduler.scheduler.snapshots import Snapshots
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Presence

_log = get_logger("scheduler.upkeep")

ROUND_S = 2.0
"""Redis being away is noticed within it."""
PICTURE_ROUNDS = 2
"""Pictures are at most this old, plus the time of a round; every one costs Redis two commands for each instance."""
SETTLE_S = 0.25
AWAY_ROUND_S = 0.25
"""While Redis is away: its return ends a pause for everybody."""
PRESENCE_ROUNDS = 7
REAP_ROUNDS = 2
DRAIN_S = 30.0
CLOSE_S = 5.0
"""For nodes to take the close and the store to be told; past it their heartbeats run out by themselves."""
STOPS = "instance stops"


@dataclass(frozen=True, slots=True)
class Fleet:
    """This instance among its peers."""

    bus: Bus
    routes: Routes


class Upkeep:
    """One background loop of one instance."""

    def __init__(self, context: Context, sessions: Sessions, nodes: Nodes, snapshots: Snapshots, fleet: Fleet) -> None:
        self._fleet = fleet
        self._context = context
        self._sessions = sessions
        self._nodes = nodes
        self._snapshots = snapshots
        self._presence: Presence | None = None
        self._running: asyncio.Task[None] | None = None
        context.health.told = self._store_turned

    @property
    def bus(self) -> Bus:
        return self._fleet.bus

    async def start(self, address: str) -> None:
        """Announce the instance, then go on in the background."""
        self._presence = Presence(
            instance_id=self._context.instance_id,
            started_at_ms=self._context.clock.wall_ms(),
            hostname=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            address=address,
        )
        try:
            await self._fleet.bus.create()
            await self._round(0)
        except StoreError as error:
            self._context.health.failed(str(error))
        self._running = self._context.scope.start(self._run(), "upkeep")
        self._fleet.bus.start()

    async def drain(self) -> None:
        """Leave: no new sessions, clients told, what is in flight finished within `DRAIN_S`, presence withdrawn.

        The nodes here serve the sessions here to the end; then they get no new jobs from elsewhere either, finish those
        that they have, and are closed, so that they move.
        """
        self._snapshots.is_draining = True
        self._sessions.drain(int(DRAIN_S * 1000))
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._sessions.wait_idle()
                await self._tell_leaving()
                self._nodes.drain(STOPS)
                await self._fleet.bus.wait_idle()
        except TimeoutError:
            _log.warning("left with jobs in flight", sessions=len(self._sessions))
        await self._tell_leaving()
        await self._leave_lines()
        self._nodes.drain(STOPS)
        self._nodes.close(STOPS)
        self._sessions.close(STOPS)
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._nodes.wait_closed()
        except TimeoutError:
            _log.warning("nodes not taken off", nodes=len(self._nodes))
        if self._running is not None:  # it would announce what is withdrawn here
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self._fleet.bus.close()
        try:
            await self._context.store.instances.withdraw(self._context.instance_id)
        except StoreError as error:
            _log.warning("presence not withdrawn", cause=str(error))

    async def _leave_lines(self) -> None:
        """Whoever goes on with a session asks for its jobs anew; where nobody does, none waits any more."""
        waiting = [
            job_id
            for actor in self._sessions.all()
            for job_id, phase in actor.phases().items()
            if phase is Phase.WAITING
        ]
        try:
            await asyncio.gather(*map(self._context.store.jobs.leave_queue, waiting))
        except StoreError as error:
            _log.warning("lines not left", cause=str(error))

    async def _tell_leaving(self) -> None:
        """The peers' jobs wait for nodes that are about to move."""
        if not len(self._nodes):
            return
        instances = self._context.store.instances
        try:
            if any(name != self._context.instance_id for name, _ in (await instances.known()).alive):
                await instances.tell_leaving()
        except StoreError as error:
            _log.warning("peers not told of the leaving", cause=str(error))

    async def _run(self) -> None:
        count = 1
        while True:
            has_news = await self._wait_round()
            self._context.guard.refresh()
            self._context.limits.look_at_memory()
            shed(self._sessions, self._context.limits)
            health = self._context.health
            failures = health.failures
            try:
                # To a Redis that was away this instance is new: its peers must see it before they miss it.
                await self._round(count if health.is_up else 0, has_news=has_news)
            except StoreError as error:
                health.failed(str(error))
            else:
                health.answered(failures)
                count += 1

    async def _wait_round(self) -> bool:
        """Until the next round is due, or (True) a node registered: people look at the page just then."""
        try:
            async with asyncio.timeout(ROUND_S if self._context.health.is_up else AWAY_ROUND_S):
                await self._nodes.wait_changed()
        except TimeoutError:
            return False
        # Its first heartbeat, which puts it into the pools, follows at once; many that come together share a round.
        await asyncio.sleep(SETTLE_S)
        return True

    async def _round(self, count: int, *, has_news: bool = False) -> None:
        store = self._context.store
        if count % PRESENCE_ROUNDS == 0 and self._presence is not None:
            await store.instances.announce(self._presence)
            # A Redis that was away may be one that had not read the last writes.
            await self._sessions.renew_records(whole=not count)
        if count % REAP_ROUNDS == 0:
            await self._reap()
        if has_news or count % PICTURE_ROUNDS == 0:
            await self._snapshots.refresh()
        if self._context.health.is_settling:
            self._fleet.bus.wait_for_peers()
        for dead in sorted(await self._fleet.bus.keep(self._snapshots.instances)):
            self._fleet.routes.instance_gone(dead)

    async def _reap(self) -> None:
        while True:
            reply = await self._context.store.instances.reap()
            self._context.metrics.leases_expired.labels("reaper").inc(len(reply.jobs))
            self._nodes.owners.held_jobs_lost(reply.jobs)
            self._nodes.owners.offered(reply.offers)
            for node_id in reply.nodes:
                _log.warning("node forgotten: no heartbeat", node=node_id)
            if not reply.is_more_due:
                return

    def _store_turned(self, is_up: bool, why: str) -> None:
        """Tell everybody that Redis went away or came back."""
        self._context.metrics.redis_up.set(is_up)
        _log.warning("Redis is back" if is_up else "Redis is away", cause=why)
        self._sessions.store_changed(is_up)
        if is_up:
            self._sessions.rooms.store_returned()
            self._fleet.routes.store_returned()
            for connection in self._nodes.connections():
                connection.driver.post(node.StoreReturned())
