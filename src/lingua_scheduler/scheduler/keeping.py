"""What the store knows of one session that can be resumed anywhere, kept up to date by its owner.

Theory of operation. The record is written together with each placement, in the same write to Redis, so that a sentence
still costs two round trips: where the session stands, the numbers of results that were sent since, which results the
client has acknowledged. A result itself goes into the outbox with the finish of its job. What was sent without one
(given up for want of room, or while Redis was away) is written by itself, soon.

Every write carries the owner's epoch. The first that is refused shows that the session goes on elsewhere: this instance
forgets it, without a word to nodes or store, and passes results on that it had not concluded.

Bounds: as many results as the session machine keeps for a resume.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.session.record import SessionState
from lingua_scheduler.core.utterance import Tail
from lingua_scheduler.protocol import kept
from lingua_scheduler.protocol.ids import JobId, SessionId
from lingua_scheduler.protocol.messages import MissingResult, ServerMessage, TranslationResult
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.opening import Opening
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Fence, Word
from lingua_scheduler.store.sessions import Ownership, SessionChange

_log = get_logger("scheduler.keeping")

MARGIN_MS = 30_000
"""The record outlives the resume window by this: it is renewed only now and then."""

TAILS_TOLD = 16
"""Ends of utterances that a memo names: one, as a rule."""


def token_hash(token: str, holder: str = "") -> str:
    """Tokens themselves are not stored. Shown by another tenant than the session's `holder`, a token is another."""
    return hashlib.sha256(f"{holder}\n{token}".encode() if holder else token.encode()).hexdigest()


def result_key(session_id: SessionId, message: TranslationResult | MissingResult) -> JobId:
    """Under which a result lies in the outbox: its job, or its number where it was said by another in the room."""
    if message.session_id != session_id:
        return JobId(f"line-{message.result_seq}")
    if isinstance(message, TranslationResult):
        return JobId(message.job_id)
    return JobId(f"job-{session_id}-{message.utterance_index}-{message.tgt_lang}")


def is_line(session_id: SessionId, message: ServerMessage) -> bool:
    """Whether another member of the room said it."""
    return isinstance(message, TranslationResult | MissingResult) and message.session_id != session_id


