"""What must outlive the instance of a session: affinity, owner and epoch, and for a session that can be resumed the
state that its next owner goes on from and the results that its client has not acknowledged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.keys import SESSION_TTL_MS
from lingua_scheduler.store.records import AdoptedJob, Claim, JobStatus, KeptResult, Word
from lingua_scheduler.store.replies import items, mapping, number, text, texts

_WRITE = Script("write_session")
_CLAIM = Script("claim_session")
_DROP = Script("drop_session")
_ADOPT = Script("adopt_jobs")
_FACTS = 8


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who writes: every write is fenced by the epoch."""

    session_id: SessionId
    instance_id: InstanceId
    epoch: int


@dataclass(frozen=True, slots=True)
class SessionChange:
    """What one write changes, beside renewing what expires."""

    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """By name; "" is a value like any other."""
    forgotten: Sequence[JobId] = ()
    """Jobs whose results the client has."""
    kept: Mapping[JobId, bytes] = field(default_factory=dict[JobId, bytes])
    """Results for the outbox that no `finish` brought there."""
    ttl_ms: int = SESSION_TTL_MS


@dataclass(frozen=True, slots=True)
class WriteReply:
    word: Word
    epoch: int
    is_whole: bool = True
    """False: the store has lost the session's opening, or never had it."""

    @property
    def is_ok(self) -> bool:
        return self.word is Word.OK


class SessionStore:
    """A hash of texts per session and, beside it, the outbox.

    Names of fields are the callers', but for `epoch`, `owner`, `ttl_ms`, `finished`, `used`, and the two of affinity
    (`…_node_id`).
    """

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys

    async def write(self, owner: Ownership, change: SessionChange) -> WriteReply:
        """Words: OK, STALE_EPOCH (with the newer epoch; nothing was written)."""
        fields = [word for name, value in change.fields.items() for word in (name, value)]
        kept = [word for job_id, result in change.kept.items() for word in (job_id, result)]
        reply = await self._run(
            _WRITE, owner.session_id, owner.instance_id, owner.epoch, change.ttl_ms, len(change.fields),
            len(change.forgotten), *fields, *change.forgotten, *kept,
        )  # fmt: skip
        word = Word(text(reply[0]))
        return WriteReply(word, number(reply[1]), word is not Word.OK or bool(number(reply[2])))

    async def claim(self, session_id: SessionId, instance_id: InstanceId, shown: str, fresh: str) -> Claim:
        """Own the session from now on, for a client that shows a token with the hash `shown`; its next has `fresh`.

        Words: OK, REFUSED (another token), UNKNOWN_SESSION.
        """
        reply = await self._run(_CLAIM, session_id, instance_id, shown, fresh)
        word = Word(text(reply[0]))
        if word is not Word.OK:
            return Claim(word)
        return Claim(
            word, number(reply[1]), InstanceId(text(reply[2])), mapping(reply[3]), kept_results(items(reply[4]))
        )

    async def adopt(self, owner: Ownership, jobs: Sequence[JobId]) -> list[AdoptedJob] | None:
        """Take open jobs over from the owner before, and learn where each stands. None: a newer owner did."""
        reply = await self._run(_ADOPT, owner.session_id, owner.epoch, owner.instance_id, *jobs)
        if reply[0] != Word.OK:
            return None
        flat = texts(reply[1])
        rows = (flat[at : at + _FACTS] for at in range(0, len(flat), _FACTS))
        return [_adopted(job_id, row) for job_id, row in zip(jobs, rows, strict=True)]

    async def outbox(self, session_id: SessionId, jobs: Iterable[JobId]) -> dict[JobId, KeptResult]:
        """The results of these jobs, as far as there are any."""
        names = list(jobs)
        if not names:
            return {}
        values = items(await self._client.call("HMGET", self._keys.session_outbox(session_id), *names))
        flat = [word for name, value in zip(names, values, strict=True) if value is not None for word in (name, value)]
        return kept_results(flat)

    async def owner(self, session_id: SessionId) -> tuple[InstanceId, int] | None:
        """Who owns a session that can be resumed, and under which epoch."""
        words = ("HMGET", self._keys.session(session_id), "owner", "epoch", "opening")
        owner, epoch, opening = items(await self._client.call(*words))
        return (InstanceId(text(owner)), number(epoch)) if opening is not None else None

    async def read(self, session_id: SessionId) -> dict[str, str]:
        """All fields; empty where the session is unknown or long gone."""
        return mapping(await self._client.call("HGETALL", self._keys.session(session_id)))

    async def drop(self, session_id: SessionId, epoch: int) -> Word:
        """The session is over. Words: OK, STALE_EPOCH: it goes on elsewhere."""
        return Word(text((await self._run(_DROP, session_id, epoch))[0]))


def kept_results(flat: Sequence[Reply]) -> dict[JobId, KeptResult]:
    """An outbox by job, in the order of finishing."""
    found: dict[JobId, KeptResult] = {}
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        order, _, body = _bytes(value).partition(b":")
        found[JobId(text(name))] = KeptResult(int(order), body)
    return dict(sorted(found.items(), key=lambda one: one[1].order))


def _bytes(value: Reply) -> bytes:
    return value if isinstance(value, bytes) else text(value).encode("utf-8", "surrogateescape")


def _adopted(job_id: JobId, row: Sequence[str]) -> AdoptedJob:
    status, attempt, revoked, node, lease_ms, instance, protocol, epoch = row
    return AdoptedJob(
        job_id=job_id,
        status=cast("JobStatus | None", status or None),
        attempt=int(attempt),
        revoked=int(revoked),
        node_id=NodeId(node) if node else None,
        lease_ms=int(lease_ms),
        instance_id=InstanceId(instance),
        protocol=int(protocol),
        epoch=int(epoch),
    )
