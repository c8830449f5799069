"""People who speak through the client library, and note what they say and hear as those of a simulation do."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from lingua_scheduler.client import ClientError, Session, SessionOptions
from lingua_scheduler.client import events as ev
from lingua_scheduler.client.dial import session_url
from lingua_scheduler.client.session import _Line
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk
from lingua_scheduler.sim.history import Event
from lingua_scheduler.sim.plan import SpeakerPlan
from lingua_scheduler.sim.speech import PACKET_MS
from tests.e2e.chaos import numbered
from tests.e2e.chaos.instance import WallHistory, wall_ms

REOPEN_S = 1.0

# pyright: reportPrivateUsage=false


class NotingSession(Session):
    """A session of the library that notes what passes through it."""

    def __init__(self, urls: Sequence[str], plan: SpeakerPlan, history: WallHistory) -> None:
        self.name = f"speaker-{plan.number}"
        self._history = history
        self._replaying = 0, 0
        """How many results are still to be repeated, and since when they are."""
        super().__init__([session_url(url) for url in urls], plan.src, plan.tgt, SessionOptions())

    def cut(self) -> None:
        """Its connection breaks, and both ends learn of it."""
        if self._line is not None and (socket := self._line._socket) is not None:
            websocket: Any = socket._ws
            if (connection := websocket._response.connection) is not None:
                connection.transport.abort()

    def _perform(self, effect: ev.ClientEffect) -> None:
        match effect:
            case ev.Dial():
                self._line = _Line(next(self._urls), self._hear, self._wait_queue)
                self._line.task = self._scope.start(self._line.run(), "client-line")
                return
            case ev.Send(BinaryChunk(seq=seq, audio=audio)) if audio:
                packets = numbered.hear(audio)
                self._note("sent", seq, packets[0][1], packets[-1][1])
            case ev.Tell(event):
                self._note_told(event)
            case ev.End(error):
                self._note("over", "closed" if error is None else str(error.code))
            case _:
                pass
        super()._perform(effect)

    def _hear(self, event: ev.ClientEvent) -> None:
        if isinstance(event, ev.MessageArrived):
            self._note_arrived(event.message)
        self._driver.post(event)
        try:
            self._machine.check()
        except AssertionError as error:
            self._history.note("bug", self.name, f"after {type(event).__name__}: {error}")

    def _note_arrived(self, message: object) -> None:
        match message:
            case wire.AudioAck(seq=seq):
                self._note("acked", seq)
            case wire.SessionResumeAck(replayed=replayed):
                self._replaying = replayed, wall_ms()
            case wire.TranslationResult() | wire.MissingResult():
                left, since_ms = self._replaying
                self._replaying = max(0, left - 1), since_ms if left else 0
            case _:
                pass

    def _note_told(self, event: ev.SessionEvent) -> None:
        match event:
            case wire.SessionInitAck():
                self._note("opened", event.protocol_version)
            case wire.TranslationResult():
                self._note("result", event.utterance_index, event.result_seq, event.text_asr)
            case wire.MissingResult():
                self._note("missing", event.utterance_index, event.result_seq, event.reason)
            case wire.ErrorMessage():
                self._note("error", str(event.code))
            case ev.Disconnected() | ev.Reconnected():
                self._note(type(event).__name__.lower())
            case _:
                pass

    def _note(self, what: str, *facts: object) -> None:
        session = self._machine.ack.session_id if self._machine.ack else ""
        # However slow the machine: what is repeated came with the reconnection.
        at_ms = self._replaying[1] if what in ("result", "missing") else 0
        self._history.add(Event(at_ms or wall_ms(), what, self.name, (session, *facts)))


class Speaker:
    """One of them: follows a plan, opens another session where one was lost."""

    def __init__(self, plan: SpeakerPlan, urls: Sequence[str], history: WallHistory) -> None:
        self.plan = plan
        self.session: NotingSession | None = None
        self.is_done = False
        self._urls = urls
        self._history = history
        self._silent = asyncio.Event()
        self._next_packet = 0

    def fall_silent(self) -> None:
        """Say no more than what was begun; finish the session."""
        self._silent.set()

    def status(self) -> str:
        phase = self.session._machine.phase.name if self.session is not None else "–"
        return f"speaker-{self.plan.number} {phase}"

    async def run(self, now_ms: Callable[[], int]) -> None:
        speaking = asyncio.create_task(self._speak(now_ms), name="speaker")
        try:
            while not (self._silent.is_set() and self.session is None):
                await self._converse(speaking)
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
        self.is_done = True

    async def _converse(self, speaking: "asyncio.Task[None]") -> None:
        """One session, from its opening to its end."""
        session = NotingSession(self._urls, self.plan, self._history)
        try:
            await session.wait_open()
            self.session = session
            finishing = asyncio.create_task(self._finish(session, speaking), name="finish")
            try:
                async for _ in session.events():
                    pass
            finally:
                finishing.cancel()
                await asyncio.gather(finishing, return_exceptions=True)
        except ClientError:
            await self._pause(REOPEN_S)
        finally:
            self.session = None
            await session.close()

    async def _finish(self, session: NotingSession, speaking: "asyncio.Task[None]") -> None:
        await self._silent.wait()
        await asyncio.wait([speaking])
        session.finish()

    async def _speak(self, now_ms: Callable[[], int]) -> None:
        for turn in self.plan.turns:
            if await self._pause((turn.at_ms - now_ms()) / 1000):
                return
            left = turn.packets
            while left:
                count = min(4, left)
                await self._say(count, is_final=count == left and turn.ending == "final")
                left -= count
                if await self._pause(count * PACKET_MS / 1000):
                    return

    async def _say(self, count: int, *, is_final: bool) -> None:
        numbers = range(self._next_packet, self._next_packet + count)
        self._next_packet += count
        if self.session is None:
            self._history.note("unsaid", f"speaker-{self.plan.number}", numbers[0], numbers[-1])
            return
        with contextlib.suppress(ClientError):  # the end of a session tells itself
            await self.session.send_audio(numbered.say(self.plan.number, numbers))
            if is_final:
                await self.session.send_final()

    async def _pause(self, seconds: float) -> bool:
        """Whether it is to be silent by then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._silent.wait()
        return self._silent.is_set()
