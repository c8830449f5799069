"""One recording through one session: what `translate` and `demo` have in common."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingua_scheduler.cli.console import Console
from lingua_scheduler.client import (
    Disconnected,
    Reconnected,
    Session,
    SessionEvent,
    SessionOptions,
    SoundError,
    connect,
)
from lingua_scheduler.client.log import SessionLog, Utterance, percentile
from lingua_scheduler.client.sound import decode_speech, write_wav
from lingua_scheduler.client.speaking import Pace, Speaker
from lingua_scheduler.protocol.codec import decode_audio
from lingua_scheduler.protocol.errors import PeerError
from lingua_scheduler.protocol.messages import ErrorMessage, MissingResult, TranslationResult, UiEvent
from lingua_scheduler.runtime.clock import Clock

_DEFAULT_RATE = 16_000
_HEADING = f"{'#':>3} {'spoken':>8} {'text':>8} {'sound':>8}"
_WHY_MISSING = {
    "silence_detected": "silence",
    "no_speech": "no words in it",
    "merged": "goes with the next",
    "gap_timeout": "late; it is still being worked on",
    "job_failed": "failed",
    "job_timeout": "failed: no node finished it in time",
    "no_available_node": "failed: no node was free for these languages",
    "pending_overflow_evict": "failed: too many results were waiting",
    "audio_lost": "failed: its audio was lost",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to translate, and how."""

    url: str | list[str]
    """Of several, a lost session is resumed at the next."""
    src: str
    tgt: str
    frames: Iterable[bytes]
    duration_ms: int | None
    """For people; None: unknown."""
    pace: Pace
    options: SessionOptions
    out: Path | None = None
    """Where the spoken translations go as WAV files; None: nowhere."""


