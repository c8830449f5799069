"""Between the instances of one fleet: what is meant for a node or a session that is connected elsewhere.

Each instance has one inbox (`store/streams.py`). An entry is finished when its effect is done, which here means: handed
to the machine or socket that it concerns. Everything is fenced by attempt and epoch, so an entry handled twice, or too
late, changes nothing.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

import msgspec

from lingua_scheduler.core.node.events import JobReport, LostCause
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId
from lingua_scheduler.protocol.node import JobReject, JobResult
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import PRESENCE_TTL_MS
from lingua_scheduler.store.streams import Entry, Inbox

_log = get_logger("scheduler.bus")

REMOTE_JOBS_MAX = 20_000
"""Jobs of other instances' sessions on nodes here; the oldest are forgotten first (their leases end by themselves)."""
REMOTE_JOB_MS = 6 * 60_000
"""One of these that is older is nobody's any more: its owner gave it up after five minutes, and the word was lost."""
GIVEN_KEPT = 20_000
"""Attempts that nodes here were given last; owners ask about what they gave in the time of a lease."""
RETRY_S = 0.5
REDELIVER_ROUNDS = 2
ORPHAN_ROUNDS = 4
"""Rounds of upkeep from one look for inboxes that nobody has to the next."""
ORPHAN_LOOKS = 4
REASONS_MAX = 1_000
PATIENCE_MS = 60_000
"""How long a message waits for Redis; a lease ends by then."""
PATIENT_MAX = 1_000
"""Messages that wait for Redis, about 100 MiB of spoken sentences; past it they are dropped and leases decide."""


Failed = Callable[[bool], None] | None
"""What to do about a message that was given up; told whether it may have arrived all the same."""


class Local(Protocol):
    """What this instance does with a message that has arrived."""

    def assign_for(self, owner: "RemoteOwner", message: wire.AssignJob) -> bool: ...

    def cancel_for(self, message: wire.CancelJob) -> None: ...

    def outcome_for(self, message: wire.CountOutcome) -> None: ...

    def report_for(self, message: wire.ReportJob) -> None: ...

    def is_here(self, node_id: NodeId, epoch: int) -> bool: ...

    def is_ours(self, job_id: JobId) -> bool: ...

    def assign_failed_for(self, message: wire.AssignFailed) -> None: ...

    def job_gone_for(self, message: wire.JobGone) -> None: ...

    def node_gone_for(self, message: wire.NodeGone) -> None: ...

    def drain_for(self, message: wire.DrainNode) -> None: ...

    def slot_freed_for(self, message: wire.SlotFreed) -> None: ...

    def refuse(self, node_id: NodeId, report: JobReport) -> None: ...

    def orphan_for(self, node_id: NodeId, result: JobResult, gone: InstanceId | None = None) -> None: ...

    def session_moved_for(self, message: wire.SessionMoved) -> None: ...

    def room_for(self, message: wire.RoomMessage) -> None: ...

    async def settled(self) -> None: ...


class RemoteOwner:
    """The owner of jobs that is another instance: what is reported to it goes to its inbox."""

    def __init__(self, bus: "Bus", instance_id: InstanceId) -> None:
        self._bus = bus
        self.instance_id = instance_id

    def report(self, node_id: NodeId, report: JobReport) -> None:
        message = wire.ReportJob(node_id=node_id, report=report)
        if not self._bus.is_with(JobId(report.job_id), node_id):
            self._bus.local.refuse(node_id, report)
            return
        if isinstance(report, JobResult | JobReject):
            self._bus.forget_job(JobId(report.job_id))
        gone = self.instance_id
        if isinstance(report, JobResult):
            failed: Failed = lambda _: self._bus.local.orphan_for(node_id, report, gone)  # noqa: E731
        else:
            failed = None
        # In the order in which the node said it: an empty result may follow the real one.
        self._bus.publish_in_turn(gone, message, failed, of=node_id)

    def node_lost(self, node_id: NodeId, epoch: int | None, cause: LostCause) -> None:
        if cause != "suspect":
            self._bus.forget_jobs_on(node_id, epoch)
        self._bus.publish(self.instance_id, wire.NodeGone(node_id=node_id, epoch=epoch, cause=cause))

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        return self._bus.jobs_on(node_id, self, since_epoch)


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job of another instance's session that a node here works on."""

    owner: RemoteOwner
    node_id: NodeId
    attempt: int
    epoch: int
    """Of the node's connection."""
    since_ms: int


