"""Whatever the network does: every byte is heard once and in order, every result is told once and in order."""

import random
from collections import deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.machine import ClientMachine, Limits
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from tests.client.model import ModelScheduler, init_ack, translation

Upward = wire.ClientMessage | BinaryChunk | BinaryPing
STEPS = st.one_of(
    st.tuples(st.just("speak"), st.binary(min_size=1, max_size=200)),
    st.tuples(st.just("final"), st.just(b"")),
    st.tuples(st.sampled_from(["up", "down", "wait"]), st.integers(1, 40)),
    st.just(("cut", 0)),
    st.just(("pause", 0)),
    st.just(("goaway", 0)),
)


@dataclass
class World:
    """A machine, a model of the scheduler, and two pipes between them that lose what is under way when cut."""

    machine: ClientMachine
    scheduler: ModelScheduler = field(default_factory=ModelScheduler)
    now_ms: int = 0
    up: "deque[Upward]" = field(default_factory=deque[Upward])
    down: "deque[wire.ServerMessage]" = field(default_factory=deque[wire.ServerMessage])
    is_connected: bool = False
    is_dialling: bool = False
    spoken: bytes = b""
    told: list[ev.SessionEvent] = field(default_factory=list[ev.SessionEvent])
    ended: list[ev.End] = field(default_factory=list[ev.End])

    def happen(self, event: ev.ClientEvent) -> None:
        effects = self.machine.handle(event, self.now_ms)
        self.machine.check()
        for effect in effects:
            assert not self.ended, f"{effect} after the end"
            match effect:
                case ev.Dial():
                    assert not self.is_connected
                    self.is_dialling = True
                case ev.HangUp():
                    self._drop()
                case ev.Send():
                    assert self.is_connected
                    self.up.append(effect.message)
                case ev.Tell():
                    self.told.append(effect.event)
                case ev.MakeRoom():
                    assert self.machine.has_room
                case ev.End():
                    self.ended.append(effect)

    def step(self, kind: str, what: "bytes | int") -> None:
        match kind, what:
            case "speak", bytes() if self.machine.has_room:
                self.spoken += what
                self.happen(ev.AudioSpoken(what, is_final=False))
            case "final", _ if self.machine.has_room:
                self.happen(ev.AudioSpoken(b"", is_final=True))
            case "up", int():
                self.carry_up(what)
            case "down", int():
                self.carry_down(what)
            case "wait", int():
                self.wait(what * 100)
            case "cut", _ if self.is_connected or self.is_dialling:
                self._drop()
                self.happen(ev.SocketLost("cut"))
            case "pause", _ if self.is_connected:
                self.down.append(wire.Backpressure(action="PAUSE", resume_after_ms=500))
            case "goaway", _ if self.is_connected:
                self.down.append(wire.Goaway(reason="drain", time_left_ms=5000))
            case _:
                pass

    def carry_up(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            self.down += self.scheduler.receive(self.up.popleft())

    def carry_down(self, count: int) -> None:
        for _ in range(count):
            if self.down:
                self.happen(ev.MessageArrived(self.down.popleft()))

    def wait(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        while True:
            if self.is_dialling:
                self.is_dialling = False
                self.is_connected = True
                self.happen(ev.SocketOpened())
            at_ms = self.machine.next_deadline_ms()
            if at_ms is None or at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            self.happen(ev.TimeReached())
        self.now_ms = until_ms

    def heal(self) -> None:
        """A network without faults, until the end."""
        for _ in range(400):
            if self.ended:
                return
            self.wait(250)
            while self.up or self.down:
                self.carry_up(1000)
                self.carry_down(1000)
        raise AssertionError(f"never ended; {self.machine.phase}")

    def _drop(self) -> None:
        self.is_connected = self.is_dialling = False
        self.up.clear()
        self.down.clear()


def open_world(limits: Limits | None = None) -> World:
    init = wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", protocol_version="1.1")
    world = World(ClientMachine(init, limits or Limits(ring_bytes_max=2000), random.Random(7), epoch_ms=0))
    world.happen(ev.Started())
    world.wait(0)
    world.carry_up(1)
    world.carry_down(1)
    return world


@given(st.lists(STEPS, max_size=60))
def test_no_word_is_lost_or_doubled_whatever_the_network_does(steps: "list[tuple[str, bytes | int]]"):
    world = open_world()
    for kind, what in steps:
        world.step(kind, what)
        if world.ended:
            break
    if world.ended:
        # Only an outage as long as the resume window may end a session that nobody finished.
        assert world.ended[0].error is not None
        return
    world.happen(ev.FinishRequested())
    world.heal()

    assert world.ended == [ev.End(None)]
    assert world.scheduler.audio == world.spoken
    told = [event.utterance_index for event in world.told if isinstance(event, wire.TranslationResult)]
    assert told == list(range(len(world.scheduler.concluded)))


@given(st.lists(STEPS, max_size=40), st.randoms(use_true_random=False))
def test_any_event_at_any_time_keeps_the_invariants(steps: "list[tuple[str, bytes | int]]", rng: random.Random):
    """A scheduler that sends anything at any time cannot break the machine."""
    world = open_world()
    strange: list[ev.ClientEvent] = [
        ev.SocketOpened(),
        ev.TimeReached(),
        ev.MessageArrived(wire.SessionResumeAck(session_id="s-1", resume_token="x", next_seq=99, replayed=0)),
        ev.MessageArrived(wire.AudioAck(session_id="s-1", seq=1_000_000)),
        ev.MessageArrived(wire.Backpressure(action="PAUSE", resume_after_ms=-5)),
        ev.MessageArrived(BinaryPing("s-1", 1, 2)),
        ev.MessageArrived(translation(3, 7)),
        ev.MessageArrived(translation(0, None)),
        ev.MessageArrived(init_ack(resume_token=None)),
    ]
    for kind, what in steps:
        if kind != "up":
            world.step(kind, what)
        if world.is_connected and not world.ended:
            world.happen(rng.choice(strange))
    if not world.ended:
        world.happen(ev.Abandoned())

    assert len(world.ended) == 1
    assert world.machine.next_deadline_ms() is None