class Conversation:
    """Runs an order and shows each utterance as it is answered. `answered` hears of each, after it was shown."""

    def __init__(self, order: Order, console: Console, answered: Callable[[Utterance], None]) -> None:
        self._order = order
        self._console = console
        self._answered = answered
        self._clock = Clock()
        self._speaker: Speaker | None = None
        self.log = SessionLog("")
        self.wavs: dict[int, Path] = {}

    async def run(self) -> SessionLog:
        """Speak, and return when everything said has been answered. ClientError where the session fails."""
        order = self._order
        async with connect(order.url, src=order.src, tgt=order.tgt, options=order.options) as session:
            if session.ack.message and "warning" in session.ack.message:
                self._console.note(session.ack.message)
            self._console.line(self._console.paint(_HEADING, "dim"))
            self.log = SessionLog(session.ack.session_id)
            self._speaker = Speaker(session, self.log, order.pace, self._clock)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._speak(session, self._speaker))
                async for event in session.events():
                    self._on_event(event)
        self._console.status("")
        return self.log

    async def _speak(self, session: Session, speaker: Speaker) -> None:
        await speaker.speak(self._order.frames, self._show_progress)
        session.finish()
        self._console.status("… waiting for the last translations")

    def _on_event(self, event: SessionEvent) -> None:
        utterance = self.log.received(event, self._clock.now_ms())
        if utterance is not None:
            self._show(utterance)
            return
        match event:
            case Disconnected():
                self._console.note(f"{event.reason}; reconnecting, your speech is kept")
            case Reconnected():
                self._console.note("connected again")
            case ErrorMessage():
                self._console.note(f"the scheduler says {event.code}: {event.message}")
            case UiEvent() if event.event == "ERROR":
                self._console.note(f"utterance {event.utterance_index}: {event.error_code}: {event.hint or ''}")
            case _:
                pass

    def _show(self, utterance: Utterance) -> None:
        outcome = utterance.outcome
        if isinstance(outcome, MissingResult):
            head = f"{outcome.utterance_index:>3} "
            self._console.line(f"{head}{self._console.paint(_WHY_MISSING[outcome.reason], 'dim')}")
        else:
            self._keep_speech(utterance, outcome)
            for part in self._row(utterance, outcome):
                self._console.wrapped(*part)
        for index in outcome.unsaid or ():
            self._console.note(f"utterance {index}: no node could translate its end")
        self._answered(utterance)

    def _row(self, utterance: Utterance, result: TranslationResult) -> list[tuple[str, str, str]]:
        at = self.spoken_at_ms(utterance)
        end = "" if at is None else f"{at / 1000:.1f} s"
        text, sound = (_seconds(ms) for ms in (utterance.text_latency_ms, utterance.sound_latency_ms))
        src, tgt = result.src_lang or self._order.src, result.tgt_lang or self._order.tgt
        return [
            (f"{result.utterance_index:>3} {end:>8} {text:>8} {sound:>8}  {src:<5} ", result.text_asr, ""),
            (f"{'':32}{tgt:<5} ", result.text_translated, "cyan"),
        ]

    def _keep_speech(self, utterance: Utterance, result: TranslationResult) -> None:
        try:
            audio = decode_audio(result.tts_audio)
            if not audio:
                return
            pcm, rate = decode_speech(audio, result.tts_format, result.tts_sample_rate or _DEFAULT_RATE)
        except (SoundError, PeerError) as error:
            self._console.note(str(error))
            return
        utterance.sound_at_ms = self._clock.now_ms()
        if self._order.out is not None:
            path = self._order.out / f"utterance-{result.utterance_index:02}.wav"
            write_wav(path, pcm, rate)
            self.wavs[result.utterance_index] = path

    def _show_progress(self, spoken_ms: int, is_speaking: bool) -> None:
        mark, spoken = "●" if is_speaking else "○", f"{spoken_ms / 1000:.1f}"
        if self._order.duration_ms is None:
            self._console.status(f"{mark} {spoken} s spoken")
        else:
            total_s = self._order.duration_ms / 1000
            self._console.progress(spoken_ms / 1000, total_s, f"{mark} {spoken} of {total_s:.0f} s spoken")

    def spoken_at_ms(self, utterance: Utterance) -> int | None:
        """Where in the recording the utterance ended."""
        if utterance.spoken_at_ms is None or self._speaker is None:
            return None
        return int((utterance.spoken_at_ms - self._speaker.started_ms) * (self._order.pace.speed or 1))

    def row(self, utterance: Utterance) -> dict[str, Any]:
        """An utterance for machines."""
        outcome = utterance.outcome
        if isinstance(outcome, MissingResult):
            lacks = {"unsaid": outcome.unsaid} if outcome.unsaid else {}
            return {"index": utterance.index, "missing": outcome.reason, **lacks}
        return {
            "index": utterance.index,
            "src_lang": outcome.src_lang or self._order.src,
            "tgt_lang": outcome.tgt_lang or self._order.tgt,
            "source": outcome.text_asr,
            "translation": outcome.text_translated,
            "unsaid": outcome.unsaid or [],
            "spoken_at_ms": self.spoken_at_ms(utterance),
            "text_latency_ms": utterance.text_latency_ms,
            "audio_latency_ms": utterance.sound_latency_ms,
            "wav": str(self.wavs[utterance.index]) if utterance.index in self.wavs else None,
        }


def latencies(log: SessionLog) -> dict[str, int | None]:
    """Percentiles in ms from the end of speech to text and to sound; None where none was measured."""
    text = [u.text_latency_ms for u in log.utterances if u.text_latency_ms is not None]
    audio = [u.sound_latency_ms for u in log.utterances if u.sound_latency_ms is not None]
    return {
        "text_p50": percentile(text, 50),
        "text_p95": percentile(text, 95),
        "audio_p50": percentile(audio, 50),
        "audio_p95": percentile(audio, 95),
    }


def source_text(log: SessionLog) -> str:
    """All that was recognised, in order."""
    return " ".join(u.outcome.text_asr for u in log.utterances if isinstance(u.outcome, TranslationResult))


def _seconds(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:.2f} s"
