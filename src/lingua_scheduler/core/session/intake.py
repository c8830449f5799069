"""From chunks to utterances: which audio belongs together, under which index, and which numbers were seen.

Every accepted byte is in exactly one utterance, in the order of arrival. Knows nothing of jobs.
"""

from dataclasses import dataclass

from lingua_scheduler.core.session import replies
from lingua_scheduler.core.session.buffer import AudioBuffer
from lingua_scheduler.core.session.config import SessionConfig, SessionIdentity
from lingua_scheduler.core.session.endpointing import Endpointing, Speech
from lingua_scheduler.core.session.events import ChunkArrived, UtteranceArrived
from lingua_scheduler.core.session.numbers import NUMBER_MAX, SeenNumbers
from lingua_scheduler.core.utterance import Audience, AudioFormat, FinalizeReason, Speaker
from lingua_scheduler.protocol.audio import count_samples, ms_to_samples
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import Language


@dataclass(frozen=True, slots=True)
class Collected:
    """An utterance that has ended, and what is to become of it."""

    index: int
    speaker: Speaker
    targets: tuple[Language, ...]
    audio: bytes
    audio_format: AudioFormat
    sample_rate: int
    start_samples: int
    samples: int
    reason: FinalizeReason
    began_at_ms: int
    first_seq: int | None
    """None where the audio did not come in chunks."""
    last_seq: int
    """Highest chunk number up to its end."""
    web_to_scheduler_ms: int | None
    """Of its last chunk, where the client's clock agrees with ours."""
    audience: Audience | None = None
    """Who hears it; None: the client itself."""


class Intake:
    """`index` and `first_seq` are those of the utterance being collected, None while there is no audio."""

    __slots__ = (
        "_began_at_ms",
        "_client_timestamp_ms",
        "_heard_at_ms",
        "_identity",
        "_max_bytes",
        "_max_samples",
        "audience",
        "buffer",
        "endpointing",
        "first_seq",
        "index",
        "indices",
        "sealed_seq",
        "seqs",
    )

    def __init__(self, config: SessionConfig, identity: SessionIdentity) -> None:
        self._identity = identity
        self._max_bytes = config.max_utterance_bytes
        self._max_samples = ms_to_samples(config.max_duration_ms, identity.sample_rate)
        self._began_at_ms = 0
        self._heard_at_ms = 0
        self._client_timestamp_ms: int | None = None
        self.buffer = AudioBuffer(identity.audio_format, identity.sample_rate)
        self.endpointing = Endpointing(config, identity.protocol)
        self.seqs = SeenNumbers()
        self.indices = SeenNumbers()
        self.index: int | None = None
        self.first_seq: int | None = None
        self.sealed_seq = -1
        """The highest chunk number when an utterance ended last."""
        self.audience: Audience | None = None
        """Who hears the utterance that ends next."""

    @property
    def speaker(self) -> Speaker:
        return self._identity.speaker if self.audience is None else self.audience.speaker

    @property
    def targets(self) -> tuple[Language, ...]:
        return self._identity.targets if self.audience is None else self.audience.targets

    @property
    def next_index(self) -> int:
        """Of the next utterance to begin."""
        return self.indices.highest + 1

    def hear(self, event: ChunkArrived, now_ms: int) -> bool:
        """Collect the audio of a chunk. Whether it begins an utterance; PeerError where the audio is not whole."""
        self.buffer.append(event.audio)
        self.endpointing.heard(now_ms)
        self._heard_at_ms = now_ms
        self._client_timestamp_ms = event.client_timestamp_ms
        if self.first_seq is not None:
            self.first_seq = min(self.first_seq, event.seq)
            return False
        self.index = self.next_index
        self.indices.add(self.index)
        self.first_seq = event.seq
        self._began_at_ms = now_ms
        return True

    def full(self) -> FinalizeReason | None:
        """Why the utterance ends with the chunk just heard, if it does.

        Once it has ended, length is no reason any more: stragglers belong to it. Its bytes stay bounded all the same.
        """
        is_ending = self.endpointing.state is Speech.ENDING
        if self.buffer.samples >= self._max_samples and not is_ending:
            return FinalizeReason.MAX_DURATION
        if self.buffer.size_bytes > self._max_bytes:
            return self.endpointing.reason if is_ending else FinalizeReason.MAX_LENGTH
        return None

    def take(self, reason: FinalizeReason) -> Collected | None:
        """Hand the utterance over and begin anew; None where no audio came."""
        self.endpointing.sealed()
        if self.index is None or self.buffer.audio_format is None:
            return None
        index, first_seq = self.index, self.first_seq
        self.sealed_seq = self.seqs.highest
        self.index = self.first_seq = None
        audio, start_samples, samples = self.buffer.take()
        return Collected(
            index=index,
            speaker=self.speaker,
            targets=self.targets,
            audience=self.audience,
            audio=audio,
            audio_format=self.buffer.audio_format,
            sample_rate=self.buffer.sample_rate,
            start_samples=start_samples,
            samples=samples,
            reason=reason,
            began_at_ms=self._began_at_ms,
            first_seq=first_seq,
            last_seq=self.sealed_seq,
            web_to_scheduler_ms=self._web_to_scheduler_ms(),
        )

    def take_whole(self, event: UtteranceArrived, now_ms: int) -> Collected:
        """The same for an utterance that came in one message; PeerError where its audio is not whole.

        It lies on the time line before what is being collected, because it ends first.
        """
        samples = count_samples(event.audio, event.audio_format, event.sample_rate)
        if not samples:
            raise PeerError(ErrorCode.INVALID_MESSAGE, f"utterance {event.index} has no audio")
        self.indices.add(event.index)
        return Collected(
            index=event.index,
            speaker=event.speaker if self.audience is None else self.audience.speaker,
            targets=(event.tgt_lang,) if self.audience is None else self.audience.targets,
            audience=self.audience,
            audio=event.audio,
            audio_format=event.audio_format,
            sample_rate=event.sample_rate,
            start_samples=self.buffer.place(samples, event.sample_rate),
            samples=samples,
            reason=FinalizeReason.IS_FINAL if event.manual_cut else FinalizeReason.TIMEOUT,
            began_at_ms=now_ms,
            first_seq=None,
            last_seq=self.sealed_seq,
            web_to_scheduler_ms=None,
        )

    def check(self) -> None:
        self.buffer.check()
        has_audio = self.buffer.samples > 0
        assert has_audio == (self.index is not None) == (self.first_seq is not None)
        assert not has_audio or self.endpointing.state is not Speech.SILENT, "audio is never forgotten"
        assert has_audio or self.endpointing.state is not Speech.SPEAKING
        assert self.buffer.size_bytes <= self._max_bytes, "a full utterance has ended"
        assert self.index is None or self.indices.has(self.index)

    def _web_to_scheduler_ms(self) -> int | None:
        if self._client_timestamp_ms is None:
            return None
        # Modulo what a binary frame has room for: there the client's clock has wrapped around.
        elapsed_ms = self._identity.epoch_ms + self._heard_at_ms - self._client_timestamp_ms
        return replies.credible_ms(elapsed_ms % (NUMBER_MAX + 1))
