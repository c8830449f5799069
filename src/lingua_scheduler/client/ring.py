"""The audio that a client has spoken and the scheduler has not concluded yet, so that a lost socket loses no word.

Every chunk has a `seq`, from 0, without gaps. A chunk is in the ring from when it is spoken until it is acknowledged;
`take` walks a cursor through it, `rewind` sets the cursor back when another connection begins.

Bound: `bytes_max`. A full ring takes no more (`has_room` is false) and its owner waits: audio is never dropped here.
"""

from collections import deque
from dataclasses import dataclass

_CHUNK_BYTES = 64
"""What a chunk without audio counts for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of audio as it goes on the wire, or the final of an utterance, or both."""

    seq: int
    audio: bytes
    is_final: bool
    spoken_at_ms: int
    """Wall time, UTC."""

    @property
    def size_bytes(self) -> int:
        return _CHUNK_BYTES + len(self.audio)


class Ring:
    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._chunks: deque[Chunk] = deque()
        self._bytes = 0
        self._next_seq = 0
        self._cursor = 0
        """The seq of the next chunk to send."""

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def has_room(self) -> bool:
        return self._bytes < self._bytes_max

    @property
    def has_unsent(self) -> bool:
        return self._cursor < self._next_seq

    @property
    def next_seq(self) -> int:
        """The seq that the next spoken chunk gets."""
        return self._next_seq

    @property
    def acked_seq(self) -> int:
        """The newest chunk that is forgotten; -1: none."""
        return self._next_seq - len(self._chunks) - 1

    def add(self, audio: bytes, *, is_final: bool, spoken_at_ms: int) -> None:
        chunk = Chunk(self._next_seq, audio, is_final, spoken_at_ms)
        self._next_seq += 1
        self._chunks.append(chunk)
        self._bytes += chunk.size_bytes

    def take(self) -> Chunk | None:
        """The next chunk to send; it stays in the ring."""
        if not self.has_unsent:
            return None
        chunk = self._chunks[self._cursor - self._chunks[0].seq]
        self._cursor += 1
        return chunk

    def acknowledge(self, seq: int) -> None:
        """Forget every chunk up to `seq`. What was never sent cannot have been concluded and stays."""
        while self._chunks and self._chunks[0].seq <= min(seq, self._cursor - 1):
            self._bytes -= self._chunks.popleft().size_bytes

    def rewind(self, next_seq: int) -> None:
        """Send again from `next_seq`, or from the oldest chunk there is."""
        oldest = self._chunks[0].seq if self._chunks else self._next_seq
        self._cursor = min(max(next_seq, oldest), self._next_seq)

    def check(self) -> None:
        chunks, first = self._chunks, self._next_seq - len(self._chunks)
        assert [chunk.seq for chunk in chunks] == list(range(first, self._next_seq)), "no gap, newest last"
        assert self._bytes == _CHUNK_BYTES * len(chunks) + sum([len(chunk.audio) for chunk in chunks])
        assert first <= self._cursor <= self._next_seq, "the cursor is in the ring"
