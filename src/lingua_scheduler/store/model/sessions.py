"""What `SessionStore` does, on plain data."""

from collections.abc import Mapping

from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.store.keys import SESSION_TTL_MS
from lingua_scheduler.store.model.world import World
from lingua_scheduler.store.records import OwnerReply, Word


class SessionModel:
    """See `SessionStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, session_id: SessionId, epoch: int, fields: Mapping[str, str]) -> OwnerReply:
        stored = self.read(session_id)
        if (current := int(stored.get("epoch", "0"))) > epoch:
            return OwnerReply(Word.STALE_EPOCH, None, current)
        merged = {**stored, **fields, "epoch": str(epoch)}
        kept = {name: value for name, value in merged.items() if value}
        self._world.sessions[session_id] = (kept, self._world.now + SESSION_TTL_MS)
        return OwnerReply(Word.OK, None, epoch)

    def read(self, session_id: SessionId) -> dict[str, str]:
        fields, until = self._world.sessions.get(session_id, ({}, 0))
        return dict(fields) if until > self._world.now else {}

    def touch(self, session_id: SessionId) -> bool:
        fields = self.read(session_id)
        if fields:
            self._world.sessions[session_id] = (fields, self._world.now + SESSION_TTL_MS)
        return bool(fields)

    def delete(self, session_id: SessionId) -> None:
        self._world.sessions.pop(session_id, None)
