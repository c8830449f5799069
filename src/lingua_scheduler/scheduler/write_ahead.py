"""What others in a room said reaches a client only once the store knows that it did.

Theory of operation. The client's own results are in the store before they are sent: the finish of a job puts them
there. A line of another member comes out of an inbox, or of a session beside this one, and is repeated after a crash by
whoever takes that over. So it is written first and sent then: the next owner of the session sees which lines its client
was told, and passes no repetition on. Messages behind a line wait for it, so order holds. A result that could not wait
for an earlier utterance waits as a line does: that it has its number already, nothing else in the store says.

Lines wait together: one write serves all that came before it began. Bounds: what waits for the answer of one write.
Where Redis does not answer, lines are sent all the same: a word said twice after a second fault is better than silence.
"""

import asyncio
from collections import deque
from typing import Protocol

from lingua_scheduler.protocol.messages import ServerMessage
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.scheduler.keeping import SessionRecord
from lingua_scheduler.store.errors import StoreError

_log = get_logger("scheduler.write_ahead")


class Receiver(Protocol):
    def send(self, message: ServerMessage) -> None: ...


class Settling:
    """Writes under way on this instance: an inbox entry is done when the write that it led to is."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, ahead: "WriteAhead") -> None:
        task = self._scope.start(ahead.flush(), "write-ahead")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """What was under way at the call is in the store, or Redis did not answer."""
        if self._tasks:
            await asyncio.wait(self._tasks)


class WriteAhead:
    """Of one session."""

    def __init__(self, record: SessionRecord, settling: Settling) -> None:
        self._record = record
        self._settling = settling
        self._waiting: deque[tuple[Receiver, ServerMessage]] = deque()
        self._is_writing = False
        self._is_due = False

    def is_due_before(self, message: ServerMessage) -> bool:
        """Whether `message` has to wait for a write."""
        return bool(self._waiting) or self._record.comes_first(message)

    def hold(self, receiver: Receiver, message: ServerMessage) -> None:
        """Send it behind the next write."""
        self._waiting.append((receiver, message))
        self.write()

    def write(self) -> None:
        """A line has come, perhaps for a client that is away."""
        self._is_due = True
        if not self._is_writing:
            self._is_writing = True
            self._settling.start(self)

    async def flush(self) -> None:
        """Write, then send what waited for that, until nothing more has come meanwhile."""
        try:
            while self._is_due:
                self._is_due = False
                count = len(self._waiting)
                await self._write()
                self._send(count)
        finally:
            self._is_writing = False

    def send_all(self) -> None:
        """The session ends here and now."""
        self._send(len(self._waiting))

    def _send(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            receiver, message = self._waiting.popleft()
            receiver.send(message)

    async def _write(self) -> None:
        try:
            await self._record.write(always=True)
        except StoreError as error:
            _log.warning("line sent unwritten", cause=str(error))
