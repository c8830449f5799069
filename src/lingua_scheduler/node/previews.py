"""Reads along while somebody is still speaking: partial texts of utterances that no job carries yet.

The scheduler shows the growing audio piece by piece (`job_preview`). What is there is recognised from its start again
and again; what two decodes agree on is committed (`StablePrefix`) and told as stable. Nothing depends on it: it takes
no slot, its texts never become a result, and the job that follows recognises the utterance anew and whole.

| who wins | |
|---|---|
| real jobs | an utterance is read only by a recogniser that is idle: a job waits for one such decode at most |
| the newest | a session has one utterance here; the first piece of another replaces it, and so does a start from 0 |
| the job | the `job_assign` of the utterance, or of a later one, ends it; so does `job_cancel` |

What cannot be read is passed over without a word: a broken piece, one that does not follow on the last, languages that
are not served, a recogniser that fails. Bounds: 30 s of an utterance, 64 sessions, of which the one longest unheard
leaves first, 15 s without a piece, one decode at a time for each session.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from lingua_scheduler.node.aggregation.levels import SessionLevels
from lingua_scheduler.node.aggregation.prefix import Partial, StablePrefix
from lingua_scheduler.node.audio import SessionDecoder
from lingua_scheduler.node.engines.base import ASR_RATE, Audio
from lingua_scheduler.node.pipeline import StageError, unsupported
from lingua_scheduler.node.route import Route
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.node.workshop import Workshop
from lingua_scheduler.protocol.errors import PeerError
from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.protocol.node import JobPreview, NodeAsrPartial
from lingua_scheduler.runtime.logs import get_logger

AUDIO_MAX_S = 30
SESSIONS_MAX = 64
TTL_MS = 15_000

_log = get_logger("node.previews")


@dataclass(slots=True, eq=False)
class _Growing:
    """One utterance so far."""

    first: JobPreview
    route: Route
    used_at_ms: int
    bytes_seen: int = 0
    unread: list[bytes] = field(default_factory=list[bytes])
    """Pieces that are not decoded yet."""
    heard: list[Audio] = field(default_factory=list[Audio])
    decoder: SessionDecoder = field(default_factory=SessionDecoder)
    levels: SessionLevels = field(default_factory=SessionLevels)
    prefix: StablePrefix = field(default_factory=StablePrefix)
    told: Partial | None = None
    is_reading: bool = False
    is_over: bool = False


class Previews:
    """The utterances that are being read along. Called from the loop only."""

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._growing: OrderedDict[SessionId, _Growing] = OrderedDict()
        self.decodes = 0
        """How often audio was read."""

    def __len__(self) -> int:
        return len(self._growing)

    def show(self, piece: JobPreview, audio: bytes, host: EngineHost) -> None:
        """More of an utterance."""
        session = SessionId(piece.session_id)
        growing = self._begin(piece, host) if piece.at_bytes == 0 else self._growing.get(session)
        if growing is None or growing.first.job_id != piece.job_id or growing.bytes_seen != piece.at_bytes:
            return
        growing.bytes_seen += len(audio)
        growing.unread.append(audio)
        growing.used_at_ms = self._shop.clock.now_ms()
        self._growing.move_to_end(session)
        if not growing.is_reading:
            growing.is_reading = True
            self._shop.scope.start(self._read(growing), f"preview {piece.job_id}")

    def assigned(self, session: SessionId, index: int) -> None:
        """A job of utterance `index` has come: whatever is not later is not read any more."""
        growing = self._growing.get(session)
        if growing is not None and growing.first.utterance_index <= index:
            self._end(growing)

    def cancel(self, job_id: str) -> None:
        for growing in [one for one in self._growing.values() if one.first.job_id == job_id]:
            self._end(growing)

    def sweep(self) -> None:
        """Forget what nobody speaks any more, and more than there is room for."""
        oldest_ms = self._shop.clock.now_ms() - TTL_MS
        for growing in list(self._growing.values()):
            if growing.used_at_ms > oldest_ms and len(self._growing) <= SESSIONS_MAX:
                break
            self._end(growing)

    def _begin(self, piece: JobPreview, host: EngineHost) -> _Growing | None:
        session = SessionId(piece.session_id)
        if (before := self._growing.get(session)) is not None:
            self._end(before)
        try:
            route = Route.of(piece)
        except PeerError:
            return None
        if unsupported(host, route) is not None:
            return None
        growing = _Growing(piece, route, self._shop.clock.now_ms())
        self._growing[session] = growing
        self.sweep()
        return growing

    def _end(self, growing: _Growing) -> None:
        growing.is_over = True
        del self._growing[SessionId(growing.first.session_id)]

    async def _read(self, growing: _Growing) -> None:
        """Read what has come, and again what has come meanwhile."""
        try:
            while growing.unread and not growing.is_over:
                await self._read_once(growing)
        except StageError as error:
            _log.debug("speech not previewed", job=growing.first.job_id, cause=error.error.message)
        finally:
            growing.is_reading = False

    async def _read_once(self, growing: _Growing) -> None:
        audio, growing.unread = b"".join(growing.unread), []
        decoded = await self._shop.pipeline.decode_piece(growing.decoder, growing.first, audio)
        growing.levels.hear(decoded)
        growing.heard = [np.concatenate([*growing.heard, decoded])]
        whole = growing.heard[0]
        if growing.is_over:
            return
        if len(whole) > AUDIO_MAX_S * ASR_RATE:
            self._end(growing)
            return
        if growing.levels.is_silence((whole,)):
            return
        text = await self._shop.pipeline.glance(whole, growing.route)
        if text is None or not text.strip() or growing.is_over:
            return
        self.decodes += 1
        self._tell(growing, growing.prefix.add(text))

    def _tell(self, growing: _Growing, partial: Partial) -> None:
        if partial == growing.told:
            return
        growing.told = partial
        first, out = growing.first, self._shop.out
        out.send(
            NodeAsrPartial(
                job_id=first.job_id,
                node_id=out.node_id,
                session_id=first.session_id,
                utterance_index=first.utterance_index,
                text=partial.text,
                is_final=False,
                trace_id=first.trace_id,
                stable_chars=partial.stable_chars,
            )
        )
