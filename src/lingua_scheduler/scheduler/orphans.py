"""What concerns a job that nobody here owns: its session moved, or its instance died with nobody in its place.

The store knows who owns the session now. A living owner gets a result; without one it is finished into the session's
outbox, where whoever goes on with the session finds it. An attempt that was placed and never sent goes back to the
store, and its owner is told, which else would wait for its lease to end. Everything is fenced by attempt and epoch, so
what is passed on twice, or too late, changes nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId
from lingua_scheduler.protocol.kept import encode_report
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import JobOwner
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Fence, JobStory, Offer, Word

_log = get_logger("scheduler.orphans")

LOOKUPS_MAX = 256
"""What is looked after at once; past it things are dropped, and leases decide."""
TRIES = 5
PAUSE_S = 0.1
"""Owners change within a few round trips."""
CAUSE = "owner gone"


class Here(Protocol):
    """What this instance can do with a result."""

    def owner_of(self, job_id: JobId) -> JobOwner | None: ...

    async def send(self, instance_id: InstanceId, message: wire.BusMessage) -> bool:
        """False where that instance has no inbox (any more)."""
        ...

    def is_told(self, message: wire.AssignFailed) -> bool:
        """Whether the job's owner is here, which knows of it now."""
        ...

    def offered(self, offers: tuple[Offer, ...]) -> None: ...


class Orphans:
    def __init__(self, context: Context, here: Here) -> None:
        self._context = context
        self._here = here
        self._open = 0

    def look_after(self, node_id: NodeId, result: JobResult, *, gone: InstanceId | None = None) -> None:
        """`gone`: an instance that is known to be no more."""
        self._start(lambda: self._look_after(node_id, result, gone), JobId(result.job_id))

    async def _look_after(self, node_id: NodeId, result: JobResult, gone: InstanceId | None) -> None:
        for left in reversed(range(TRIES)):
            try:
                if await self._is_settled(node_id, result, gone):
                    return
            except StoreError:
                if not left:
                    raise
            await asyncio.sleep(PAUSE_S)
        _log.warning("orphan not settled", job=result.job_id)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]], job_id: JobId) -> None:
        if self._open >= LOOKUPS_MAX:
            return
        self._open += 1
        self._context.scope.start(self._bounded(work, job_id), "orphan")

    async def _bounded(self, work: Callable[[], Coroutine[Any, Any, None]], job_id: JobId) -> None:
        try:
            await work()
        except StoreError as error:
            _log.warning("orphan not finished", job=job_id, cause=str(error))
        finally:
            self._open -= 1

    async def _is_settled(self, node_id: NodeId, result: JobResult, gone: InstanceId | None) -> bool:
        store, job_id = self._context.store, JobId(result.job_id)
        if (local := self._here.owner_of(job_id)) is not None:
            local.report(node_id, result)
            return True
        story = await store.jobs.story(job_id)
        if story is None or story.attempt != result.attempt_id or story.status in _FINAL:
            return True
        if story.node_id != node_id:
            return True  # a stranger to the job: its failure would take it from the node that has it
        owner = await store.sessions.owner(story.session_id)
        if owner is None:
            await self._finish(node_id, result, story, gone)
            return True
        instance_id, epoch = owner
        me = self._context.instance_id
        if instance_id not in (me, gone) and await store.instances.is_alive(instance_id):
            return await self._here.send(instance_id, wire.ReportJob(node_id=node_id, report=result))
        if instance_id == me:
            # It is on its way here: whoever takes it over looks into the outbox once it has.
            await asyncio.sleep(PAUSE_S)
            if (local := self._here.owner_of(job_id)) is not None:
                local.report(node_id, result)
                return True
        return await self._keep(node_id, result, Fence(story.session_id, epoch))

    # ------------------------------------------------------------------------------- attempts that no node got

    def unsent(self, message: wire.AssignFailed) -> None:
        """The attempt was placed here: the store hears first, for an owner that has not yet asked where the job is."""
        self._start(lambda: self._revoke(message), JobId(message.job_id))

    def pass_on_unsent(self, message: wire.AssignFailed) -> None:
        """A peer placed the attempt; the job's owner is not here yet, or not any more."""
        self._start(lambda: self._tell_owner(message), JobId(message.job_id))

    async def _revoke(self, message: wire.AssignFailed) -> None:
        # Without a fence: that this attempt was never sent is true whoever owns the session.
        reply = await self._context.store.jobs.requeue(JobId(message.job_id), message.attempt_id, "not_sent")
        self._here.offered(reply.offers)
        await self._tell_owner(message)

    async def _tell_owner(self, message: wire.AssignFailed) -> None:
        store = self._context.store
        for _ in range(TRIES):
            if self._here.is_told(message):
                return
            story = await store.jobs.story(JobId(message.job_id))
            owner = await store.sessions.owner(story.session_id) if story is not None else None
            if owner is None:
                return
            if owner[0] != self._context.instance_id:
                await self._here.send(owner[0], message)
                return
            await asyncio.sleep(PAUSE_S)

    async def _keep(self, node_id: NodeId, result: JobResult, fence: Fence) -> bool:
        """For the session's next owner. False where that came in between."""
        jobs, job_id = self._context.store.jobs, JobId(result.job_id)
        if not result.success:
            reply = await jobs.requeue(job_id, result.attempt_id, CAUSE, fence=fence)
        else:
            body = encode_report(node_id, result)
            reply = await jobs.finish(
                job_id, result.attempt_id, node_id, "completed", cause=CAUSE, fence=fence, result=body
            )
        return reply.word is not Word.STALE_EPOCH

    async def _finish(self, node_id: NodeId, result: JobResult, story: JobStory, gone: InstanceId | None) -> None:
        """A session that nobody can resume: nobody wants the result, but the node's slot must come free."""
        is_gone = story.owner in (gone, self._context.instance_id, "")
        if is_gone or not await self._context.store.instances.is_alive(story.owner):
            status = "completed" if result.success else "failed"
            await self._context.store.jobs.finish(JobId(result.job_id), result.attempt_id, node_id, status, cause=CAUSE)


_FINAL = frozenset({"completed", "completed_no_text", "failed", "cancelled"})
