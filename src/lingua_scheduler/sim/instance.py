"""A scheduler instance in a simulation: the production assembly on a simulated process, store, inbox and sockets."""

from typing import Any

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.scheduler.app import Scheduler, assemble
from lingua_scheduler.scheduler.auth.guard import Guard
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.clients import ClientConnection
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.limits import Limits
from lingua_scheduler.scheduler.nodes import NodeConnection
from lingua_scheduler.scheduler.sessions import SessionActor
from lingua_scheduler.scheduler.store_health import StoreHealth
from lingua_scheduler.sim.history import History
from lingua_scheduler.sim.loop import Process, VirtualLoop
from lingua_scheduler.sim.people import SimClock
from lingua_scheduler.sim.redis import SimInbox, SimRedis, SimStore
from lingua_scheduler.sim.wire import End, SimSocket

# pyright: reportPrivateUsage=false


class SimInstance:
    """One life of an instance: a restart is another."""

    def __init__(
        self, name: str, number: int, loop: VirtualLoop, redis: SimRedis, history: History, wall_offset_ms: int
    ) -> None:
        self.name = name
        self.process = Process(name, monotonic_offset_ms=1_000_000 * (number + 1), wall_offset_ms=wall_offset_ms)
        self.is_draining = False
        self._loop = loop
        self._history = history
        clock = SimClock(loop, self.process)
        me = InstanceId(name)
        health = StoreHealth(clock)
        redis.broken[self.process] = health.failed
        with loop.within(self.process):
            self.context = Context(
                config=Config(),
                instance_id=me,
                store=SimStore(redis, self.process).as_store(),
                health=health,
                clock=clock,
                timers=Timers(clock),
                metrics=Metrics(),
                scope=Scope(self._task_failed),
                guard=Guard(Config(), clock),
                limits=Limits(Config().limits, clock, _no_memory),
            )
            inbox = SimInbox(redis, self.process, me).as_inbox()
            self.bus = Bus(self.context, inbox)
            self.scheduler: Scheduler = assemble(self.context, self.bus)

    def start(self) -> None:
        self._loop.start(self.process, self.scheduler.upkeep.start(f"sim://{self.name}"), "start")

    def accept(self, path: str, end: End) -> bool:
        """Called as part of the process."""
        scheduler = self.scheduler
        if path == "/ws/node":
            if scheduler.nodes.is_draining:
                return False
            node = NodeConnection(self.context, scheduler.nodes, SimSocket(self._loop, end).as_socket())
            self.context.scope.start(node.run(), "node")
        else:
            client = ClientConnection(self.context, scheduler.sessions, SimSocket(self._loop, end).as_socket())
            self.context.scope.start(client.run(), "client")
        return True

    def drain(self) -> None:
        """As SIGTERM does."""
        self.is_draining = True
        self._loop.start(self.process, self._leave(), "leave")

    async def _leave(self) -> None:
        await self.scheduler.upkeep.drain()
        await self.context.scope.close()
        self._history.note("left", self.name)
        self._loop.call_in(self._loop.world, 0, self._loop.kill, self.process)

    def sizes(self) -> dict[str, int]:
        """How much it keeps, by name: what must be small when nothing is going on."""
        nodes, bus = self.scheduler.nodes, self.bus
        sessions: Any = self.scheduler.sessions
        return {
            "sessions": len(sessions._by_id),
            "jobs": len(sessions._by_job),
            "users": sum(isinstance(user, SessionActor) for users in nodes._users.values() for user in users),
            "remote_jobs": len(bus._remote_jobs),
            "patient": bus._patient,
            "tasks": len(self.context.scope),
        }

    def timers(self) -> int:
        return len(self.context.timers._heap)

    def _task_failed(self, name: str, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error  # whoever plays this world is to stop: a test's time is over
        self._history.note("bug", self.name, f"task {name}", repr(error))


def _no_memory() -> int:
    """In use: how much the simulation itself has would make one run unlike another."""
    return 0
