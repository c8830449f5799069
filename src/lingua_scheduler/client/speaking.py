"""Speaks a recording into a session at the pace it was recorded, ending an utterance wherever the speaker pauses."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lingua_scheduler.client.gate import PAUSE_MS, Passed, Paused, SpeechGate
from lingua_scheduler.client.log import SessionLog
from lingua_scheduler.client.session import Session
from lingua_scheduler.client.sound import FRAME_MS, FRAME_SAMPLES
from lingua_scheduler.runtime.clock import Clock

CHUNK_FRAMES = 5
"""100 ms: what browsers and telephones send at a time."""


@dataclass(frozen=True, slots=True)
class Pace:
    speed: float = 1.0
    """Times real time; 0 is as fast as the scheduler takes it."""
    pause_ms: int = PAUSE_MS
    """A pause of this length ends an utterance."""
    is_gated: bool = True
    """Leave silence out and send finals. Otherwise all of the sound is sent, and the scheduler alone finds the ends."""


class Speaker:
    """One recording on its way into one session."""

    def __init__(self, session: Session, log: SessionLog, pace: Pace, clock: Clock) -> None:
        self._session = session
        self._log = log
        self._pace = pace
        self._clock = clock
        self._gate = SpeechGate(pace.pause_ms)
        self.started_ms = 0
        """When the first frame began to be spoken."""
        self._waiting: list[bytes] = []
        self._voiced: tuple[int, int] | None = None
        """Of the frames that wait: how many up to the last voiced one, and when that was spoken."""

    async def speak(self, frames: Iterable[bytes], told: Callable[[int, bool], None] | None = None) -> None:
        """Send all frames and return when the last has been spoken; the session is not finished.

        `told` hears, after each chunk, how many milliseconds have been spoken and whether the speaker is speaking.
        """
        self.started_ms = self._clock.now_ms()
        spoken = 0
        for position, frame in enumerate(frames):
            await self._wait_spoken(position)
            if self._pace.is_gated:
                await self._on_heard(self._gate.feed(frame))
            else:
                await self._pass_on(frame, position, is_voiced=True)
            spoken = position + 1
            if told is not None and spoken % CHUNK_FRAMES == 0:
                told(spoken * FRAME_MS, self._gate.is_speaking)
        if self._pace.is_gated:
            await self._on_heard(self._gate.flush())
        await self._send()

    async def _on_heard(self, heard: list[Passed | Paused]) -> None:
        for one in heard:
            if isinstance(one, Passed):
                await self._pass_on(one.frame, one.position, is_voiced=one.is_voiced)
            else:
                await self._send()
                await self._session.send_final()
                self._log.ended_utterance()

    async def _pass_on(self, frame: bytes, position: int, *, is_voiced: bool) -> None:
        self._waiting.append(frame)
        if is_voiced:
            self._voiced = len(self._waiting), self._spoken_at_ms(position)
        if len(self._waiting) == CHUNK_FRAMES:
            await self._send()

    async def _send(self) -> None:
        before = self._session.sent_samples
        await self._session.send_audio(b"".join(self._waiting))
        self._waiting.clear()
        if self._voiced is not None:
            count, at_ms = self._voiced
            self._log.spoke(before + count * FRAME_SAMPLES, at_ms)
            self._voiced = None

    def _spoken_at_ms(self, position: int) -> int:
        """When the frame at `position` has been spoken to its end."""
        if not self._pace.speed:
            return self._clock.now_ms()
        return self.started_ms + int((position + 1) * FRAME_MS / self._pace.speed)

    async def _wait_spoken(self, position: int) -> None:
        late_ms = self._clock.now_ms() - self._spoken_at_ms(position)
        if late_ms < 0:
            await asyncio.sleep(-late_ms / 1000)
