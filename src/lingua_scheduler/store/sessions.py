"""What must outlive the instance of a session: its affinity, its owner's epoch, its resume token, its indices."""

from collections.abc import Mapping

from lingua_scheduler.protocol.ids import SessionId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.keys import SESSION_TTL_MS
from lingua_scheduler.store.records import OwnerReply, Word
from lingua_scheduler.store.replies import mapping, number, text

_WRITE = Script("write_session")


class SessionStore:
    """A hash of texts per session, kept for 300 s after its last use. The field `epoch` belongs to this class."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys

    async def write(self, session_id: SessionId, epoch: int, fields: Mapping[str, str]) -> OwnerReply:
        """Sets `fields` ("" removes one), fenced by the owner's epoch: words OK, STALE_EPOCH (with the newer epoch)."""
        assert "epoch" not in fields
        removed = [name for name, value in fields.items() if not value]
        kept = [word for name, value in fields.items() if value for word in (name, value)]
        reply = await self._run(_WRITE, session_id, epoch, len(removed), *removed, *kept)
        return OwnerReply(Word(text(reply[0])), None, number(reply[1]))

    async def read(self, session_id: SessionId) -> dict[str, str]:
        """All fields, `epoch` included; empty where the session is unknown or long gone."""
        return mapping(await self._client.call("HGETALL", self._keys.session(session_id)))

    async def touch(self, session_id: SessionId) -> bool:
        """Keeps the session for another 300 s; False where there is none."""
        return bool(await self._client.call("PEXPIRE", self._keys.session(session_id), SESSION_TTL_MS))

    async def delete(self, session_id: SessionId) -> None:
        await self._client.call("DEL", self._keys.session(session_id))
