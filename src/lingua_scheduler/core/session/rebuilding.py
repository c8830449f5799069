"""Puts the audio of open utterances together again from chunks that the client sends once more after a resume.

The boundaries are those of the first time: an utterance is whole when it has as many bytes as it had. Knows nothing of
jobs. Bounds: no more chunks are kept than the utterances had bytes.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from lingua_scheduler.core.session.record import OpenUtterance


@dataclass(slots=True)
class _Part:
    utterance: OpenUtterance
    chunks: dict[int, bytes] = field(default_factory=dict[int, bytes])
    size_bytes: int = 0


class Rebuilding:
    """`sealed_seq`: chunks up to it were spoken before; `next_seq`: from where on they are wanted again."""

    __slots__ = ("_parts", "sealed_seq")

    def __init__(self, utterances: Iterable[OpenUtterance], sealed_seq: int) -> None:
        self._parts = [_Part(one) for one in utterances if one.first_seq is not None]
        self.sealed_seq = sealed_seq

    @property
    def is_done(self) -> bool:
        return not self._parts

    @property
    def next_seq(self) -> int:
        return min((part.utterance.first_seq or 0 for part in self._parts), default=self.sealed_seq + 1)

    def forget(self, wanted: Set[int]) -> None:
        """Only these utterances still need their audio: the others have their outcomes."""
        self._parts = [part for part in self._parts if part.utterance.index in wanted]

    def add(self, seq: int, audio: bytes) -> tuple[int, bytes] | None:
        """The utterance that this chunk makes whole: its index and audio."""
        for part in self._parts:
            first_seq = part.utterance.first_seq or 0
            if not first_seq <= seq <= part.utterance.last_seq or seq in part.chunks:
                continue
            part.chunks[seq] = audio
            part.size_bytes += len(audio)
            if part.size_bytes < part.utterance.size_bytes:
                return None
            self._parts.remove(part)
            return part.utterance.index, b"".join(part.chunks[one] for one in sorted(part.chunks))
        return None

    def give_up(self) -> list[int]:
        """The client goes on with new speech: what is not whole now will never be."""
        missing = [part.utterance.index for part in self._parts]
        self._parts.clear()
        return missing