class Bus:
    """This instance's side: publishes to peers, reads its own inbox, takes over those of the dead."""

    def __init__(self, context: Context, inbox: Inbox) -> None:
        self.local: Local
        self._context = context
        self._inbox = inbox
        self._owners: dict[InstanceId, RemoteOwner] = {}
        self._remote_jobs: OrderedDict[JobId, RemoteJob] = OrderedDict()
        self._jobs_on: defaultdict[NodeId, set[JobId]] = defaultdict(set)
        """The same by node."""
        self._given: OrderedDict[tuple[JobId, int], None] = OrderedDict()
        """Attempts that nodes here were given, the last ones: what is not among them they may never have had."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._reading: asyncio.Task[None] | None = None
        self._patient = 0
        self._peers: set[InstanceId] = set()
        self._unseen: set[InstanceId] = set()
        """Peers from before Redis was away that have not been seen since."""
        self._unseen_until_ms = 0
        self._missing: dict[InstanceId, int] = {}
        self._unfinished: set[InstanceId] = set()
        self._orphans: set[InstanceId] = set()
        self._rounds = 0
        self._reasons: OrderedDict[str, str] = OrderedDict()
        self._turns: dict[tuple[InstanceId, str], asyncio.Task[None]] = {}
        """What was published last, of each series that is under way."""

    # ------------------------------------------------------------------------------- towards peers

    def owner(self, instance_id: InstanceId) -> RemoteOwner:
        """The one `RemoteOwner` for an instance: sets of owners compare by identity."""
        return self._owners.setdefault(instance_id, RemoteOwner(self, instance_id))

    def owner_of(self, job_id: JobId) -> RemoteOwner | None:
        """Whose job this is, if it came from another instance."""
        remote = self._remote_jobs.get(job_id)
        return remote.owner if remote else None

    def is_with(self, job_id: JobId, node_id: NodeId) -> bool:
        """Whether a job of another instance is with the node, as far as is known here."""
        remote = self._remote_jobs.get(job_id)
        return remote is not None and remote.node_id == node_id

    def node_of(self, job_id: JobId) -> NodeId:
        """Where a job of another instance is."""
        return self._remote_jobs[job_id].node_id

    def jobs_on(self, node_id: NodeId, owner: RemoteOwner, since_epoch: int) -> list[tuple[JobId, int]]:
        """What a node here works on for one other instance, with the attempts, placed under `since_epoch` or later."""
        here = sorted(self._jobs_on.get(node_id, ()))
        jobs = [(job_id, self._remote_jobs[job_id]) for job_id in here]
        return [(job_id, one.attempt) for job_id, one in jobs if one.owner is owner and one.epoch >= since_epoch]

    @property
    def remote_jobs(self) -> int:
        """Jobs of peers on nodes here."""
        return len(self._remote_jobs)

    def _note_job(self, job_id: JobId, job: RemoteJob) -> None:
        self.forget_job(job_id)
        self._remote_jobs[job_id] = job
        self._jobs_on[job.node_id].add(job_id)
        self._idle.clear()
        if len(self._remote_jobs) > REMOTE_JOBS_MAX:
            self.forget_job(next(iter(self._remote_jobs)))

    def forget_job(self, job_id: JobId) -> None:
        """It was answered, refused or cancelled."""
        if (job := self._remote_jobs.pop(job_id, None)) is not None:
            self._jobs_on[job.node_id].discard(job_id)
            if not self._jobs_on[job.node_id]:
                del self._jobs_on[job.node_id]
        if not self._remote_jobs:
            self._idle.set()

    def forget_jobs_on(self, node_id: NodeId, epoch: int | None) -> None:
        """The node's connections up to `epoch` are lost (None: all), and their jobs with them."""
        for job_id in sorted(self._jobs_on.get(node_id, ())):
            if epoch is None or self._remote_jobs[job_id].epoch <= epoch:
                self.forget_job(job_id)

    def _forget_old_jobs(self) -> None:
        given_up_ms = self._context.clock.now_ms() - REMOTE_JOB_MS
        while self._remote_jobs and (oldest := next(iter(self._remote_jobs.items())))[1].since_ms <= given_up_ms:
            self.forget_job(oldest[0])

    async def wait_idle(self) -> None:
        """Until no node here works for another instance."""
        await self._idle.wait()

    def publish(self, instance_id: InstanceId, message: wire.BusMessage, failed: Failed = None) -> None:
        """Put a message into a peer's inbox; `failed` is called where the peer is gone or Redis does not answer."""
        self._context.scope.start(self._publish(instance_id, message, failed), "publish")

    def publish_in_turn(
        self, instance_id: InstanceId, message: wire.BusMessage, failed: Failed = None, *, of: str = ""
    ) -> None:
        """The same for what must not overtake what was published in turn before it: to that peer, `of` that."""
        series = instance_id, of
        work = self._publish_behind(self._turns.get(series), instance_id, message, failed)
        self._turns[series] = task = self._context.scope.start(work, "publish")

        def over(_: object) -> None:
            if self._turns.get(series) is task:
                del self._turns[series]

        task.add_done_callback(over)

    async def _publish_behind(
        self, before: asyncio.Task[None] | None, instance_id: InstanceId, message: wire.BusMessage, failed: Failed
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        await self._publish(instance_id, message, failed)

    def session_moved(self, session_id: SessionId, epoch: int, previous: InstanceId, jobs: Iterable[JobId]) -> None:
        """This instance goes on with a session that another had."""
        me = self._context.instance_id
        message = wire.SessionMoved(session_id=session_id, owner=me, epoch=epoch, jobs=list(jobs))
        for job_id in message.jobs:
            self.forget_job(JobId(job_id))
        for peer in sorted((self._peers | {previous}) - {me}):
            self.publish(peer, message)

    async def reports_to(self, instance_id: InstanceId) -> list[tuple[NodeId, JobReport]]:
        """What nodes reported to a peer that has not dealt with it. Raises StoreError."""
        found: list[tuple[NodeId, JobReport]] = []
        for entry in await self._inbox.peek(instance_id):
            try:
                message = wire.decode_bus(entry.payload)
            except msgspec.DecodeError:
                continue
            if isinstance(message, wire.ReportJob):
                found.append((NodeId(message.node_id), message.report))
        return found

    async def send(self, instance_id: InstanceId, message: wire.BusMessage) -> bool:
        """One try. False where that instance has no inbox. Raises StoreError. Nothing that a node said overtakes."""
        if isinstance(message, wire.ReportJob) and (before := self._turns.get((instance_id, message.node_id))):
            await asyncio.wait([before])
        return await self._inbox.publish(instance_id, wire.encode_bus(message))

    async def _publish(self, instance_id: InstanceId, message: wire.BusMessage, failed: Failed) -> None:
        health, body = self._context.health, wire.encode_bus(message)
        give_up_at_ms = self._context.clock.now_ms() + PATIENCE_MS
        may_have_arrived = False
        while True:
            try:
                if await self._inbox.publish(instance_id, body):
                    return
                why, may_change = "no such inbox", health.is_settling
            except StoreError as error:
                why, may_change = str(error), True
                may_have_arrived = may_have_arrived or error.may_have_happened
            # What a node said must reach the job's owner; an assignment is better placed anew.
            is_assignment = isinstance(message, wire.AssignJob)
            if is_assignment or not may_change or self._context.clock.now_ms() >= give_up_at_ms:
                break
            if self._patient >= PATIENT_MAX:
                why = f"{why}; {PATIENT_MAX} others wait"
                break
            self._patient += 1
            try:
                await asyncio.sleep(RETRY_S)
            finally:
                self._patient -= 1
        _log.warning("message not delivered", instance=instance_id, kind=type(message).__name__, cause=why)
        if failed is not None:
            failed(may_have_arrived)

    # ------------------------------------------------------------------------------- from peers

    async def create(self) -> None:
        """Make the inbox; before that, peers take this instance for gone. Raises StoreError."""
        await self._inbox.create()

    def start(self) -> None:
        """Read the inbox until `close`."""
        self._reading = self._context.scope.start(self._read(), "inbox")

    async def _read(self) -> None:
        has_arrived = True
        while True:
            try:
                # Where an answer was lost, its entries come first: what was published behind them must not overtake.
                await self._handle_all(await (self._inbox.read() if has_arrived else self._inbox.unfinished()))
                has_arrived = True
            except StoreError as error:
                has_arrived = False
                # Redis away, or back without our inbox: wait a little, make it anew.
                _log.warning("inbox not read", cause=str(error))
                self._context.health.failed(str(error))
                await asyncio.sleep(RETRY_S)
                await self._create_quietly()

    async def keep(self, alive: set[InstanceId]) -> set[InstanceId]:
        """Once per round of upkeep: try again what failed, take over from peers that died.

        Returns these. Raises StoreError.
        """
        me = self._context.instance_id
        self._rounds += 1
        self._forget_old_jobs()
        if self._rounds % REDELIVER_ROUNDS == 0 and (failed := await self._inbox.redeliver()):
            await self._handle_all(failed)
            await self._give_up(me)
        if self._rounds % ORPHAN_ROUNDS == 0:
            await self._look_for_orphans()
        gone = (self._peers - alive) | self._orphans | (self._unfinished - alive) | self._overdue(alive)
        self._peers = alive - {me}
        # All of them now: should Redis fail at the first, the others are not forgotten.
        self._unfinished |= gone
        for dead in sorted(gone):
            self._owners.pop(dead, None)
            _log.warning("taking over an inbox", instance=dead)
            if await self._take_over(dead):
                self._unfinished.discard(dead)
        return gone

    async def _look_for_orphans(self) -> None:
        """Inboxes without an instance at `ORPHAN_LOOKS`: their fleet died before anybody could take them over."""
        dead = await self._context.store.instances.dead()
        self._missing = {one: self._missing.get(one, 0) + 1 for one in dead}
        self._orphans = {one for one, looks in self._missing.items() if looks >= ORPHAN_LOOKS}

    async def _give_up(self, inbox_of: InstanceId, *, at_once: bool = False) -> None:
        if count := await self._inbox.give_up(inbox_of, self._reasons, at_once=at_once):
            _log.error("messages given up", inbox=inbox_of, count=count)

    def wait_for_peers(self) -> None:
        """Redis was away: whose presence is missing may only not have renewed it yet, and has as long as ever.

        Nobody is forgotten: one that died meanwhile is missed then, though a Redis that came back empty has no trace.
        """
        self._unseen |= self._peers | self._unfinished
        self._unseen_until_ms = self._context.clock.now_ms() + PRESENCE_TTL_MS
        self._peers.clear()
        self._missing.clear()
        self._orphans.clear()
        self._unfinished.clear()

    def _overdue(self, alive: set[InstanceId]) -> set[InstanceId]:
        self._unseen -= alive
        if self._context.clock.now_ms() < self._unseen_until_ms:
            return set()
        overdue, self._unseen = self._unseen, set()
        return overdue

    async def close(self) -> None:
        """Graceful stop: handle what the inbox still holds, so that peers hear what cannot be done, then remove it."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        me = self._context.instance_id
        try:
            # The reader may have been stopped between an effect and its acknowledgement: that is no failure.
            await self._handle_all(await self._inbox.unfinished())
            while not await self._take_over(me):
                await self._give_up(me, at_once=True)
        except StoreError as error:
            _log.warning("inbox not removed", cause=str(error))

    async def _create_quietly(self) -> None:
        try:
            await self.create()
        except StoreError as error:
            _log.info("inbox not made", cause=str(error))

    async def _take_over(self, dead: InstanceId) -> bool:
        """Handle what an instance left, then remove its inbox. Peers doing the same get other entries.

        False where some are left: they failed, or a peer has them; they come again with a later round.
        """
        while entries := await self._inbox.take_over(dead):
            await self._handle_all(entries)
        if await self._inbox.remove(dead):
            return True
        await self._give_up(dead)
        return False

    async def _handle_all(self, entries: list[Entry]) -> None:
        """What fails stays pending: it is delivered again, and in the end given up as a dead letter."""
        done = [entry for entry in entries if self._is_handled(entry)]
        if done:
            await self.local.settled()
            await self._inbox.done(done)

    def _is_handled(self, entry: Entry) -> bool:
        try:
            self._handle(wire.decode_bus(entry.payload))
        except Exception as error:  # noqa: BLE001 - one entry that hits a bug must not block the inbox behind it
            _log.error("message failed", entry=entry.entry_id, cause=repr(error))
            self._reasons[entry.entry_id] = repr(error)
            if len(self._reasons) > REASONS_MAX:
                self._reasons.popitem(last=False)
            return False
        return True

    def _handle(self, message: wire.BusMessage) -> None:  # noqa: C901, PLR0912 - one line for each message
        local = self.local
        match message:
            case wire.AssignJob():
                self._on_assign(message)
            case wire.CancelJob():
                self.forget_job(JobId(message.cancel.job_id))
                local.cancel_for(message)
            case wire.CountOutcome():
                local.outcome_for(message)
            case wire.ReportJob():
                local.report_for(message)
            case wire.AssignFailed():
                local.assign_failed_for(message)
            case wire.AskJobs():
                self._on_asked(message)
            case wire.JobGone():
                local.job_gone_for(message)
            case wire.NodeGone():
                local.node_gone_for(message)
            case wire.DrainNode():
                local.drain_for(message)
            case wire.SlotFreed():
                local.slot_freed_for(message)
            case wire.SessionMoved():
                self._on_session_moved(message)
            case wire.RoomChanged() | wire.RoomLine() | wire.RoomSignal():
                local.room_for(message)
            case _:
                assert_never(message)

    def _on_session_moved(self, message: wire.SessionMoved) -> None:
        owner = self.owner(InstanceId(message.owner))
        for job_id in map(JobId, message.jobs):
            if (remote := self._remote_jobs.get(job_id)) is not None:
                self._remote_jobs[job_id] = replace(remote, owner=owner)
        self.local.session_moved_for(message)

    def _on_assign(self, message: wire.AssignJob) -> None:
        owner, node_id = self.owner(InstanceId(message.owner)), NodeId(message.node_id)
        job_id, attempt = JobId(message.assign.job_id), message.assign.attempt_id
        if (job_id, attempt) in self._given and self.local.is_here(node_id, message.epoch):
            return  # the entry came twice
        if self.local.assign_for(owner, message):
            self._given[job_id, attempt] = None
            if len(self._given) > GIVEN_KEPT:
                self._given.popitem(last=False)
            if not self.local.is_ours(job_id):  # its session may have come here since
                self._note_job(job_id, RemoteJob(owner, node_id, attempt, message.epoch, self._context.clock.now_ms()))
            return
        self.publish(owner.instance_id, wire.AssignFailed(node_id=node_id, job_id=job_id, attempt_id=attempt))

    def _on_asked(self, message: wire.AskJobs) -> None:
        """The assignment was lost on its way, or what was said of it: that was published before this."""
        node_id = NodeId(message.node_id)
        for job_id, attempt, epoch in ((JobId(one), attempt, epoch) for one, attempt, epoch in message.jobs):
            remote = self._remote_jobs.get(job_id)
            if remote is not None and remote.attempt == attempt:
                continue
            if (job_id, attempt) not in self._given and self.local.is_here(node_id, epoch):
                answer = wire.AssignFailed(node_id=node_id, job_id=job_id, attempt_id=attempt, is_unsent=True)
            else:
                answer = wire.JobGone(node_id=node_id, job_id=job_id, attempt_id=attempt)
            self.publish_in_turn(InstanceId(message.owner), answer, of=node_id)
