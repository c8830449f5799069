"""One run: builds the fleet of a plan, lets it happen, heals everything, waits for the end, looks what is left.

Phases: *troubled* for the plan's duration; then the faults end, whoever is dead or paused comes back, speakers finish
what they say (*healing*, at most `HEAL_MS`); then nothing happens, and what is still kept after `QUIET_MS` is a leak.
"""

from collections.abc import Callable
from random import Random

from lingua_scheduler.core.placement import Selected
from lingua_scheduler.protocol.ids import InstanceId, NodeId
from lingua_scheduler.runtime import ids
from lingua_scheduler.sim.agent import Agent, Surroundings
from lingua_scheduler.sim.history import History
from lingua_scheduler.sim.instance import SimInstance
from lingua_scheduler.sim.legacy import LegacyWorker
from lingua_scheduler.sim.loop import Process, State, VirtualLoop
from lingua_scheduler.sim.observe import watching
from lingua_scheduler.sim.people import Speaker
from lingua_scheduler.sim.plan import Fault, Plan
from lingua_scheduler.sim.redis import SimRedis
from lingua_scheduler.sim.run import Run
from lingua_scheduler.sim.speech import Packet
from lingua_scheduler.sim.wire import End, Listener, Network
from lingua_scheduler.sim.worker import Worker

STEP_MS = 250
"""How often the world looks up whether a phase is over."""
STEPS_PER_SAMPLE = 4
HEAL_MS = 150_000
QUIET_MS = 420_000
"""A session whose client vanished without a word is noticed after five minutes."""
REST_MS = 5_000
FINISH_AFTER_MS = 2_000


