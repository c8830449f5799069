"""What was said in rooms, for who comes late; and what it cost less because many heard it."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.core.session import events as session
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, NodeId, RoomId, SessionId
from lingua_scheduler.protocol.messages import TranslationResult
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.rooms import Line

_log = get_logger("scheduler.rooms")

HISTORY_LINES = 3
HELD_MAX = 64
FIND_S = 0.5
UTTERANCES_MAX = 64
"""Of a speaker, whose nodes are remembered: so many are never in the air."""


class History:
    """The last lines of rooms, as texts in the store."""

    def __init__(self, context: Context, expiry_ms: int) -> None:
        self._context = context
        self._expiry_ms = expiry_ms

    async def keep(self, picture: Room, effect: session.SendToRoom) -> Room | None:
        """Keep a translated line. The room, where the store's is newer than `picture`. Raises StoreError."""
        line, rooms = effect.line, self._context.store.rooms
        assert isinstance(line, TranslationResult)
        kept = Line(
            speaker=SessionId(line.session_id),
            index=line.utterance_index,
            src_lang=line.src_lang or "",
            tgt_lang=effect.tgt_lang,
            text_asr=line.text_asr,
            text_translated=line.text_translated,
        )
        # Twice what is told: a slow language must not be pushed out by the next sentences in the others.
        lines_max = 2 * HISTORY_LINES * max(1, len(picture.listeners(kept.speaker)))
        _, version = await rooms.spoke(picture.room_id, kept, expiry_ms=self._expiry_ms, lines_max=lines_max)
        if version <= picture.version:
            return None
        return (await rooms.look(picture.room_id, expiry_ms=self._expiry_ms)).room

    async def for_member(self, room_id: RoomId, member: Member) -> list[TranslationResult]:
        """The last lines of others, each in the member's language, or untranslated where nobody heard it in that."""
        by_utterance: OrderedDict[tuple[str, int], list[Line]] = OrderedDict()
        for line in await self._context.store.rooms.lines(room_id):
            if line.speaker != member.session_id:
                by_utterance.setdefault((line.speaker, line.index), []).append(line)
        last = list(by_utterance.values())[-HISTORY_LINES:]
        return [self._told(_chosen(lines, member)) for lines in last]

    def _told(self, line: Line) -> TranslationResult:
        return TranslationResult(
            session_id=line.speaker,
            utterance_index=line.index,
            job_id=f"job-{line.speaker}-{line.index}-{line.tgt_lang}",
            text_asr=line.text_asr,
            text_translated=line.text_translated,
            tts_audio="",
            tts_format="opus",
            trace_id="",
            scheduler_sent_at_ms=self._context.clock.wall_ms(),
            extra={"history": True},
            src_lang=line.src_lang or None,
            tgt_lang=line.tgt_lang,
        )


@dataclass(frozen=True, slots=True)
class Paths:
    """Which way a line goes on once its member is found."""

    deliver: Callable[[wire.RoomLine], None]
    publish: Callable[[InstanceId, wire.RoomLine], None]
    is_seated: Callable[[SessionId], bool]


class HeldLines:
    """Lines for members whose session is nowhere to be found: it is being resumed, or its instance has died.

    Each waits until the store shows the session at another instance, or here and seated; at most for the resume window,
    after which the member leaves. A member's lines stay in their order; of more than `HELD_MAX` the oldest goes.
    """

    def __init__(self, context: Context, paths: "Paths", expiry_ms: int) -> None:
        self._context = context
        self._paths = paths
        self._expiry_ms = expiry_ms
        self._held: dict[SessionId, deque[wire.RoomLine]] = {}

    def hold(self, message: wire.RoomLine, gone: InstanceId | None = None) -> None:
        """`gone`: an instance that is known to be dead, whatever the store says."""
        for session_id in map(SessionId, message.recipients):
            line = msgspec.structs.replace(message, recipients=[session_id])
            if session_id in self._held:
                self._held[session_id].append(line)
                continue
            self._held[session_id] = deque([line], maxlen=HELD_MAX)
            self._context.scope.start(self._find(RoomId(message.room_id), session_id, gone), "find-member")

    async def _find(self, room_id: RoomId, session_id: SessionId, gone: InstanceId | None) -> None:
        window_ms = self._context.config.scheduler.web_task_segmentation.resume_window_seconds * 1000
        give_up_at_ms = self._context.clock.now_ms() + window_ms
        member: Member | None = None
        while self._context.clock.now_ms() < give_up_at_ms:
            try:
                reply = await self._context.store.rooms.look(room_id, expiry_ms=self._expiry_ms)
            except StoreError as error:
                _log.warning("member not looked for", session=session_id, cause=str(error))
            else:
                member = reply.room.member(session_id) if reply.room is not None else None
                if member is None or self._pass_on(member, gone):
                    break
            await asyncio.sleep(FIND_S)
        if dropped := self._held.pop(session_id, None):
            _log.info("lines dropped: the member has left", session=session_id, count=len(dropped))

    def _pass_on(self, member: Member, gone: InstanceId | None) -> bool:
        """Whether the member's lines are on their way."""
        here = self._context.instance_id
        if member.instance_id == gone or (member.instance_id == here and not self._paths.is_seated(member.session_id)):
            return False
        for line in self._held.pop(member.session_id, ()):
            if member.instance_id == here:
                self._paths.deliver(line)
            else:
                self._paths.publish(member.instance_id, line)
        return True


class SavedRuns:
    """Counts the runs that one listener each would have taken."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._heard_at: dict[SessionId, OrderedDict[int, set[NodeId]]] = {}

    def count(self, speaker: SessionId, effect: session.SendToRoom, listeners: int) -> None:
        """One line for so many listeners was made once; its recognition perhaps for another language before."""
        if not isinstance(effect.line, TranslationResult) or listeners < 1:
            return
        saved = self._metrics.runs_saved
        is_shared = effect.heard_at is not None and not self._is_first(
            speaker, effect.line.utterance_index, effect.heard_at
        )
        saved.labels("asr").inc(listeners if is_shared else listeners - 1)
        saved.labels("mt").inc(listeners - 1)
        if effect.line.tts_audio:
            saved.labels("tts").inc(listeners - 1)

    def forget(self, speaker: SessionId) -> None:
        self._heard_at.pop(speaker, None)

    def _is_first(self, speaker: SessionId, index: int, node_id: NodeId) -> bool:
        utterances = self._heard_at.setdefault(speaker, OrderedDict())
        nodes = utterances.setdefault(index, set())
        while len(utterances) > UTTERANCES_MAX:
            utterances.popitem(last=False)
        is_first = node_id not in nodes
        nodes.add(node_id)
        return is_first


def _chosen(lines: list[Line], member: Member) -> Line:
    """Of one utterance in several languages the member's, or none of them: what was said."""
    mine = next((line for line in lines if line.tgt_lang == member.preferred_lang), None)
    if mine is not None:
        return mine
    first = lines[0]
    return Line(first.speaker, first.index, first.src_lang, first.src_lang, first.text_asr, "")
