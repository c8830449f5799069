"""Results on their way to the scheduler, kept until it has certainly read them.

A result that was written to a socket may still be lost with it. The scheduler reads frames in order and answers pings
in turn, so the pong to a ping that was sent behind a result proves that the result was read. Until then it stays here,
and whatever is here when a connection ends is sent again on the next. The scheduler refuses repeats, so once too often
is harmless.

Bounds: `RESULTS_MAX` results and `BYTES_MAX` bytes of speech. Past either, the oldest result goes: its attempt is the
one most likely to have been given to another node already.
"""

from collections import deque
from dataclasses import dataclass

from lingua_scheduler.protocol.node import ActiveJob, JobResult

RESULTS_MAX = 64
BYTES_MAX = 32 << 20
_TEXT_BYTES = 4096
"""What a result without speech counts for."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A result and its speech, encoded as `result.tts_format` says; `result.tts_audio` is absent."""

    result: JobResult
    audio: bytes

    @property
    def size_bytes(self) -> int:
        return _TEXT_BYTES + len(self.audio)


class Outbox:
    """A bounded queue of results, each in it from `add` until `confirm`."""

    def __init__(self, *, results_max: int = RESULTS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._results_max = results_max
        self._bytes_max = bytes_max
        self._waiting: deque[Outgoing] = deque()
        self._bytes = 0
        self._covered: int | None = None
        """How many of the oldest results the ping on its way stands behind; None where no ping is on its way."""

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, outgoing: Outgoing) -> list[Outgoing]:
        """Keep a result; what had to go for it comes back. The newest always stays, whatever its size."""
        self._waiting.append(outgoing)
        self._bytes += outgoing.size_bytes
        dropped: list[Outgoing] = []
        while len(self._waiting) > 1 and (len(self._waiting) > self._results_max or self._bytes > self._bytes_max):
            dropped.append(self._take())
            if self._covered:
                self._covered -= 1
        return dropped

    def waiting(self) -> tuple[Outgoing, ...]:
        """Everything not confirmed, oldest first."""
        return tuple(self._waiting)

    def cover(self) -> bool:
        """Whether to send a ping now, behind all that waits. One at a time: a peer may answer several with one pong."""
        if self._covered is not None:
            return False
        self._covered = len(self._waiting)
        return True

    def confirm(self) -> None:
        """The pong to the ping of `cover` arrived. Pongs that nobody asked for change nothing."""
        for _ in range(self._covered or 0):
            self._take()
        self._covered = None

    def connection_lost(self) -> None:
        """No pong is coming any more: everything waits to be sent again."""
        self._covered = None

    def active_jobs(self) -> list[ActiveJob]:
        return [ActiveJob(job_id=kept.result.job_id, attempt_id=kept.result.attempt_id) for kept in self._waiting]

    def _take(self) -> Outgoing:
        taken = self._waiting.popleft()
        self._bytes -= taken.size_bytes
        return taken
