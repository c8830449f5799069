"""The client's side of a session: chunks and whole utterances in, ended utterances to the backlog, pressure back.

Joins `Intake` and `Backlog`. Knows nothing of how a session lives and ends.
"""

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.backlog import Backlog
from lingua_scheduler.core.session.config import SessionConfig, SessionIdentity
from lingua_scheduler.core.session.endpointing import Speech
from lingua_scheduler.core.session.intake import Collected, Intake
from lingua_scheduler.core.session.numbers import NUMBER_MAX
from lingua_scheduler.core.session.preview import Preview
from lingua_scheduler.core.session.rebuilding import Rebuilding
from lingua_scheduler.core.session.record import SessionState
from lingua_scheduler.core.session.voice import Effects, Voice
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.audio import valid_rate
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.messages import Backpressure


class Listening:
    """Hands each utterance on when it ends, whatever ended it."""

    __slots__ = (
        "_backlog",
        "_config",
        "_identity",
        "_press_again_ms",
        "_press_bytes",
        "_rebuilding",
        "_voice",
        "intake",
        "preview",
    )

    def __init__(self, config: SessionConfig, identity: SessionIdentity, backlog: Backlog, voice: Voice) -> None:
        self._config = config
        self._identity = identity
        self._backlog = backlog
        self._voice = voice
        self.intake = Intake(config, identity)
        self.preview = Preview(config, identity, self.intake, backlog, voice)
        level = config.pause_level if identity.protocol == "1.0" else config.slow_level
        self._press_bytes = int(config.session_buffer_bytes_max * level)
        self._press_again_ms = 0
        self._rebuilding: Rebuilding | None = None

    def next_seq(self) -> int:
        """From where on a client that resumes is to send its audio (again)."""
        if self._rebuilding is None:
            return self.intake.seqs.highest + 1
        self._rebuilding.forget(self._backlog.wanted)
        return self._rebuilding.next_seq

    def restore(self, state: SessionState) -> None:
        """Go on where another instance was; the audio of open utterances is to come again."""
        intake = self.intake
        intake.indices.restore(state.index_highest, state.index_gaps)
        intake.seqs.restore(state.sealed_seq)
        intake.sealed_seq = state.sealed_seq
        intake.buffer.audio_format = state.audio_format
        intake.buffer.line_samples = state.line_samples
        self._rebuilding = Rebuilding(state.open, state.sealed_seq)

    def _rebuild(self, rebuilding: Rebuilding, event: ev.ChunkArrived, now_ms: int, out: Effects) -> bool:
        """Whether the chunk was spoken before the session came here; it goes where it was then."""
        if event.seq > rebuilding.sealed_seq:
            self._rebuilding = None
            for index in rebuilding.give_up():
                self._backlog.lose(index, now_ms, out)
            return False
        whole = rebuilding.add(event.seq, event.audio)
        if whole is not None:
            self._backlog.refill(*whole, out)
            self._keep(0, now_ms, out)
        return True

    def on_chunk(self, event: ev.ChunkArrived, now_ms: int, out: Effects) -> bool:
        """Whether the chunk was merely collected, so that no deadline came nearer."""
        intake = self.intake
        if self._rebuilding is not None and self._rebuild(self._rebuilding, event, now_ms, out):
            return False
        if event.seq != intake.seqs.highest + 1 and not self._is_new(event.seq, out):
            return True
        intake.seqs.add(event.seq)
        is_first = bool(event.audio) and self._hear(event, now_ms, out)
        reason = self._final(now_ms) if event.is_final else None
        reason = reason or intake.full()
        if reason is not None:
            self.seal(reason, now_ms, out)
            return False
        if event.audio:
            self.preview.grew(now_ms, out)
        return not (is_first or event.is_final)

    def on_utterance(self, event: ev.UtteranceArrived, now_ms: int, out: Effects) -> None:
        if not 0 <= event.index < NUMBER_MAX or not valid_rate(event.sample_rate):
            self._refuse_audio(f"utterance {event.index} at {event.sample_rate} Hz", out)
        elif len(event.audio) > self._config.max_chunk_bytes:
            self._refuse_audio(f"utterance {event.index} has {len(event.audio)} bytes", out)
        elif self.intake.indices.has(event.index):
            self._repeat(event, out)
        else:
            try:
                collected = self.intake.take_whole(event, now_ms)
            except PeerError as error:
                self._refuse_audio(f"utterance {event.index}: {error.message}", out)
                return
            self._backlog.groups.begin(now_ms)
            self._voice.tell("INPUT_STARTED", self._backlog.subject(event.index, event.speaker, collected.targets), out)
            self._keep(len(event.audio), now_ms, out)
            self._launch(collected, now_ms, out)

    def pass_time(self, now_ms: int, out: Effects) -> None:
        """End the utterance whose pause or hangover is over."""
        reason = self.intake.endpointing.pass_time(now_ms)
        if reason is not None and not self.seal(reason, now_ms, out):
            self._voice.count("stale_trigger")

    def flush(self, now_ms: int, out: Effects) -> None:
        """End what is being collected, because nothing more will come."""
        endpointing = self.intake.endpointing
        is_ending = endpointing.state is Speech.ENDING
        self.seal(endpointing.reason if is_ending else FinalizeReason.SESSION_CLOSE, now_ms, out)

    def seal(self, reason: FinalizeReason, now_ms: int, out: Effects) -> bool:
        """End the utterance. Whether it had audio; else nothing happens and its index is kept."""
        collected = self.intake.take(reason)
        if collected is not None:
            self._launch(collected, now_ms, out)
        return collected is not None

    def check(self) -> None:
        self.intake.check()
        self.preview.check()
        self._backlog.check(self.intake.buffer.size_bytes)

    def _is_new(self, seq: int, out: Effects) -> bool:
        """Of a number that is not the next one."""
        seqs = self.intake.seqs
        if not 0 <= seq <= NUMBER_MAX:
            self._refuse_audio(f"seq {seq}", out)
            return False
        if seqs.has(seq):
            self._voice.count("repeated_seq")
            return False
        # Where a client begins to count is its own affair.
        if seq > seqs.highest >= 0:
            self._voice.count("missing_seq", seq - seqs.highest - 1)
        return True

    def _hear(self, event: ev.ChunkArrived, now_ms: int, out: Effects) -> bool:
        """Collect the audio. Whether it is the first of an utterance."""
        size_bytes = len(event.audio)
        if size_bytes > self._config.max_chunk_bytes:
            self._refuse_audio(f"chunk {event.seq} has {size_bytes} bytes", out)
            return False
        try:
            is_first = self.intake.hear(event, now_ms)
        except PeerError as error:
            self._refuse_audio(f"chunk {event.seq}: {error.message}", out)
            return False
        if is_first:
            self._backlog.groups.begin(now_ms)
            index, intake = self.intake.indices.highest, self.intake
            self._voice.tell("INPUT_STARTED", self._backlog.subject(index, intake.speaker, intake.targets), out)
        self._keep(size_bytes, now_ms, out)
        return is_first

    def _final(self, now_ms: int) -> FinalizeReason | None:
        is_news, reason = self.intake.endpointing.final(now_ms)
        if not is_news:
            self._voice.count("stale_trigger")
        return reason

    def _launch(self, collected: Collected, now_ms: int, out: Effects) -> None:
        subject = self._backlog.subject(collected.index, collected.speaker, collected.targets)
        self._voice.tell("INPUT_ENDED", subject, out, elapsed_ms=now_ms - collected.began_at_ms)
        self._backlog.launch(collected, now_ms, out)

    def _repeat(self, event: ev.UtteranceArrived, out: Effects) -> None:
        """Once more: the result it had, or nothing while its job runs. Refused where streamed audio has the index."""
        self._voice.count("repeated_utterance")
        delivery = self._backlog.delivery
        result = delivery.concluded_whole(event.index)
        if result is not None:
            self._voice.send(result, out)
        elif not delivery.awaits_whole(event.index):
            self._refuse_audio(f"utterance_index {event.index} is taken; the next is {self.intake.next_index}", out)

    def _keep(self, size_bytes: int, now_ms: int, out: Effects) -> None:
        backlog = self._backlog
        backlog.kept_bytes += size_bytes
        if backlog.kept_bytes > self._press_bytes:
            backlog.make_room(now_ms, out)
            self._press(now_ms, out)

    def _press(self, now_ms: int, out: Effects) -> None:
        """Ask the client to hold back, again after each pause it was asked for."""
        level = self._backlog.kept_bytes / self._config.session_buffer_bytes_max
        if now_ms < self._press_again_ms or self._backlog.kept_bytes <= self._press_bytes:
            return
        self._press_again_ms = now_ms + self._config.backpressure_ms
        action = "PAUSE" if level >= self._config.pause_level else "SLOW_DOWN"
        self._voice.send(Backpressure(action=action, resume_after_ms=self._config.backpressure_ms), out)

    def _refuse_audio(self, message: str, out: Effects) -> None:
        self._voice.count("refused_audio")
        self._voice.refuse(ErrorCode.INVALID_MESSAGE, message, out)
