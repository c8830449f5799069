"""Performs what job machines ask: Redis itself, nodes by way of `routes.py`; answers are posted back to them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Literal, assert_never

from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.jobs.placing import HOPELESS
from lingua_scheduler.core.placement import (
    AlreadyDone,
    Queued,
    Selected,
    SelectReply,
    SelectRequest,
    StaleAttempt,
    StaleOwner,
    Unplaced,
)
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.keeping import SessionRecord
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.routes import Routes
from lingua_scheduler.scheduler.sessions import SessionActor, ShellEffect
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import JobReply, Word

_log = get_logger("scheduler.dispatch")

StoreOperation = Literal["select", "finish", "requeue", "renew"]


class Dispatch:
    """Between the job machines and the store."""

    def __init__(self, context: Context, nodes: Nodes, routes: Routes) -> None:
        self._context = context
        self._nodes = nodes
        self._routes = routes
        self._under_way: dict[SessionActor, set[asyncio.Task[None]]] = {}
        """Cancels that wait for the store, and the assignments behind them: a node must hear both in order."""

    def perform(self, effect: ShellEffect, owner: SessionActor) -> None:
        """One effect: at once what goes to a node connected here; what needs Redis answers later."""
        match effect:
            case job.SendAssign():
                self._assign(effect, owner)
            case job.SendCancel():
                self._cancel(effect, owner)
            case job.CountNodeOutcome(node_id, is_good):
                self._routes.count_outcome(node_id, is_good)
            case job.SelectNode():
                self._start(self._select(effect, owner), "select")
            case job.FinishJob():
                self._start(self._finish(effect, owner), "finish")
            case job.RequeueJob():
                self._context.metrics.retries.labels(effect.cause).inc()
                if effect.cause == "job_timeout":
                    self._context.metrics.leases_expired.labels("timer").inc()
                owner.retried(effect.cause)
                _log.info(
                    "job goes to a further attempt",
                    job=effect.job_id, session=owner.session_id, node=effect.node_id, attempt=effect.attempt + 1,
                    trace=owner.opening.speaker.trace_id, cause=effect.cause,
                )  # fmt: skip
                self._start(self._requeue(effect, owner), "requeue")
            case job.RenewLease():
                self._start(self._renew(effect, owner), "renew")
            case job.LeaveQueue(job_id):
                self._start(self._tell(lambda: self._context.store.jobs.leave_queue(job_id), "leave_queue"), "leave")
            case job.MarkUnavailable(node_id, service):
                mark = self._context.store.nodes.mark_unavailable
                self._start(self._tell(lambda: mark(node_id, service), "mark_unavailable"), "mark")
            case _:
                assert_never(effect)

    def pass_on(self, node_id: NodeId, result: JobResult) -> None:
        """To whoever owns the job now."""
        self._routes.orphan_for(node_id, result)

    def unsent(self, job_id: JobId, attempt: int, node_id: NodeId) -> None:
        """An attempt of a job whose owner is another by now: it is told, and the slot is free at once."""
        self._routes.unsent(job_id, attempt, node_id)

    async def _select(self, effect: job.SelectNode, owner: SessionActor) -> None:
        record = owner.record
        request = effect.request if record is None else replace(effect.request, session_epoch=record.epoch)

        async def placed() -> tuple[SelectReply, job.NodeTraits | None]:
            if record is None:
                reply = await self._context.store.jobs.select(request)
            else:
                reply = await self._select_as_owner(record, request)
            return reply, await self._traits(reply) if isinstance(reply, Selected) else None

        answer = await self._ask(placed, owner, request.job_id, request.attempt, "select")
        if answer is None:
            if owner.is_replaced:
                self.unsent(request.job_id, request.attempt, NodeId(""))
            return
        reply, node = answer
        if isinstance(reply, StaleOwner):
            self._refused(reply.epoch, owner, request.job_id, request.attempt, "select")
            return
        if isinstance(reply, Unplaced) and reply.reason in HOPELESS and await self._may_come():
            owner.jobs.post(job.StoreFailed(request.job_id, request.attempt, "select"))
            return
        self._count(reply)
        if owner.is_replaced and isinstance(reply, Selected):
            self.unsent(request.job_id, request.attempt, reply.node_id)
            return
        owner.jobs.post(job.PlacementReplied(request.job_id, request.attempt, reply, node))

    async def _select_as_owner(self, record: SessionRecord, request: SelectRequest) -> SelectReply:
        """The record first, in the same write: no node has a job of an utterance that the store does not know."""
        writing = asyncio.create_task(record.write())  # noqa: TID251 - its owner is this call
        try:
            await asyncio.sleep(0)  # for its command to be asked before ours
            reply = await self._context.store.jobs.select(request)
        except StoreError:
            await asyncio.gather(writing, return_exceptions=True)  # most likely it failed alike: one is told
            raise
        except asyncio.CancelledError:
            writing.cancel()
            raise
        await writing
        return reply

    async def _may_come(self) -> bool:
        """Whether nodes are missing only for now: Redis came back empty and they will be registered again, or their
        instance leaves and they connect elsewhere. Asked seldom: of a pair without any node.
        """
        if self._context.health.is_settling:
            return True
        try:
            return await self._context.store.instances.is_one_leaving()
        except StoreError as error:
            self._failed("is_one_leaving", error)
            return True

    def _count(self, reply: SelectReply) -> None:
        match reply:
            case Selected():
                answer = reply.why
            case Unplaced():
                answer = reply.reason.value
                for why, count in reply.counts.items():
                    self._context.metrics.passed_over.labels(why).inc(count)
            case Queued() | AlreadyDone() | StaleAttempt() | StaleOwner():
                answer = type(reply).__name__
        self._context.metrics.selections.labels(answer).inc()

    async def _finish(self, effect: job.FinishJob, owner: SessionActor) -> None:
        record = owner.record
        fence, result = (record.fence, owner.result_of(effect)) if record is not None else (None, b"")
        if owner.leaves_tails:
            self._note_tails(owner)
        reply = await self._ask(
            lambda: self._context.store.jobs.finish(
                effect.job_id, effect.attempt, effect.node_id, effect.status, hold=effect.hold,
                cause=effect.cause, fence=fence, result=result,
            ),
            owner,
            effect.job_id,
            effect.attempt,
            "finish",
        )  # fmt: skip
        if reply is not None:
            if reply.word is Word.STALE_EPOCH:
                self._refused(reply.attempt, owner, effect.job_id, effect.attempt, "finish")
                return
            # Not where it was finished before: a peer may have put the node's own words there for an owner asleep.
            if record is not None and result and reply.word is Word.OK:
                record.stored(effect.job_id)
            self._routes.offered(reply.offers)
            owner.jobs.post(job.FinishReplied(effect.job_id, effect.attempt, reply.word))

    def _note_tails(self, owner: SessionActor) -> None:
        """On its way before the result, in the same trip: whoever has the one must know of the other."""
        record = owner.record
        if record is not None and not owner.is_ended:
            self._start(self._tell(lambda: record.write(always=True), "note_tails"), "note-tails")

    async def _requeue(self, effect: job.RequeueJob, owner: SessionActor) -> None:
        reply = await self._ask(
            lambda: self._context.store.jobs.requeue(
                effect.job_id, effect.attempt, effect.cause, fence=owner.record.fence if owner.record else None
            ),
            owner,
            effect.job_id,
            effect.attempt,
            "requeue",
        )
        if reply is not None:
            if reply.word is Word.STALE_EPOCH:
                self._refused(reply.attempt, owner, effect.job_id, effect.attempt, "requeue")
                return
            self._routes.offered(reply.offers)
            owner.jobs.post(job.RequeueReplied(effect.job_id, effect.attempt, reply.word))

    def _refused(self, epoch: int, owner: SessionActor, job_id: JobId, attempt: int, operation: StoreOperation) -> None:
        """A newer owner has the session. If that is this instance itself, a moment later, it asks again."""
        assert owner.record is not None
        owner.record.refused(epoch)
        owner.jobs.post(job.StoreFailed(job_id, attempt, operation))

    def _assign(self, effect: job.SendAssign, owner: SessionActor) -> None:
        if owner in self._under_way:
            self._in_order(self._assign_behind(self._under_way[owner].copy(), effect, owner), owner, "assign")
        else:
            self._routes.assign(effect, owner)

    def _cancel(self, effect: job.SendCancel, owner: SessionActor) -> None:
        if owner.record is None or owner.is_ended:
            self._routes.cancel(effect, owner.opening.speaker.trace_id)
        else:
            before = self._under_way.get(owner, set[asyncio.Task[None]]()).copy()
            self._in_order(self._cancel_as_owner(before, effect, owner), owner, "cancel")

    async def _cancel_as_owner(
        self, before: set[asyncio.Task[None]], effect: job.SendCancel, owner: SessionActor
    ) -> None:
        """Only the owner may: the node may have the job for a newer one by now."""
        if owner.record is not None and not owner.is_ended:
            try:
                if not await owner.record.write(always=True):
                    return
            except StoreError as error:
                self._failed("cancel", error)
        if before:
            await asyncio.wait(before)  # the assignment itself may be among them
        self._routes.cancel(effect, owner.opening.speaker.trace_id)

    async def _assign_behind(
        self, before: set[asyncio.Task[None]], effect: job.SendAssign, owner: SessionActor
    ) -> None:
        await asyncio.wait(before)
        job_id, attempt = JobId(effect.assign.job_id), effect.assign.attempt_id
        if owner.is_replaced:
            self.unsent(job_id, attempt, effect.node.node_id)
        elif not owner.is_ended and owner.is_sent(job_id, attempt):  # else it was taken back while it waited
            self._routes.assign(effect, owner)

    def _in_order(self, work: Coroutine[Any, Any, None], owner: SessionActor, name: str) -> None:
        tasks = self._under_way.setdefault(owner, set())
        task = self._start(work, name)
        tasks.add(task)

        def over(_: object) -> None:
            tasks.discard(task)
            if not tasks:
                self._under_way.pop(owner, None)

        task.add_done_callback(over)

    async def _renew(self, effect: job.RenewLease, owner: SessionActor) -> None:
        # A refused renewal needs no answer: the fence shows itself at the finish.
        renew = self._context.store.jobs.renew_lease
        await self._ask(
            lambda: renew(effect.job_id, effect.attempt, effect.node_id, effect.lease_ms),
            owner,
            effect.job_id,
            effect.attempt,
            "renew",
        )

    async def _ask(
        self,
        call: Callable[[], Awaitable[Any]],
        owner: SessionActor,
        job_id: JobId,
        attempt: int,
        operation: StoreOperation,
    ) -> Any:
        """The reply, or None after the machine was told that there is none."""
        try:
            return await call()
        except StoreError as error:
            self._failed(operation, error)
            owner.jobs.post(job.StoreFailed(job_id, attempt, operation))
            return None

    async def _tell(self, call: Callable[[], Awaitable[Any]], operation: str) -> None:
        """A call whose failure changes nothing: what it would have done runs out by itself."""
        try:
            reply = await call()
        except StoreError as error:
            self._failed(operation, error)
            return
        if isinstance(reply, JobReply):
            self._routes.offered(reply.offers)

    def _failed(self, operation: str, error: StoreError) -> None:
        self._context.metrics.store_failures.inc()
        _log.warning("store failed", operation=operation, cause=str(error), may_have_happened=error.may_have_happened)

    async def _traits(self, reply: Selected) -> job.NodeTraits:
        """As of now: since the reply it may be elsewhere. Raises StoreError where the store cannot tell of it."""
        if (registered := self._nodes.get(reply.node_id)) is not None:
            protocol, epoch, place = registered.registration.protocol, registered.epoch, self._context.instance_id
        else:
            protocol, epoch, place = await self._context.store.nodes.traits(reply.node_id)
        return job.NodeTraits(reply.node_id, place or reply.instance_id, 2 if protocol == 2 else 1, epoch)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._context.scope.start(work, name)
