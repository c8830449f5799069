"""What `SessionStore` does, on plain data."""

from collections.abc import Sequence

from lingua_scheduler.protocol.ids import InstanceId, JobId, SessionId
from lingua_scheduler.store.model.world import FINAL, World
from lingua_scheduler.store.records import AdoptedJob, Claim, KeptResult, Word
from lingua_scheduler.store.sessions import Ownership, SessionChange, WriteReply


class SessionModel:
    """See `SessionStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, owner: Ownership, change: SessionChange) -> WriteReply:
        world, session_id = self._world, owner.session_id
        if newer := world.newer_owner(session_id, owner.epoch):
            return WriteReply(Word.STALE_EPOCH, newer)
        written = {"epoch": str(owner.epoch), "owner": owner.instance_id, "ttl_ms": str(change.ttl_ms)}
        fields = {**world.session(session_id), **written, **change.fields}
        world.sessions[session_id] = (fields, world.now + change.ttl_ms)
        for job_id in change.forgotten:
            world.outbox(session_id).pop(job_id, None)
        for job_id, result in change.kept.items():
            world.keep_result(session_id, job_id, result)
        world.renew_outbox(session_id, change.ttl_ms)
        return WriteReply(Word.OK, owner.epoch, "opening" in fields)

    def claim(self, session_id: SessionId, instance_id: InstanceId, shown: str, fresh: str) -> Claim:
        world, fields = self._world, self.read(session_id)
        if "token" not in fields:
            return Claim(Word.UNKNOWN_SESSION)
        if shown not in {fields["token"], fields.get("used")}:
            return Claim(Word.REFUSED)
        previous, epoch = InstanceId(fields["owner"]), int(fields["epoch"])
        if previous != instance_id:
            epoch = max(world.now, epoch + 1)
        fields |= {"token": fresh, "used": shown, "owner": instance_id, "epoch": str(epoch)}
        world.sessions[session_id] = (fields, world.now + int(fields["ttl_ms"]))
        world.renew_outbox(session_id, int(fields["ttl_ms"]))
        return Claim(Word.OK, epoch, previous, dict(fields), self._kept(session_id))

    def adopt(self, owner: Ownership, jobs: Sequence[JobId]) -> list[AdoptedJob] | None:
        if self._world.newer_owner(owner.session_id, owner.epoch):
            return None
        return [self._adopted(owner.instance_id, job_id) for job_id in jobs]

    def _adopted(self, instance_id: InstanceId, job_id: JobId) -> AdoptedJob:
        world, job = self._world, self._world.job(job_id)
        if job is None:
            return AdoptedJob(job_id, None, 0, 0)
        node_id = job.node
        if job.status in FINAL:
            return AdoptedJob(job_id, job.status, job.attempt, job.revoked, node_id)
        job.owner = instance_id
        if node_id is None or job.status == "pending":
            return AdoptedJob(job_id, job.status, job.attempt, job.revoked, node_id)
        lease_ms = world.trail(node_id).jobs.get(job_id, world.now) - world.now
        node = world.node(node_id)
        place = (node.instance, node.protocol, node.epoch) if node else (InstanceId(""), 0, 0)
        return AdoptedJob(job_id, job.status, job.attempt, job.revoked, node_id, lease_ms, *place)

    def outbox(self, session_id: SessionId, jobs: Sequence[JobId]) -> dict[JobId, KeptResult]:
        return {job_id: kept for job_id, kept in self._kept(session_id).items() if job_id in jobs}

    def owner(self, session_id: SessionId) -> tuple[InstanceId, int] | None:
        fields = self.read(session_id)
        return (InstanceId(fields["owner"]), int(fields["epoch"])) if "opening" in fields else None

    def read(self, session_id: SessionId) -> dict[str, str]:
        return dict(self._world.session(session_id))

    def drop(self, session_id: SessionId, epoch: int) -> Word:
        if self._world.newer_owner(session_id, epoch):
            return Word.STALE_EPOCH
        self._world.sessions.pop(session_id, None)
        self._world.outboxes.pop(session_id, None)
        return Word.OK

    def _kept(self, session_id: SessionId) -> dict[JobId, KeptResult]:
        return dict(sorted(self._world.outbox(session_id).items(), key=lambda one: one[1].order))