class World:
    """See the module's head. It is also the load balancer (`pick`)."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.history = History(self.loop)
        self.network = Network(self.loop, Random(f"network {plan.seed}"), Random(f"repeats {plan.seed}"))
        self.redis = SimRedis(self.loop, Random(f"redis {plan.seed}"))
        self.redis.process.wall_offset_ms = plan.redis_offset_ms
        self.instances: list[SimInstance] = []
        self.lives = 0
        self.run = Run(plan, self.history)
        poison = frozenset(_poison(plan))
        around = Surroundings(plan.seed, self.loop, self.network, self, self.history, poison, self._kill_agent)
        self.agents: list[Agent] = [
            (Worker if node.protocol == 2 else LegacyWorker)(node, around) for node in plan.nodes
        ]
        self.speakers = [Speaker(one, plan.seed, self.loop, self.network, self, self.history) for one in plan.speakers]
        for speaker in self.speakers:
            speaker.chunk_packets = plan.chunk_packets
        self.redis.observe = self._look_at
        self._is_healing = False
        self._steps = 0

    def play(self, *, checks: bool = True) -> Run:
        """The whole run."""
        entropy = Random(f"ids {self.plan.seed}")
        with ids.drawn_from(entropy.randbytes), watching(self.history, checks=checks):
            try:
                self._begin()
                self._until(self.plan.duration_ms)
                self._heal()
                self._until_quiet()
            finally:
                self._end()
        run = self.run
        run.simulated_ms, run.steps, run.asked = self.loop.now_ms, self.loop.steps, self.redis.asked
        run.bugs += self.loop.bugs
        return run

    def pick(self, rng: Random, before: Listener | None) -> Listener | None:
        """An instance for a new connection: the one before where it lives, else any that is not known to be gone."""
        able = [one for one in self.instances if one.process.is_alive and not one.is_draining]
        if before in able:
            return before
        return rng.choice(able) if able else None

    # ------------------------------------------------------------------------------- phases

    def _begin(self) -> None:
        for number in range(self.plan.instances):
            self._start_instance(number)
        for agent in self.agents:
            agent.start()
        for speaker in self.speakers:
            speaker.start()
        for fault in self.plan.faults:
            self.loop.call_in(self.loop.world, fault.at_ms, self._break, fault)

    def _until(self, until_ms: int, is_over: Callable[[], bool] = lambda: False) -> None:
        while self.loop.now_ms < until_ms and not is_over():
            self.loop.run_until(min(until_ms, self.loop.now_ms + STEP_MS))
            self._steps += 1
            if self._steps % STEPS_PER_SAMPLE == 0:
                self._sample()

    def _heal(self) -> None:
        self._is_healing = True
        self.history.note("healed", "world")
        self.run.healed_ms = self.loop.now_ms
        redis = self.redis
        redis.is_down, redis.lossy_until_ms, redis.slow_until_ms = False, 0, 0
        for process in [one.process for one in (*self.instances, *self.agents, *self.speakers)]:
            self.loop.resume(process)
        self._revive()
        for agent in self.agents:
            agent.slowness = 1.0
        for speaker in self.speakers:
            self.loop.call_in(self.loop.world, FINISH_AFTER_MS, speaker.fall_silent)

    def _until_quiet(self) -> None:
        self._until(self.loop.now_ms + HEAL_MS, lambda: all(speaker.is_done for speaker in self.speakers))
        self.run.unfinished = [speaker.status() for speaker in self.speakers if not speaker.is_done]
        until_ms = self.loop.now_ms + QUIET_MS
        while True:
            self._until(self.loop.now_ms + REST_MS)
            self.run.left = self._kept_at_rest()
            if not self.run.left or self.loop.now_ms >= until_ms:
                break

    def _end(self) -> None:
        """Nobody is left running when a run is over."""
        bugs, events = list(self.loop.bugs), len(self.history.events)
        for one in (*self.instances, *self.agents, *self.speakers):
            self.loop.kill(one.process)
        self.loop.run_until(self.loop.now_ms)
        self.loop.bugs = bugs
        del self.history.events[events:]

    # ------------------------------------------------------------------------------- faults

    def _break(self, fault: Fault) -> None:
        if self._is_healing:
            return
        self.history.note("fault", fault.kind, fault.target, fault.for_ms)
        match fault.kind:
            case "kill_instance" | "pause_instance" | "drain_instance":
                self._break_instance(fault)
            case "kill_node" | "pause_node" | "slow_node" | "drain_node":
                self._break_node(fault, self.agents[fault.target % len(self.agents)])
            case "pause_client":
                self._pause(self.speakers[fault.target % len(self.speakers)].process, fault.for_ms)
            case "cut_node" | "mute_node" | "repeat_node" | "unread_node":
                self._break_link(fault, self.agents[fault.target % len(self.agents)].end)
            case "cut_client" | "mute_client" | "stall" | "repeat_client" | "unread_client":
                self._break_link(fault, self.speakers[fault.target % len(self.speakers)].connection())
            case "redis_down" | "redis_slow" | "redis_lossy" | "flush" | "fail_over":
                self._break_redis(fault)

    def _break_instance(self, fault: Fault) -> None:
        able = [one for one in self.instances if one.process.state is State.RUNNING]
        if not able:
            return
        instance = able[fault.target % len(able)]
        match fault.kind:
            case "kill_instance":
                self._soon(fault, instance.process, lambda: self._kill_instance(instance, fault.for_ms))
            case "drain_instance":
                instance.drain()
                self.loop.call_in(self.loop.world, 45_000, self._kill_instance, instance, 0)
            case _:
                self._pause(instance.process, fault.for_ms)

    def _break_node(self, fault: Fault, agent: Agent) -> None:
        match fault.kind:
            case "kill_node":
                self._soon(fault, agent.process, lambda: self._kill_agent(agent, fault.for_ms))
            case "pause_node":
                self._pause(agent.process, fault.for_ms)
            case "slow_node":
                agent.slowness = 20.0
                self.loop.call_in(self.loop.world, fault.for_ms, setattr, agent, "slowness", 1.0)
            case _:
                if isinstance(agent, Worker) and agent.process.state is State.RUNNING:
                    with self.loop.within(agent.process):
                        agent.drain()
                    self.loop.call_in(self.loop.world, 5_000 + fault.for_ms, self._kill_agent, agent, 1_000)

    def _break_link(self, fault: Fault, end: End | None) -> None:
        """`end`: the dialler's; None where it has no connection just now."""
        if end is None:
            return
        wire = end.wire
        match fault.kind:
            case "stall":
                wire.stall(fault.for_ms)
            case "repeat_client":
                # What the scheduler says to a client of protocol 1.0 has no number: nobody could know it for a repeat.
                wire.repeat(fault.for_ms, to=(end.peer,))
            case "repeat_node":
                wire.repeat(fault.for_ms, to=wire.ends)
            case "unread_client" | "unread_node":
                wire.leave_unread(fault.for_ms, 1_000 * (1 + fault.target % 8))
            case "cut_client" | "cut_node":
                wire.cut()
            case _:
                told = fault.target % 3
                wire.cut(is_told=(told == 0, told == 1))

    def _break_redis(self, fault: Fault) -> None:
        redis, until_ms = self.redis, self.loop.now_ms + fault.for_ms
        match fault.kind:
            case "redis_down":
                redis.is_down = True
                redis.wake_readers()
                self.loop.call_in(self.loop.world, fault.for_ms, setattr, redis, "is_down", False)
            case "redis_slow":
                redis.slow_until_ms = until_ms
            case "redis_lossy":
                redis.lossy_until_ms = until_ms
            case "flush":
                redis.flush()
            case _:
                # The replica's state of now becomes everybody's a moment later: what is written between is lost.
                snapshot = redis.snapshot()
                self.loop.call_in(self.loop.world, min(fault.for_ms, 2_000), redis.fail_over, snapshot)

    def _soon(self, fault: Fault, process: Process, kill: Callable[[], None]) -> None:
        """Kill behind so many more frames that leave the process: between two effects of one event, as like as not."""
        if fault.effects == 0:
            kill()
            return
        left = [fault.effects]

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                kill()

        self.network.fuses[process] = count
        self.loop.call_in(self.loop.world, fault.for_ms, lambda: left[0] > 0 and kill())

    def _pause(self, process: Process, for_ms: int) -> None:
        self.loop.pause(process)
        self.loop.call_in(self.loop.world, for_ms, self.loop.resume, process)

    def _start_instance(self, number: int) -> None:
        offsets = self.plan.instance_offsets_ms or (0,)
        self.lives += 1
        name = f"i{number}-{self.lives}"
        instance = SimInstance(name, number, self.loop, self.redis, self.history, offsets[number % len(offsets)])
        self.instances = [one for one in self.instances if one.process.is_alive]
        self.instances.append(instance)
        instance.start()

    def _kill_instance(self, instance: SimInstance, for_ms: int) -> None:
        """Dead at once; another starts in its place."""
        was_alive = instance.process.is_alive
        if was_alive:
            self.history.note("killed", instance.name)
            self.loop.kill(instance.process)
            self.network.vanish(instance.process, is_told=True)
        elif not instance.is_draining:
            return
        number = int(instance.name[1:].partition("-")[0])
        alive = [one.name for one in self.instances if one.process.is_alive]
        if not any(name.startswith(f"i{number}-") for name in alive):
            self.loop.call_in(self.loop.world, min(for_ms, 20_000), self._restart_instance, number)

    def _restart_instance(self, number: int) -> None:
        if not any(one.name.startswith(f"i{number}-") and one.process.is_alive for one in self.instances):
            self._start_instance(number)

    def _kill_agent(self, agent: Agent, for_ms: int) -> None:
        if not agent.process.is_alive:
            return
        self.history.note("killed", agent.plan.name)
        self.loop.kill(agent.process)
        self.network.vanish(agent.process, is_told=True)
        agent.died()
        self.loop.call_in(self.loop.world, for_ms, lambda: None if agent.process.is_alive else agent.start())

    def _revive(self) -> None:
        for number in range(self.plan.instances):
            self._restart_instance(number)
        for agent in self.agents:
            if not agent.process.is_alive:
                agent.start()

    # ------------------------------------------------------------------------------- looking

    def _look_at(self, reply: object) -> None:
        """At each moment in which a slot is taken."""
        if isinstance(reply, Selected):
            self._look_at_slots(reply.node_id)

    def _look_at_slots(self, node_id: NodeId) -> None:
        world = self.redis.data.model.world
        trail, node = world.trails.get(node_id), world.nodes.get(node_id)
        if trail is not None and node is not None and len(trail.jobs) > node.capacity:
            self.run.excess.append(
                f"{self.loop.now_ms} ms: {node_id} has {len(trail.jobs)} of {node.capacity} slots taken"
            )

    def _sample(self) -> None:
        """What must hold at any time."""
        run = self.run
        # Whose slot Redis forgot and gave away has two jobs for it, and Redis is told so; it gives no more then.
        for node_id in () if self.redis.has_forgotten else self.redis.data.model.world.trails:
            self._look_at_slots(node_id)
        for instance in self.instances:
            if instance.process.is_alive:
                sizes = instance.sizes()
                bound = 64 + 16 * (sizes["sessions"] + len(self.agents))
                for name, size in (*sizes.items(), ("timers", instance.timers() // 8)):
                    if size > bound:
                        run.excess.append(f"{self.loop.now_ms} ms: {instance.name} keeps {size} {name}, over {bound}")

    def _kept_at_rest(self) -> list[str]:
        """What must be gone when nothing is going on."""
        left: list[str] = []
        for instance in self.instances:
            if instance.process.is_alive:
                kept = instance.sizes()
                # One task for each node's connection, one for upkeep, one for the inbox; a call may be under way.
                kept["tasks"] = max(0, kept["tasks"] - len(self.agents) - 6)
                # Where the word was lost that a job is given up, its place goes with its age or its node.
                del kept["remote_jobs"]
                left += [f"{instance.name} keeps {size} {name}" for name, size in kept.items() if size]
        world, now_ms = self.redis.data.model.world, self.redis.now_ms()
        left += [
            f"{node_id} has slots taken: {sorted(trail.jobs)}" for node_id, trail in world.trails.items() if trail.jobs
        ]
        left += [f"{name} waits in line {line}" for line, one in world.lines.items() for name in _waiting(one, world)]
        left += [f"deadline of {name} is past" for name, due in world.deadlines.items() if due < now_ms - 60_000]
        names = {InstanceId(one.name) for one in self.instances}
        for name, stream in self.redis.data.streams.items():
            count = len(stream.unread) + len(stream.pending)
            if count or name not in names:
                left.append(f"the inbox of {name} is left with {count} entries")
        return left


def _waiting(line: object, world: object) -> list[str]:
    del world
    return [str(name) for name in getattr(line, "turns", {})]


def _poison(plan: Plan) -> list[Packet]:
    """The first packet of each poisonous turn."""
    found: list[Packet] = []
    for speaker in plan.speakers:
        at = 0
        for turn in speaker.turns:
            if turn.is_poison:
                found.append((speaker.number, at))
            at += turn.packets
    return found