class SessionRecord:
    """The owner's side of one record. `replaced` is called once, when it turns out that there is a newer owner."""

    def __init__(
        self,
        context: Context,
        opening: Opening,
        machine: SessionMachine,
        tails: Callable[[], tuple[Tail, ...]],
        replaced: Callable[[], None],
    ) -> None:
        self._context = context
        self._opening = opening
        self._machine = machine
        self._tails = tails
        self._session_id = opening.speaker.session_id
        self._replaced = replaced
        self._is_dirty = False
        self._is_writing = False
        self._is_untold = False
        """The store has not been told of the session, or of its tokens."""
        self._stored: set[JobId] = set()
        """Results that are in the outbox."""
        self._token_fields: dict[str, str] = {}
        self.epoch = context.clock.wall_ms()
        self.is_over = False

    @property
    def fence(self) -> Fence:
        return Fence(self._session_id, self.epoch)

    def adopt(self, stored: Iterable[JobId]) -> None:
        """Go on with an outbox that another instance filled."""
        self._stored |= set(stored)

    # ------------------------------------------------------------------------------- what happens

    def began(self) -> None:
        """An utterance has ended: the placement of its job brings it to the store."""
        self._is_dirty = True

    def sent(self, message: ServerMessage) -> ServerMessage:
        """A result leaves for the client, or waits for it to come back. The same, with what the client is to recall."""
        if not isinstance(message, TranslationResult | MissingResult) or message.result_seq is None:
            return message
        self._is_dirty = True
        # A line is written before it is sent (`write_ahead.py`).
        if not is_line(self._session_id, message) and result_key(self._session_id, message) not in self._stored:
            self.write_soon()
        # The store may be away, and this owner gone before it is back.
        return msgspec.structs.replace(message, memo=memo_of(tails)) if (tails := self._tails()) else message

    def comes_first(self, message: ServerMessage) -> bool:
        """Whether it must be written before it is sent: nothing else says that its client has it, or in which place."""
        if is_line(self._session_id, message):
            return True
        return isinstance(message, TranslationResult | MissingResult) and (
            message.result_seq is not None and self._machine.is_past_gap(message)
        )

    def acknowledged(self) -> None:
        """Results that are not needed any more go with the next write."""
        self._is_dirty = True

    def stored(self, job_id: JobId) -> None:
        """The finish of the job put its result into the outbox."""
        self._stored.add(job_id)

    def tokens(self, token: str, used: str | None) -> None:
        """As the client has them now."""
        holder = self._opening.holder
        self._token_fields = {"token": token_hash(token, holder), "used": token_hash(used, holder) if used else ""}

    # ------------------------------------------------------------------------------- towards the store

    def write_soon(self, *, whole: bool = False) -> None:
        """In the background, once for all that this turn of the loop brings."""
        self._is_dirty = True
        self._is_untold = self._is_untold or whole
        if not self._is_writing and not self.is_over:
            self._is_writing = True
            self._context.scope.start(self._write_quietly(), "record")

    async def write(self, *, always: bool = False, whole: bool = False) -> bool:
        """Bring the store up to date. False where this instance has no say any more. Raises StoreError."""
        if self.is_over:
            return False
        whole = whole or self._is_untold
        if not (self._is_dirty or always or whole):
            return True
        change = self._change(whole=whole)
        self._is_dirty = self._is_untold = False
        try:
            reply = await self._context.store.sessions.write(self._ownership, change)
        except StoreError:
            self._is_dirty, self._is_untold = True, whole
            raise
        if reply.word is Word.STALE_EPOCH:
            self.refused(reply.epoch)
            return not self.is_over
        self._stored = (self._stored - set(change.forgotten)) | set(change.kept)
        if not reply.is_whole and not whole:
            await self.write(whole=True)
        return True

    def refused(self, newer_epoch: int) -> None:
        """The store knows a newer owner. Not so where it is this instance, resumed here a moment ago."""
        if newer_epoch > self.epoch and not self.is_over:
            self.is_over = True
            self._replaced()

    async def drop(self) -> None:
        """The session has ended: nothing of it stays in the store."""
        if self.is_over:
            return
        self.is_over = True
        try:
            await self._context.store.sessions.drop(self._session_id, self.epoch)
        except StoreError as error:
            _log.info("session not removed", session=self._session_id, cause=str(error))

    @property
    def _ownership(self) -> Ownership:
        return Ownership(self._session_id, self._context.instance_id, self.epoch)

    def _change(self, *, whole: bool) -> SessionChange:
        results = {result_key(self._session_id, one): one for one in self._machine.unacknowledged()}
        numbers = {key: one.result_seq for key, one in results.items()}
        fields = {
            "state": encode_state(self._state()),
            "numbers": msgspec.json.encode(numbers).decode(),
        }
        stored = self._stored
        if whole:
            fields |= {"opening": msgspec.json.encode(self._opening).decode(), **self._token_fields}
            stored = set[JobId]()
        forgotten = sorted(self._stored - results.keys() - self._machine.open_jobs)
        if whole:
            results |= self._machine.held_back(self._context.clock.now_ms())
        bodies = {key: kept.encode_message(one) for key, one in results.items() if key not in stored}
        window_ms = self._context.config.scheduler.web_task_segmentation.resume_window_seconds * 1000
        return SessionChange(fields, forgotten, bodies, window_ms + MARGIN_MS)

    def _state(self) -> SessionState:
        """With the ends of utterances that are still to be said, and without utterances of which nothing is."""
        state, tails = self._machine.snapshot(), self._tails()
        unsaid = {tail.index for tail in tails}
        return replace(state, open=tuple(one for one in state.open if one.places or one.index in unsaid), tails=tails)

    async def _write_quietly(self) -> None:
        self._is_writing = False
        try:
            await self.write()
        except StoreError as error:
            _log.info("session not written", session=self._session_id, cause=str(error))


def memo_of(tails: tuple[Tail, ...]) -> str:
    """What is still to be said, for the client of the session to show to its next owner."""
    return msgspec.json.encode(tails[-TAILS_TOLD:]).decode()


def tails_of(memo: str | None, session_id: str) -> tuple[Tail, ...] | None:
    """What a client was told; None where it does not say, or that is not ours. It can only speak of its own session."""
    if memo is None:
        return None
    try:
        tails = msgspec.json.decode(memo or "[]", type=tuple[Tail, ...])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    own = f"job-{session_id}-"
    return tuple(
        tail
        for tail in tails[:TAILS_TOLD]
        if tail.job_id.startswith(own) and (tail.heir or own).startswith(own) and tail.samples > 0
    )


def encode_state(state: SessionState) -> str:
    return msgspec.json.encode(state).decode()


def decode_state(text: str) -> SessionState:
    """msgspec.DecodeError where another version wrote it."""
    return msgspec.json.decode(text, type=SessionState)


def decode_opening(text: str) -> Opening:
    """msgspec.DecodeError where another version wrote it."""
    return msgspec.json.decode(text, type=Opening)
