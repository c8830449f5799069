"""What `JobStore` does, on plain data."""

from lingua_scheduler.core.jobs.events import FinalStatus
from lingua_scheduler.core.placement import SelectReply, SelectRequest
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.store.keys import SESSION_TTL_MS
from lingua_scheduler.store.model.placement import Placement
from lingua_scheduler.store.model.world import FINAL, Job, World
from lingua_scheduler.store.records import Fence, Hold, JobReply, JobStory, OpenStatus, Word

_RANK = {"assigned": 1, "accepted": 2, "running": 3, "held": 3}
_HOLDS = ("timeout_node_id", "max_duration_node_id")


class JobModel:
    """See `JobStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def select(self, request: SelectRequest) -> SelectReply:
        return Placement(self._world, request).answer()

    def finish(  # noqa: PLR0913 - as the store's
        self, job_id: JobId, attempt: int, node_id: NodeId | None, status: FinalStatus, *, hold: Hold = "none",
        cause: str = "", fence: Fence | None = None, result: bytes = b"",
    ) -> JobReply:  # fmt: skip
        world, job = self._world, self._world.job(job_id)
        if fence and (newer := world.newer_owner(fence.session_id, fence.epoch)):
            return JobReply(Word.STALE_EPOCH, newer)
        if job is None and node_id is not None:
            return JobReply(Word.UNKNOWN_JOB)
        if job is None:
            world.jobs[job_id] = job = Job("pending", attempt)
            world.keep_job(job_id)
        elif refusal := _finish_refusal(job, attempt, node_id, status):
            return refusal
        freed = world.stop_waiting(job_id, job)
        if job.status != "pending" and job.node is not None:
            world.give_back(job_id, job.node)
            freed = job.node
        job.status, job.attempt, job.finished_ms = status, attempt, world.now
        if cause:
            job.causes[attempt] = cause
        if job.request is not None:
            self._hold(job.request.session_id, hold, node_id)
        if fence:
            world.keep_result(fence.session_id, job_id, result)
        return JobReply(Word.OK, attempt, status, world.offer_slots(freed) if freed else ())

    def requeue(self, job_id: JobId, attempt: int, cause: str, *, fence: Fence | None = None) -> JobReply:
        world, job = self._world, self._world.job(job_id)
        if fence and (newer := world.newer_owner(fence.session_id, fence.epoch)):
            return JobReply(Word.STALE_EPOCH, newer)
        if job is None:
            return JobReply(Word.UNKNOWN_JOB)
        if job.status in FINAL:
            return JobReply(Word.ALREADY_FINAL, job.attempt, job.status)
        if attempt != job.attempt:
            return JobReply(Word.STALE_ATTEMPT, job.attempt, job.status)
        if job.revoked == attempt:
            return JobReply(Word.REPEAT, job.attempt, job.status)
        freed = world.stop_waiting(job_id, job) or job.node
        world.revoke(job_id, job, cause)
        return JobReply(Word.OK, attempt, "pending", world.offer_slots(freed) if freed else ())

    def renew_lease(
        self, job_id: JobId, attempt: int, node_id: NodeId, lease_ms: int, status: OpenStatus | None = None
    ) -> JobReply:
        world, job = self._world, self._world.job(job_id)
        if job is None:
            return JobReply(Word.UNKNOWN_JOB)
        if job.status in FINAL:
            return JobReply(Word.ALREADY_FINAL, job.attempt, job.status)
        if attempt != job.attempt:
            return JobReply(Word.STALE_ATTEMPT, job.attempt, job.status)
        if job.status == "pending" or node_id != job.node:
            return JobReply(Word.NOT_ASSIGNED, job.attempt, job.status)
        if status is not None and _RANK[status] >= _RANK[job.status]:
            job.status = status
        deadline = world.now + lease_ms
        if node_id in world.trails and job_id in world.trails[node_id].jobs:
            world.trails[node_id].jobs[job_id] = deadline
        world.deadlines[f"job:{job_id}"] = deadline
        return JobReply(Word.OK, attempt, job.status)

    def leave_queue(self, job_id: JobId) -> JobReply:
        job = self._world.job(job_id)
        if job is None:
            return JobReply(Word.UNKNOWN_JOB)
        freed = self._world.stop_waiting(job_id, job)
        return JobReply(Word.OK, job.attempt, job.status, self._world.offer_slots(freed) if freed else ())

    def story(self, job_id: JobId) -> JobStory | None:
        job = self._world.job(job_id)
        if job is None:
            return None
        asked = job.request
        times = {
            "queued": job.queued_ms,
            "wait_until": job.wait_until_ms,
            "affinity_until": job.affinity_until_ms,
            "assigned": job.assigned_ms,
            "finished": job.finished_ms,
        }
        return JobStory(
            job_id=job_id,
            status=job.status,
            attempt=job.attempt,
            node_id=job.node,
            owner=job.owner,
            session_id=asked.session_id if asked else SessionId(""),
            tenant_id=asked.tenant_id if asked else TenantId(""),
            utterance_index=asked.utterance_index if asked else 0,
            pairs=asked.pairs if asked else (),
            trace_id=asked.trace_id if asked else TraceId(""),
            times_ms={name: at for name, at in times.items() if at is not None},
            choices=dict(job.choices),
            causes=dict(job.causes),
            **self._place(job_id, job),
        )

    def _place(self, job_id: JobId, job: Job) -> dict[str, int]:
        line = self._world.lines.get(job.line) if job.line else None
        if line is None or job_id not in line.turns:
            return {}
        behind = line.order().index(job_id)
        return {"waits_behind": behind, "estimated_wait_ms": (behind + 1) * line.gap_ms}

    def _hold(self, session_id: SessionId, hold: Hold, node_id: NodeId | None) -> None:
        """The affinity afterwards. Removing it does not prolong the session's life."""
        fields, until = self._world.sessions.get(session_id, ({}, 0))
        kept = {name: value for name, value in fields.items() if name not in _HOLDS} if until > self._world.now else {}
        if hold != "none":
            kept[f"{hold}_node_id"] = node_id or ""
            until = self._world.now + SESSION_TTL_MS
        self._world.sessions[session_id] = (kept, until)


def _finish_refusal(job: Job, attempt: int, node_id: NodeId | None, status: FinalStatus) -> JobReply | None:
    if job.status in FINAL:
        is_same = job.attempt == attempt and job.status == status and node_id in {None, job.node}
        return JobReply(Word.REPEAT if is_same else Word.ALREADY_FINAL, job.attempt, job.status)
    if attempt < job.attempt or (attempt > job.attempt and node_id is not None):
        return JobReply(Word.STALE_ATTEMPT, job.attempt, job.status)
    if node_id is not None and (job.status == "pending" or node_id != job.node):
        return JobReply(Word.NOT_ASSIGNED, job.attempt, job.status)
    return None
