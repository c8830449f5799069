"""Short words for long scenarios: a machine, its client and its jobs in one hand, and audio that says what it is."""

import sys
from array import array
from dataclasses import replace
from typing import Any, TypeVar

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol, SessionConfig, SessionIdentity
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.utterance import AudioFormat, FinalizeReason, JobSpec, Missing, Outcome, Speaker, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, Language, NodeId, SessionId, TraceId
from lingua_scheduler.protocol.messages import (
    AudioAck,
    ErrorMessage,
    MissingReason,
    MissingResult,
    ServerMessage,
    TranslationResult,
    UiEvent,
    UiEventName,
)
from lingua_scheduler.protocol.node import JobResult

M = TypeVar("M", bound=ServerMessage)
E = TypeVar("E", bound=ev.SessionEffect)

RATE = 16_000
EPOCH_MS = 1_700_000_000_000
EN, ES, PT = Language("en"), Language("es"), Language("pt")
SPEAKER = Speaker(SessionId("s"), TraceId("t"), EN)
DEFAULTS = SessionConfig()
PROTOCOLS: tuple[Protocol, ...] = ("1.0", "1.1")


def pcm(ms: int, start_ms: int = 0) -> bytes:
    """Samples that say where on the time line they are (modulo 2^16)."""
    first = start_ms * RATE // 1000
    samples = array("H", (at & 0xFFFF for at in range(first, first + ms * RATE // 1000)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def job_result(index: int, text: str, **fields: Any) -> JobResult:
    settled: dict[str, Any] = {
        "job_id": f"job-s-{index}-es",
        "attempt_id": 1,
        "node_id": "n",
        "session_id": "s",
        "utterance_index": index,
        "success": True,
        "trace_id": "t",
        "text_asr": text,
        "text_translated": f"[{text}]",
    }
    return JobResult(**(settled | fields))


class Scene:
    """A machine at a time. Every step is followed by `check()`; effects are kept in order in `effects`."""

    def __init__(
        self,
        *,
        protocol: Protocol = "1.1",
        config: SessionConfig = DEFAULTS,
        targets: tuple[Language, ...] = (ES,),
        speaker: Speaker = SPEAKER,
        audio_format: AudioFormat | None = "pcm16",
        sample_rate: int = RATE,
        ui_language: str = "",
    ) -> None:
        identity = SessionIdentity(speaker, targets, EPOCH_MS, protocol, audio_format, sample_rate, ui_language)
        self.config = config
        self.machine = SessionMachine(config, identity)
        self.now_ms = 100_000
        self.seq = 0
        self.spoken_ms = 0
        self.effects: list[ev.SessionEffect] = []
        self.started: list[JobSpec] = []
        self.time_reached()

    # ------------------------------------------------------------------------------------------- doing

    def handle(self, event: ev.SessionEvent) -> list[ev.SessionEffect]:
        """The effects of `event` alone."""
        effects = self.machine.handle(event, self.now_ms)
        self.machine.check()
        self.effects += effects
        self.started += [effect.spec for effect in effects if isinstance(effect, ev.StartJob)]
        return effects

    def wait(self, ms: int) -> list[ev.SessionEffect]:
        """Let time pass, with every timer on time."""
        until_ms, effects = self.now_ms + ms, list[ev.SessionEffect]()
        while (deadline_ms := self.machine.next_deadline_ms()) is not None and deadline_ms <= until_ms:
            self.now_ms = max(self.now_ms, deadline_ms)
            effects += self.time_reached()
            left_ms = self.machine.next_deadline_ms()
            assert left_ms is None or left_ms > self.now_ms, "a timer that was looked at is over"
        self.now_ms = until_ms
        return effects

    def jump(self, ms: int) -> None:
        """Let time pass while nobody looks at a timer."""
        self.now_ms += ms

    def time_reached(self) -> list[ev.SessionEffect]:
        return self.handle(ev.TimeReached())

    def say(self, ms: int, *, final: bool = False, sent_ms: int | None = None) -> list[ev.SessionEffect]:
        """A chunk of so much speech (0: an empty one)."""
        audio = pcm(ms, self.spoken_ms)
        self.spoken_ms += ms
        return self.chunk(audio, final=final, sent_ms=sent_ms)

    def chunk(self, audio: bytes, *, final: bool = False, sent_ms: int | None = None) -> list[ev.SessionEffect]:
        self.seq += 1
        return self.handle(ev.ChunkArrived(self.seq - 1, audio, final, sent_ms))

    def utter(self, ms: int = 500) -> JobSpec:
        """An utterance from its first chunk to its job, whatever the protocol."""
        count = len(self.started)
        self.say(ms, final=True)
        self.wait(self.config.hangover_manual_ms)
        assert len(self.started) > count, "an utterance ends in a job"
        return self.started[count]

    def conclude(self, index: int, outcome: Outcome | MissingReason | None = None, target: Language = ES):
        """End a job: with text unless told otherwise."""
        if isinstance(outcome, str):
            outcome = Missing(outcome)
        outcome = outcome or self.translated(index)
        return self.handle(ev.JobConcluded(job_id(index, target), index, target, outcome))

    def translated(self, index: int, **fields: Any) -> Translated:
        result = job_result(index, f"text {index}", **fields)
        return Translated(result, NodeId("n"), self.now_ms - 400, self.now_ms)

    def whole(self, index: int, *, ms: int = 500, manual: bool = True, target: Language = ES, rate: int = RATE):
        """A whole utterance with the client's own index."""
        return self.handle(ev.UtteranceArrived(index, pcm(ms), "pcm16", rate, manual, SPEAKER, target))

    # ------------------------------------------------------------------------------------------- seeing

    def sent(self, kind: type[M]) -> list[M]:
        return messages(self.effects, kind)

    def results(self) -> list[tuple[int, str]]:
        """What the client got, in order: index and text, or index and reason."""
        return results(self.effects)

    def ended(self) -> list[tuple[int, FinalizeReason, int]]:
        """Utterances in order: index, reason, length in milliseconds."""
        return [(spec.utterance.index, spec.utterance.reason, spec.utterance.duration_ms) for spec in self.started]

    def ui(self) -> list[UiEventName]:
        return [message.event for message in self.sent(UiEvent)]

    def acked(self) -> list[int]:
        return [message.seq for message in self.sent(AudioAck)]

    @property
    def state(self) -> Life:
        return self.machine.state


def job_id(index: int, target: Language = ES) -> JobId:
    return JobId(f"job-s-{index}-{target}")


def messages(effects: list[ev.SessionEffect], kind: type[M]) -> list[M]:
    sent = [effect.message for effect in effects if isinstance(effect, ev.Send)]
    return [message for message in sent if isinstance(message, kind)]


def of(effects: list[ev.SessionEffect], kind: type[E]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def results(effects: list[ev.SessionEffect]) -> list[tuple[int, str]]:
    told: list[tuple[int, str]] = []
    for effect in of(effects, ev.Send):
        match effect.message:
            case TranslationResult(utterance_index=index, text_asr=text):
                told.append((index, text))
            case MissingResult(utterance_index=index, reason=reason):
                told.append((index, reason))
            case _:
                pass
    return told


def codes(effects: list[ev.SessionEffect]) -> list[ErrorCode]:
    return [message.code for message in messages(effects, ErrorMessage)]


def small(**changes: int) -> SessionConfig:
    """A configuration whose bounds are reached with little audio."""
    base = SessionConfig(max_utterance_bytes=64_000, max_chunk_bytes=64_000, session_buffer_bytes_max=200_000)
    return replace(base, **changes)
