"""What an utterance says while it is still being spoken: its audio to who previews it, partial texts to the client.

A preview is best effort. It creates no job, keeps no audio of its own and changes nothing about the utterance: without
it the client merely sees text later. Partial texts, of previews and of the job that follows, come from different
decodes and perhaps different nodes; what the client was once told is stable stays: a text that takes it back is not
passed on.
"""

from lingua_scheduler.core.session.backlog import Backlog
from lingua_scheduler.core.session.config import SessionConfig, SessionIdentity
from lingua_scheduler.core.session.events import PartialArrived, PreviewSpeech
from lingua_scheduler.core.session.intake import Intake
from lingua_scheduler.core.session.voice import Effects, Voice
from lingua_scheduler.protocol.ids import JobId, TraceId
from lingua_scheduler.protocol.messages import AsrPartial

INTERVAL_MIN_MS = 200
"""Whatever a session asks: nobody reads faster."""


class Preview:
    """Of one session. `_told` holds the stable prefix of each utterance whose text may still change."""

    __slots__ = (
        "_backlog",
        "_identity",
        "_index",
        "_intake",
        "_interval_ms",
        "_next_ms",
        "_told",
        "_told_max",
        "_voice",
    )

    def __init__(
        self, config: SessionConfig, identity: SessionIdentity, intake: Intake, backlog: Backlog, voice: Voice
    ) -> None:
        self._identity = identity
        self._intake = intake
        self._backlog = backlog
        self._voice = voice
        speaker = identity.speaker
        is_wanted = speaker.enable_streaming_asr and speaker.pipeline.use_asr is not False
        self._interval_ms = max(INTERVAL_MIN_MS, speaker.partial_update_interval_ms) if is_wanted else None
        self._index: int | None = None
        self._next_ms = 0
        self._told: dict[JobId, str] = {}
        self._told_max = config.results_open_max + len(identity.targets)

    def grew(self, now_ms: int, out: Effects) -> None:
        """The utterance being collected has more audio. Shown at most once per interval, first one interval in."""
        intake, targets = self._intake, self._intake.targets
        if self._interval_ms is None or intake.index is None or intake.buffer.audio_format is None or not targets:
            return
        if intake.index != self._index:
            self._index = intake.index
            self._next_ms = now_ms + self._interval_ms
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + self._interval_ms
        effect = PreviewSpeech(
            job_id=self._backlog.job_id(intake.index, targets[0]),
            index=intake.index,
            speaker=intake.speaker,
            tgt_lang=targets[0],
            chunks=intake.buffer.chunks,
            audio_format=intake.buffer.audio_format,
            sample_rate=intake.buffer.sample_rate,
        )
        out.append(effect)

    def on_partial(self, event: PartialArrived, out: Effects) -> None:
        """Pass a partial text on, of an utterance that is being spoken or whose job runs."""
        trace_id = self._trace_id(event)
        if trace_id is None:
            self._voice.count("unknown_job")
            return
        told = self._told.get(event.job_id, "")
        if not event.text.startswith(told):
            self._voice.count("unstable_partial")
            return
        stable_chars = max(len(told), min(event.stable_chars or 0, len(event.text)))
        if stable_chars:
            self._remember(event.job_id, event.text[:stable_chars])
        is_known = bool(told) or event.stable_chars is not None
        message = AsrPartial(
            session_id=self._identity.speaker.session_id,
            utterance_index=event.index,
            job_id=event.job_id,
            text=event.text,
            is_final=event.is_final,
            trace_id=trace_id,
            stable_chars=stable_chars if is_known and self._identity.protocol == "1.1" else None,
        )
        self._voice.send(message, out)

    def check(self) -> None:
        assert len(self._told) <= self._told_max, "answered utterances are forgotten"

    def _trace_id(self, event: PartialArrived) -> TraceId | None:
        """None where nobody waits for what the utterance says."""
        slot = self._backlog.delivery.slots.get(event.job_id)
        if slot is not None:
            return slot.utterance.speaker.trace_id if slot.outcome is None else None
        index = self._intake.index
        is_spoken = index is not None and any(
            event.job_id == self._backlog.job_id(index, target) for target in self._intake.targets
        )
        return self._identity.speaker.trace_id if is_spoken and not event.is_final else None

    def _remember(self, job_id: JobId, stable: str) -> None:
        if job_id not in self._told:
            slots = self._backlog.delivery.slots
            self._told = {one: text for one, text in self._told.items() if one in slots}
        self._told[job_id] = stable
