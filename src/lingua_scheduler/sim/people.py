"""A speaker with the production client's machine: speaks as planned, comes back when the connection is lost."""

from collections.abc import Callable
from random import Random
from typing import Protocol

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.machine import ClientMachine, Limits, Phase
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.sockets import Pong
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.history import History
from lingua_scheduler.sim.loop import Process, VirtualLoop
from lingua_scheduler.sim.plan import SpeakerPlan, Turn
from lingua_scheduler.sim.redis import EPOCH_MS
from lingua_scheduler.sim.wire import PONG, End, Frame, Listener, Network, Ping

REOPEN_MS = (500, 4_000)


class SimClock(Clock):
    """The clocks of one process."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def now_ms(self) -> int:
        return self._loop.now_ms + self._process.monotonic_offset_ms

    def wall_ms(self) -> int:
        return EPOCH_MS + self._loop.now_ms + self._process.wall_offset_ms


class Doors(Protocol):
    """The load balancer: which instance a new connection goes to."""

    def pick(self, rng: Random, before: Listener | None) -> Listener | None: ...


class Speaker:
    """One person. `is_done` once everything was said and the last session is over."""

    def __init__(
        self, plan: SpeakerPlan, seed: int, loop: VirtualLoop, network: Network, doors: Doors, history: History
    ) -> None:
        self.plan = plan
        self.process = Process(f"client-{plan.number}", monotonic_offset_ms=plan.number * 1_000)
        self.is_done = False
        self.chunk_packets = 4
        self._rng = Random(f"client {seed} {plan.number}")
        self._loop = loop
        self._network = network
        self._doors = doors
        self._history = history
        self._clock = SimClock(loop, self.process)
        self._timers = Timers(self._clock)
        self._machine: ClientMachine | None = None
        self._driver: Driver[ev.ClientEvent, ev.ClientEffect] | None = None
        self._door: Listener | None = None
        self._end: End | None = None
        self._dials = 0
        self._next_packet = 0
        self._is_silent = False

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def session_id(self) -> str:
        return self._machine.ack.session_id if self._machine and self._machine.ack else ""

    def start(self) -> None:
        first_ms = self.plan.turns[0].at_ms if self.plan.turns else 0
        self._loop.call_in(self.process, max(0, first_ms - 500), self._open)
        for turn in self.plan.turns:
            self._loop.call_in(self.process, turn.at_ms, self._speak, turn, turn.packets)

    def fall_silent(self) -> None:
        """Say no more than what was begun; finish the session."""
        self._is_silent = True
        self._loop.call_in(self.process, 0, self._finish)

    def connection(self) -> End | None:
        return self._end

    def status(self) -> str:
        """For people who look at a run that did not end."""
        return f"{self.name} {self._machine.phase.name if self._machine else '–'} session {self.session_id[:8]}"

    # ------------------------------------------------------------------------------- speaking

    def _speak(self, turn: Turn, left: int) -> None:
        if self._is_silent:
            return
        packets = min(left, self.chunk_packets)
        is_last = packets == left
        numbers = range(self._next_packet, self._next_packet + packets)
        self._next_packet += packets
        is_final = is_last and turn.ending == "final"
        machine, driver = self._machine, self._driver
        if machine is None or driver is None or machine.phase is Phase.ENDED or not machine.has_room:
            self._history.note("unsaid", self.name, numbers[0], numbers[-1])
        else:
            driver.post(ev.AudioSpoken(speech.say(self.plan.number, numbers), is_final))
        if not is_last:
            self._loop.call_in(self.process, packets * speech.PACKET_MS, self._speak, turn, left - packets)

    def _finish(self) -> None:
        if self._machine is None or self._driver is None or self._machine.phase is Phase.ENDED:
            self.is_done = True
        else:
            self._driver.post(ev.FinishRequested())

    # ------------------------------------------------------------------------------- the session

    def _open(self) -> None:
        if self._is_silent:
            self.is_done = True
            return
        plan = self.plan
        init = wire.SessionInit(
            client_version="simulation",
            platform="simulation",
            src_lang=plan.src,
            tgt_lang=plan.tgt,
            protocol_version=plan.protocol,
            audio_format="opus",
            sample_rate=16_000,
            binary=plan.protocol == "1.1",
            mode="two_way_auto" if plan.two_way else None,
            lang_a=plan.src if plan.two_way else None,
            lang_b=plan.tgt if plan.two_way else None,
        )
        self._machine = ClientMachine(init, Limits(), self._rng, self._clock.epoch_ms())
        self._driver = Driver(self._machine, self._perform, ev.TimeReached(), self._timers, self._clock, self._crashed)
        self._driver.post(ev.Started())

    def _perform(self, effect: ev.ClientEffect) -> None:
        match effect:
            case ev.Dial():
                self._dial()
            case ev.HangUp():
                self._dials += 1
                if self._end is not None:
                    self._end.close(effect.code)
                    self._end = None
            case ev.Send():
                self._send(effect.message)
            case ev.Tell():
                self._on_told(effect.event)
            case ev.MakeRoom():
                pass
            case ev.End():
                self._on_end(effect)

    def _send(self, message: wire.ClientMessage | codec.BinaryChunk | codec.BinaryPing) -> None:
        if self._end is None:
            return
        match message:
            case codec.BinaryChunk():
                self._note_sent(message.seq, message.audio)
                self._end.send(codec.encode_chunk(message))
            case codec.BinaryPing():
                self._end.send(codec.encode_ping(message))
            case wire.AudioChunk():
                self._note_sent(message.seq, codec.decode_audio(message.payload))
                self._end.send(codec.encode(message).decode())
            case _:
                self._end.send(codec.encode(message).decode())

    def _note_sent(self, seq: int, audio: bytes) -> None:
        if audio:
            self._history.note("sent", self.name, self.session_id, seq, *speech.ends(audio))

    def _on_told(self, event: ev.SessionEvent) -> None:
        session = self.session_id
        match event:
            case wire.SessionInitAck():
                self._history.note("opened", self.name, session, event.protocol_version)
            case wire.TranslationResult():
                self._history.note(
                    "result", self.name, session, event.utterance_index, event.result_seq, event.text_asr
                )
                self._note_lacks(event.unsaid)
                self._look_at_direction(event)
            case wire.MissingResult():
                self._history.note("missing", self.name, session, event.utterance_index, event.result_seq, event.reason)
                self._note_lacks(event.unsaid)
            case wire.ErrorMessage():
                self._history.note("error", self.name, session, str(event.code))
            case ev.Disconnected() | ev.Reconnected():
                self._history.note(type(event).__name__.lower(), self.name, session)
            case _:
                pass

    def _note_lacks(self, unsaid: list[int] | None) -> None:
        for index in unsaid or ():
            self._history.note("lacks", self.name, self.session_id, index)

    def _look_at_direction(self, result: wire.TranslationResult) -> None:
        pair = self.plan.src, self.plan.tgt
        told = result.src_lang, result.tgt_lang  # absent for protocol 1.0
        wanted = speech.direction(*pair, list(speech.read(result.text_asr))) if self.plan.two_way else pair
        if self.plan.protocol == "1.1" and result.text_asr and told != wanted:
            self._history.note(
                "bug", self.name, f"a result from {told[0]} to {told[1]}, not {wanted[0]} to {wanted[1]}"
            )

    def _on_end(self, effect: ev.End) -> None:
        assert self._machine is not None
        why = "closed" if effect.error is None else str(effect.error.code)
        self._history.note("over", self.name, self.session_id, why)
        self._end = None
        if effect.error is None or self._is_silent:
            self.is_done = True
        else:
            self._loop.call_in(self.process, self._rng.randint(*REOPEN_MS), self._open)

    # ------------------------------------------------------------------------------- the connection

    def _dial(self) -> None:
        self._dials += 1
        dial, driver = self._dials, self._driver
        assert driver is not None

        def tell(event: ev.ClientEvent) -> None:
            if dial == self._dials and driver is self._driver:
                driver.post(event)

        def opened(end: End) -> None:
            if dial != self._dials:
                end.close(1000)
                return
            self._end = end
            end.on_frame = self._on_frame(tell)
            end.on_close = lambda code: tell(ev.SocketLost(f"closed with {code}"))
            tell(ev.SocketOpened())

        self._door = self._doors.pick(self._rng, self._door)
        if self._door is None:
            self._loop.call_in(self.process, 5, tell, ev.SocketLost("nobody answers"))
            return
        failed = lambda: tell(ev.SocketLost("refused"))  # noqa: E731
        self._network.dial(self.process, self._door, "/ws/session", opened, failed)

    def _on_frame(self, tell: Callable[[ev.ClientEvent], None]) -> Callable[[Frame], None]:
        def take(frame: Frame) -> None:
            if isinstance(frame, Ping):
                if self._end is not None:
                    self._end.send(PONG)
            elif not isinstance(frame, Pong):
                message = codec.decode_server(frame)
                if isinstance(message, wire.AudioAck):
                    self._history.note("acked", self.name, self.session_id, message.seq)
                tell(ev.MessageArrived(message))

        return take

    def _crashed(self, error: Exception, story: list[str]) -> None:
        self._history.note("bug", self.name, repr(error), tuple(story[-5:]))
        self.is_done = True
