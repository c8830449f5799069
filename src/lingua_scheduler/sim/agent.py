"""What all simulated nodes have in common: they register, beat, come back, and hear what the scheduler says."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import node as wire
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.messages import Wire
from lingua_scheduler.runtime.sockets import Pong
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.history import History
from lingua_scheduler.sim.loop import Process, VirtualLoop
from lingua_scheduler.sim.people import Doors, SimClock
from lingua_scheduler.sim.plan import NodePlan
from lingua_scheduler.sim.wire import PONG, End, Frame, Network, Ping

HEARTBEAT_MS = 15_000
TICK_MS = 5_000
SERVICES = ("asr", "nmt", "tts", "tone", "semantic")


@dataclass(slots=True)
class Surroundings:
    """What a node stands in."""

    seed: int
    loop: VirtualLoop
    network: Network
    doors: Doors
    history: History
    poison: frozenset[speech.Packet]
    kill: Callable[["Agent", int], None]
    """Kill it now, start it again after so many milliseconds."""


class Agent:
    """One node through its lives: each `start` is a new process that remembers nothing."""

    def __init__(self, plan: NodePlan, around: Surroundings) -> None:
        self.plan = plan
        self.around = around
        self.is_registered = False
        self.end: End | None = None
        self.slowness = 1.0
        self._rng = Random(f"agent {around.seed} {plan.name}")
        self._dials = 0
        self._new_process()

    def _new_process(self) -> None:
        self.process = Process(self.plan.name, wall_offset_ms=self.plan.wall_offset_ms)
        self.clock = SimClock(self.around.loop, self.process)
        self.timers = Timers(self.clock)

    # ------------------------------------------------------------------------------- for subclasses to fill

    def _born(self) -> None:
        """Forget everything: a new process."""
        raise NotImplementedError

    def on_assign(self, assign: wire.JobAssign, audio: bytes) -> None:
        raise NotImplementedError

    def in_hand(self) -> int:
        raise NotImplementedError

    def on_cancel(self, job_id: JobId) -> None:
        """The scheduler does not want the job any more."""

    def on_registered(self) -> None:
        """The scheduler took the node."""

    def on_lost(self) -> None:
        """The connection is gone."""

    def on_pong(self) -> None:
        """A ping was answered."""

    def on_any_frame(self) -> None:
        """Something was heard."""

    def on_tick(self) -> None:
        """Every `TICK_MS` while registered."""

    def drain(self) -> None:
        """The node wants to leave."""

    def retry_ms(self) -> int:
        raise NotImplementedError

    # ------------------------------------------------------------------------------- life

    def start(self) -> None:
        if not self.process.is_alive:
            self._new_process()
            self._born()
        self.around.loop.call_in(self.process, self._rng.randint(0, 300), self._connect)

    def died(self) -> None:
        """The world killed its process."""
        self.end = None
        self.is_registered = False
        self._dials += 1

    def later(self, delay_ms: int, callback: Callable[..., None], *args: Any) -> None:
        self.around.loop.call_in(self.process, delay_ms, callback, *args)

    def note(self, what: str, *facts: Any) -> None:
        self.around.history.note(what, self.plan.name, *facts)

    def service_ms(self, packets: int) -> int:
        spoken_ms = packets * speech.PACKET_MS
        return int((self.plan.service_ms + self.plan.pace * spoken_ms) * self.slowness * self._rng.uniform(0.8, 1.3))

    def meets_poison(self, packets: list[speech.Packet]) -> bool:
        return not self.around.poison.isdisjoint(packets)

    def crashed(self, error: Exception, story: list[str]) -> None:
        self.note("bug", repr(error), tuple(story[-5:]))

    # ------------------------------------------------------------------------------- connection

    def _connect(self) -> None:
        self._dials += 1
        dial = self._dials
        door = self.around.doors.pick(self._rng, None)
        if door is None:
            self.later(self.retry_ms(), self._connect)
            return

        def opened(end: End) -> None:
            if dial != self._dials:
                end.close(1000)
                return
            self.end = end
            end.on_frame = self._on_frame
            end.on_close = lambda _code: self._on_lost(dial)
            end.send(codec.encode(self.registration()).decode())

        def failed() -> None:
            if dial == self._dials:
                self.later(self.retry_ms(), self._connect)

        self.around.network.dial(self.process, door, "/ws/node", opened, failed)
        self.later(15_000, self._give_up_registering, dial)

    def _give_up_registering(self, dial: int) -> None:
        if dial == self._dials and not self.is_registered:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connection from here and try again."""
        if self.end is not None:
            self.end.close(1001)
        self._on_lost(self._dials)

    def _on_lost(self, dial: int) -> None:
        if dial != self._dials:
            return
        self._dials += 1
        self.end = None
        self.is_registered = False
        self.on_lost()
        self.later(self.retry_ms(), self._connect)

    def registration(self) -> wire.NodeRegister:
        languages = list(self.plan.languages)
        return wire.NodeRegister(
            version="simulation",
            platform="simulation",
            hardware=wire.Hardware(cpu_cores=8, memory_gb=32),
            installed_models=[],
            capability_by_type=[wire.Capability(type=one, ready=True) for one in SERVICES],
            features_supported={},
            accept_public_jobs=True,
            language_capabilities=wire.LanguageCapabilities(
                asr_languages=languages, semantic_languages=languages, tts_languages=languages
            ),
            node_id=self.plan.name,
        )

    def send(self, message: Wire) -> None:
        if self.end is not None and self.is_registered:
            self.end.send(codec.encode(message).decode())

    def _heartbeat(self) -> None:
        self.send(
            wire.NodeHeartbeat(
                node_id=self.plan.name,
                timestamp=self.clock.wall_ms(),
                resource_usage=wire.ResourceUsage(cpu_percent=10.0, running_jobs=self.in_hand()),
                capability_by_type=[wire.Capability(type=one, ready=True) for one in SERVICES],
            )
        )

    def _beat(self, dial: int) -> None:
        if dial == self._dials and self.is_registered:
            self._heartbeat()
            self.later(HEARTBEAT_MS, self._beat, dial)

    def _tick(self, dial: int) -> None:
        if dial == self._dials and self.is_registered:
            self.later(TICK_MS, self._tick, dial)
            self.on_tick()

    def _on_frame(self, frame: Frame) -> None:
        self.on_any_frame()
        if isinstance(frame, Ping):
            if self.end is not None:
                self.end.send(PONG)
            return
        if isinstance(frame, Pong):
            self.on_pong()
            return
        message, audio = codec.decode_scheduler(frame)
        match message:
            case wire.NodeRegisterAck():
                self._on_ack()
            case wire.JobAssign():
                self.on_assign(message, audio)
            case wire.JobCancel():
                self.on_cancel(JobId(message.job_id))
            case _:
                self.note("told", type(message).__name__)

    def _on_ack(self) -> None:
        if self.is_registered:
            return
        self.is_registered = True
        self.note("registered")
        self.on_registered()
        self._heartbeat()
        self.later(HEARTBEAT_MS, self._beat, self._dials)
        self.later(TICK_MS, self._tick, self._dials)


def spoken(assign: wire.JobAssign, packets: list[speech.Packet]) -> tuple[str, str]:
    """From which language to which a node translates what it has heard."""
    if assign.mode != "two_way_auto" or assign.lang_a is None or assign.lang_b is None:
        return assign.src_lang, assign.tgt_lang
    return speech.direction(assign.lang_a, assign.lang_b, packets)
