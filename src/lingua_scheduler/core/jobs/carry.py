"""Audio of earlier utterances that a later job has to say: what it is, and how its end is cut off.

A node may keep the end of one utterance, or all of it, for the session's next job. A `Piece` is our claim on that
audio: should the node be lost, the piece is sent again in front of whatever job is to say it.

Cutting PCM16 is exact. Opus is cut between packets, outward: a piece may begin up to one packet early, so that nothing
is lost; nodes cut in pauses, so the few doubled milliseconds are silence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lingua_scheduler.core.jobs.events import NodeTraits
from lingua_scheduler.core.utterance import Utterance
from lingua_scheduler.protocol.audio import (
    OPUS_CLOCK_HZ,
    PCM16_BYTES_PER_SAMPLE,
    join_packets,
    opus_packet_ticks,
    split_packets,
)
from lingua_scheduler.protocol.ids import JobId


@dataclass(frozen=True, slots=True)
class Piece:
    """The last `samples` samples of `utterance`, which `keeper`, if any, still has from the job it was sent with."""

    job_id: JobId
    utterance: Utterance
    samples: int
    keeper: NodeTraits | None

    @property
    def order(self) -> tuple[int, int]:
        return self.utterance.index, -self.samples

    @property
    def span(self) -> tuple[int, int]:
        """Where it lies on the session's time line."""
        stop = self.utterance.start_samples + self.utterance.samples
        return stop - self.samples, stop

    @property
    def is_here(self) -> bool:
        return bool(self.utterance.audio)

    def refilled(self, index: int, audio: bytes) -> "Piece":
        if self.utterance.index != index or self.is_here:
            return self
        return replace(self, utterance=replace(self.utterance, audio=audio))

    def without_keeper(self) -> "Piece":
        return replace(self, keeper=None) if self.keeper else self

    def fits(self, utterance: Utterance) -> bool:
        """Whether the audio of both can stand in one payload."""
        ours = self.utterance
        return (ours.audio_format, ours.sample_rate) == (utterance.audio_format, utterance.sample_rate)


def is_same_connection(one: NodeTraits | None, other: NodeTraits | None) -> bool:
    return one is not None and other is not None and (one.node_id, one.epoch) == (other.node_id, other.epoch)


def tail_of(line: Sequence[Piece], samples: int, keeper: NodeTraits | None) -> list[Piece]:
    """The last `samples` samples of a line of pieces, kept by `keeper`."""
    tail: list[Piece] = []
    for piece in reversed(line):
        if samples <= 0:
            break
        taken = min(samples, piece.samples)
        tail.insert(0, replace(piece, samples=taken, keeper=keeper))
        samples -= taken
    return tail


def cut_tail(utterance: Utterance, samples: int) -> tuple[bytes, int]:
    """The audio of the last `samples` samples and how many it really has (of Opus: up to one packet more)."""
    if samples >= utterance.samples:
        return utterance.audio, utterance.samples
    if utterance.audio_format == "pcm16":
        size = samples * PCM16_BYTES_PER_SAMPLE
        return utterance.audio[len(utterance.audio) - size :], samples
    kept: list[memoryview] = []
    ticks = 0
    for packet in reversed(list(split_packets(utterance.audio))):
        if ticks * utterance.sample_rate >= samples * OPUS_CLOCK_HZ:
            break
        kept.insert(0, packet)
        ticks += opus_packet_ticks(packet)
    return join_packets(bytes(packet) for packet in kept), ticks * utterance.sample_rate // OPUS_CLOCK_HZ


def without_tail(utterance: Utterance, samples: int) -> Utterance:
    """The utterance without its last `samples` samples (of Opus: with up to one packet of them)."""
    if not samples:
        return utterance
    left = max(0, utterance.samples - samples)
    if utterance.audio_format == "pcm16":
        return replace(utterance, audio=utterance.audio[: left * PCM16_BYTES_PER_SAMPLE], samples=left)
    kept: list[bytes] = []
    ticks = 0
    for packet in split_packets(utterance.audio):
        if ticks * utterance.sample_rate >= left * OPUS_CLOCK_HZ:
            break
        kept.append(bytes(packet))
        ticks += opus_packet_ticks(packet)
    return replace(utterance, audio=join_packets(kept), samples=ticks * utterance.sample_rate // OPUS_CLOCK_HZ)


def join_pieces(pieces: Iterable[Piece], utterance: Utterance) -> tuple[bytes, int]:
    """The payload of `pieces` followed by `utterance`, and how many samples come before the utterance's own."""
    parts: list[bytes] = []
    ahead = 0
    for piece in pieces:
        audio, samples = cut_tail(piece.utterance, piece.samples)
        parts.append(audio)
        ahead += samples
    return (b"".join([*parts, utterance.audio]), ahead) if parts else (utterance.audio, 0)


def touches(pieces: Sequence[Piece], utterance: Utterance) -> bool:
    """Whether `pieces` lie in front of `utterance` without a gap, as one stretch of the session's time line."""
    spans = [piece.span for piece in pieces]
    spans.append((utterance.start_samples, utterance.start_samples + utterance.samples))
    return all(left[1] == right[0] for left, right in pairwise(spans))
