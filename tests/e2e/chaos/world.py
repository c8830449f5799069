"""One run over real processes: a plan of the simulator's, its faults as signals and cut wires, its checkers after it.

Phases as in `sim/world.py`: *troubled* for the plan's duration; then the faults end, whoever is dead or stopped comes
back, speakers finish what they say (*healing*, at most `HEAL_S`); then everybody leaves, and what is still kept is a
leak.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from lingua_scheduler.sim.plan import Fault, FaultKind, Plan
from lingua_scheduler.sim.run import Run
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.errors import StoreError
from tests.e2e.chaos import engines, instance
from tests.e2e.chaos.instance import WallHistory, read_history, wall_ms
from tests.e2e.chaos.people import Speaker
from tests.e2e.fleet import ROOT, Fleet, Instance, NodeProcess, Redis
from tests.e2e.wire import Fault as Cut
from tests.e2e.wire import Wire, wire_to
from tests.support import free_port, let_pass, wait_until
from tests.support.processes import Child, Processes

KINDS: tuple[FaultKind, ...] = (
    "kill_instance", "pause_instance", "drain_instance", "kill_node", "pause_node", "drain_node",
    "cut_client", "redis_down", "redis_slow", "redis_lossy",
)  # fmt: skip
"""`redis_slow` and `redis_lossy`: the wire between one instance and Redis swallows everything, or only the replies."""
ALL: tuple[FaultKind, ...] = (*KINDS, "flush")
LONGEST_S = 12.0
"""Of a fault: clients try for a minute to reach their session, and several faults may follow each other."""
DRAIN_S = 60.0
START_S = 60.0
HEAL_S = 90.0
FINISH_AFTER_S = 2.0
LEASES_S = 120.0
"""By then every lease has ended: where Redis did not answer at the end of a job, that is what frees its slot."""
SAMPLE_S = 0.25
GROWTH_MIB = 100
"""What an instance may take beyond what it took at its start: sessions here say a few minutes of speech."""


@dataclass(slots=True)
class Place:
    """Where an instance or a node is, comes back after a kill, and is troubled by one fault at a time."""

    number: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wire: Wire | None = None
    port: int = 0
    instance: Instance | None = None
    node: NodeProcess | None = None


class World:
    def __init__(self, plan: Plan, processes: Processes) -> None:
        self.plan = plan
        self.history = WallHistory()
        self.run = Run(plan, self.history)  # its other fields are filled as the simulator does
        self._processes = processes
        self._folder = processes.folder
        self._redis = Redis(processes, keeps=True)
        self._redis_lock = asyncio.Lock()
        self._fleet = Fleet(processes, self._redis)
        self._instances = [Place(number, port=free_port()) for number in range(plan.instances)]
        self._nodes = [Place(number) for number in range(len(plan.nodes))]
        self._began_ms = 0
        self._speakers = [Speaker(one, self._urls(one.number), self.history) for one in plan.speakers]
        self._is_healing = False
        self._descriptors = 0

    async def play(self) -> Run:
        async with contextlib.AsyncExitStack() as stack:
            await self._begin(stack)
            sampling = asyncio.create_task(self._sample(), name="sample")
            stack.callback(sampling.cancel)
            async with asyncio.TaskGroup() as group:
                speaking = [group.create_task(one.run(self._now_ms)) for one in self._speakers]
                async with asyncio.TaskGroup() as troubles:
                    for fault in self.plan.faults:
                        troubles.create_task(self._break(fault))
                await self._until(self.plan.duration_ms)
                self._heal()
                await asyncio.wait(speaking, timeout=HEAL_S)
                self.run.unfinished = [one.status() for one in self._speakers if not one.is_done]
                for task in speaking:
                    task.cancel()
            await self._end()
        for place in self._instances:
            for event in read_history(self._history_of(place)):
                self.history.add(event)
        self.history.events.sort(key=lambda event: event.at_ms)
        self.run.simulated_ms = self._now_ms()
        return self.run

    # ------------------------------------------------------------------------------- phases

    async def _begin(self, stack: contextlib.AsyncExitStack) -> None:
        engines.install(self._folder / "engines")
        await self._redis.start()
        for place in self._instances:
            at = self._folder / f"wire-{place.number}"
            place.wire = await stack.enter_async_context(wire_to(self._redis.socket, at))
        await asyncio.gather(*map(self._serve, self._instances))
        self._descriptors = max(one.descriptors_at_start for one in self._fleet.instances)
        await asyncio.gather(*map(self._start_node, self._nodes))
        await self._fleet.wait_selectable(*(one.name for one in self.plan.nodes), deadline_s=START_S)
        self._began_ms = wall_ms()

    def _heal(self) -> None:
        self._is_healing = True
        self.history.note("healed", "world")
        self.run.healed_ms = self._now_ms()
        loop = asyncio.get_running_loop()
        for speaker in self._speakers:
            loop.call_later(FINISH_AFTER_S, speaker.fall_silent)

    async def _end(self) -> None:
        """Everybody leaves; what is left behind is told."""
        for one in self._fleet.instances:
            one.descriptors_at_start = self._descriptors
        try:
            await self._fleet.finish(LEASES_S)
        except AssertionError as error:
            self.run.left.append(str(error))

    # ------------------------------------------------------------------------------- processes

    async def _serve(self, place: Place) -> None:
        """Again and again: an instance that does not find Redis when it starts says so and ends."""
        while True:
            child = self._processes.fork(
                instance.__name__, str(self._history_of(place)),
                "serve", "--port", str(place.port), "--redis", f"unix://{self._folder / f'wire-{place.number}'}",
            )  # fmt: skip
            await wait_until(partial(_is_decided, child), f"an instance to start\n{child.story()}", START_S)
            if child.running:
                place.instance = await self._fleet.joined_by(child)
                return
            assert "Redis does not answer" in child.stderr, child.story()

    async def _start_node(self, place: Place) -> None:
        plan = self.plan.nodes[place.number]
        urls = ",".join(f"{url}/ws/node" for url in self._urls(place.number))
        child = self._processes.lingua(
            "node", "--url", urls, "--engines", engines.ENGINES.format(service_ms=plan.service_ms),
            "--capacity", str(plan.capacity), "--node-id", plan.name,
            env={"PYTHONPATH": f"{ROOT}:{self._folder / 'engines'}"},
        )  # fmt: skip
        place.node = NodeProcess(plan.name, child)
        self._fleet.nodes.append(place.node)

    def _urls(self, first: int) -> list[str]:
        ports = [place.port for place in self._instances]
        turned = ports[first % len(ports) :] + ports[: first % len(ports)]
        return [f"ws://127.0.0.1:{port}" for port in turned]

    def _history_of(self, place: Place) -> Path:
        return self._folder / f"history-{place.number}"

    # ------------------------------------------------------------------------------- faults

    async def _break(self, fault: Fault) -> None:
        """One fault, from its beginning to its end; none where its target is troubled already."""
        await self._until(fault.at_ms)
        for_s = min(fault.for_ms / 1000, LONGEST_S)
        match fault.kind:
            case "kill_instance" | "pause_instance" | "drain_instance" | "redis_slow" | "redis_lossy":
                place = self._instances[fault.target % len(self._instances)]
                await self._alone(place.lock, fault, lambda: self._break_instance(fault, place, for_s))
            case "kill_node" | "pause_node" | "drain_node":
                place = self._nodes[fault.target % len(self._nodes)]
                await self._alone(place.lock, fault, lambda: self._break_node(fault, place, for_s))
            case "redis_down":
                await self._alone(self._redis_lock, fault, lambda: self._restart_redis(for_s / 2))
            case "flush":
                await self._alone(self._redis_lock, fault, lambda: self._redis.ask("FLUSHALL"))
            case _:
                speaker = self._speakers[fault.target % len(self._speakers)]
                if speaker.session is not None:
                    self.history.note("fault", fault.kind, fault.target)
                    speaker.session.cut()

    async def _alone(self, lock: asyncio.Lock, fault: Fault, do: Callable[[], Awaitable[object]]) -> None:
        if lock.locked():
            return
        async with lock:
            self.history.note("fault", fault.kind, fault.target, fault.for_ms)
            await do()

    async def _restart_redis(self, for_s: float) -> None:
        await self._redis.kill()
        await let_pass(for_s)
        await self._redis.start()

    async def _break_instance(self, fault: Fault, place: Place, for_s: float) -> None:
        one = place.instance
        assert one is not None
        assert place.wire is not None
        match fault.kind:
            case "kill_instance":
                one.child.send(signal.SIGKILL)
                await one.child.wait_exit()
                self.history.note("killed", one.instance_id)
                await let_pass(for_s)
                await self._serve(place)
            case "drain_instance":
                self.history.note("left", one.instance_id)
                one.child.send(signal.SIGTERM)
                await one.child.wait_exit(DRAIN_S)
                await self._serve(place)
            case "pause_instance":
                one.child.send(signal.SIGSTOP)
                await let_pass(for_s)
                one.child.send(signal.SIGCONT)
            case _:
                cut: Cut = "black hole" if fault.kind == "redis_slow" else "replies held"
                place.wire.cut(cut)
                await let_pass(for_s)
                place.wire.mend()

    async def _break_node(self, fault: Fault, place: Place, for_s: float) -> None:
        node = place.node
        assert node is not None
        if fault.kind == "pause_node":
            node.child.send(signal.SIGSTOP)
            await let_pass(for_s)
            node.child.send(signal.SIGCONT)
            return
        node.child.send(signal.SIGKILL if fault.kind == "kill_node" else signal.SIGTERM)
        await node.child.wait_exit(DRAIN_S)
        await let_pass(for_s)
        await self._start_node(place)

    # ------------------------------------------------------------------------------- looking

    async def _sample(self) -> None:
        """What must hold at any time."""
        while True:
            await let_pass(SAMPLE_S)
            with contextlib.suppress(StoreError):
                await self._look_at_slots()
            for place in self._instances:
                if place.instance is not None and place.instance.child.running:
                    self._look_at_memory(place.instance)

    async def _look_at_slots(self) -> None:
        async with RedisClient.open(self._redis.url) as client:
            for node in self.plan.nodes:
                taken = await client.call("ZCARD", f"lingua:v1:node:{node.name}:jobs")
                if cast("int", taken) > node.capacity:
                    self.run.excess.append(
                        f"{self._now_ms()} ms: {node.name} has {taken} of {node.capacity} slots taken"
                    )

    def _look_at_memory(self, one: Instance) -> None:
        mib = one.resident_mib()
        if mib > one.mib_at_start + GROWTH_MIB:
            self.run.excess.append(f"{self._now_ms()} ms: {one.instance_id} has grown to {mib:.0f} MiB")

    def _now_ms(self) -> int:
        return wall_ms() - self._began_ms

    async def _until(self, at_ms: int) -> None:
        await let_pass(max(0, at_ms - self._now_ms()) / 1000)


def _is_decided(child: Child) -> bool:
    return not child.running or "listening on" in child.stdout
