"""What was said in rooms, for who comes late; and what it cost less because many heard it."""

from collections import OrderedDict

from lingua_scheduler.core.rooms.room import Member, Room
from lingua_scheduler.core.session import events as session
from lingua_scheduler.protocol.ids import NodeId, RoomId, SessionId
from lingua_scheduler.protocol.messages import TranslationResult
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.store.rooms import Line

HISTORY_LINES = 3
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
        _, version = await rooms.spoke(picture.room_id, kept, expiry_ms=self._expiry_ms)
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
