"""Which way a message to a node, or about a job, must go: to a connection here, or through a peer's inbox."""

from collections import OrderedDict, defaultdict

from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.node.events import JobReport
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId, TraceId
from lingua_scheduler.protocol.node import JobCancel, JobResult
from lingua_scheduler.scheduler.bus import Bus, RemoteOwner
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.control import drain_node
from lingua_scheduler.scheduler.nodes import JobOwner, Nodes
from lingua_scheduler.scheduler.orphans import Orphans
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions
from lingua_scheduler.store.records import HeldJob, Offer

REMOTE_NODES_MAX = 10_000
"""Nodes of other instances whose place is remembered; a forgotten one is learnt again with its next job."""


class Routes:
    """Between the sessions and nodes of this instance and those of its peers."""

    def __init__(self, context: Context, nodes: Nodes, bus: Bus) -> None:
        self.sessions: Sessions
        self._me = context.instance_id
        self._nodes = nodes
        self._bus = bus
        self._orphans = Orphans(context, self)
        self._places: OrderedDict[NodeId, InstanceId] = OrderedDict()

    # ------------------------------------------------------------------------------- from sessions here

    def assign(self, effect: job.SendAssign, owner: SessionActor) -> None:
        """To the node, wherever it is; the owner hears `AssignFailed` where it cannot be reached."""
        node_id, instance_id, assign = effect.node.node_id, effect.node.instance_id, effect.assign
        job_id = JobId(assign.job_id)

        def failed(may_have_arrived: bool) -> None:
            owner.assign_failed(job_id, assign.attempt_id, node_id, may_have_arrived=may_have_arrived)

        if instance_id == self._me:
            self._places.pop(node_id, None)
            if not self._nodes.assign(node_id, owner, assign, effect.audio):
                failed(False)
            return
        self._remember(node_id, instance_id)
        self._nodes.used_by(node_id, owner)
        message = wire.AssignJob(
            owner=self._me, node_id=node_id, epoch=effect.node.epoch, assign=assign, audio=effect.audio
        )
        self._bus.publish_in_turn(instance_id, message, failed, of=node_id)

    def cancel(self, effect: job.SendCancel, trace_id: TraceId) -> None:
        cancel = JobCancel(job_id=effect.job_id, trace_id=trace_id, reason=effect.reason)
        if effect.node.instance_id == self._me:
            self._nodes.send(effect.node.node_id, cancel)
        else:
            node_id = effect.node.node_id
            message = wire.CancelJob(node_id=node_id, cancel=cancel)
            self._bus.publish_in_turn(effect.node.instance_id, message, of=node_id)

    def unsent(self, job_id: JobId, attempt: int, node_id: NodeId) -> None:
        """An attempt that was placed here and not sent before the session went to another instance."""
        self._orphans.unsent(wire.AssignFailed(node_id=node_id, job_id=job_id, attempt_id=attempt, is_unsent=True))

    def store_returned(self) -> None:
        """Redis may have lost what was on its way to nodes of others, and what these have said of it: ask them."""
        asked: defaultdict[tuple[InstanceId, NodeId], list[tuple[str, int, int]]] = defaultdict(list)
        for actor in self.sessions.all():
            for node, job_id, attempt in actor.sent_jobs():
                if node.instance_id != self._me:
                    asked[node.instance_id, node.node_id].append((job_id, attempt, node.epoch))
        for (instance_id, node_id), jobs in asked.items():
            message = wire.AskJobs(owner=self._me, node_id=node_id, jobs=jobs)
            self._bus.publish_in_turn(instance_id, message, of=node_id)  # behind the assignments themselves

    def count_outcome(self, node_id: NodeId, is_good: bool) -> None:
        place = self._places.get(node_id, self._me)
        if place == self._me:
            self._nodes.count_outcome(node_id, is_good)
        else:
            self._bus.publish(place, wire.CountOutcome(node_id=node_id, is_good=is_good))

    # ------------------------------------------------------------------------------- from nodes and the store

    def owner_of(self, job_id: JobId) -> JobOwner | None:
        return self.sessions.owner_of(job_id) or self._bus.owner_of(job_id) or self.sessions.previews.owner_of(job_id)

    def offered(self, offers: tuple[Offer, ...]) -> None:
        """Slots became free: those who wait for them ask again."""
        for offer in offers:
            if (owner := self.sessions.owner_of(offer.job_id)) is not None:
                owner.jobs.post(job.SlotOffered(offer.job_id))
            elif offer.owner not in ("", self._me):
                self._bus.publish(offer.owner, wire.SlotFreed(job_id=offer.job_id))

    def held_jobs_lost(self, jobs: tuple[HeldJob, ...]) -> None:
        """Jobs lost their node without their owner having seen it go."""
        for held in jobs:
            if (owner := self.sessions.owner_of(held.job_id)) is not None:
                owner.jobs.post(job.AssignFailed(held.job_id, held.attempt, held.node_id))
            elif held.owner not in ("", self._me):
                self._bus.publish(
                    held.owner,
                    wire.AssignFailed(node_id=held.node_id, job_id=held.job_id, attempt_id=held.attempt),
                )

    def instance_gone(self, instance_id: InstanceId) -> None:
        """A peer died: whatever nodes it had are lost until they register again."""
        self.sessions.rooms.instance_gone(instance_id)
        for node_id in [node for node, place in self._places.items() if place == instance_id]:
            del self._places[node_id]
            if self._nodes.get(node_id) is None:  # else it has moved here
                self._nodes.tell_lost(node_id, None, "lost")

    # ------------------------------------------------------------------------------- from peers, for `Bus`

    def is_here(self, node_id: NodeId, epoch: int) -> bool:
        """Whether this very connection of the node is."""
        registered = self._nodes.get(node_id)
        return registered is not None and registered.epoch == epoch

    def is_ours(self, job_id: JobId) -> bool:
        return self.sessions.owner_of(job_id) is not None

    def assign_for(self, owner: RemoteOwner, message: wire.AssignJob) -> bool:
        node_id = NodeId(message.node_id)
        if not self.is_here(node_id, message.epoch):
            return False
        return self._nodes.assign(node_id, owner, message.assign, message.audio)

    def cancel_for(self, message: wire.CancelJob) -> None:
        self._nodes.send(NodeId(message.node_id), message.cancel)

    def outcome_for(self, message: wire.CountOutcome) -> None:
        self._nodes.count_outcome(NodeId(message.node_id), message.is_good)

    def report_for(self, message: wire.ReportJob) -> None:
        report, node_id = message.report, NodeId(message.node_id)
        if (owner := self.sessions.owner_of(JobId(report.job_id))) is not None:
            owner.report(node_id, report)
            return
        self.unowned(node_id, report)

    def unowned(self, node_id: NodeId, report: JobReport) -> None:
        """A node spoke of a job that nobody here has: a result is looked after, whoever it is for."""
        self._nodes.refuse_report(node_id, report)
        if isinstance(report, JobResult):
            self._orphans.look_after(node_id, report)

    def refuse(self, node_id: NodeId, report: JobReport) -> None:
        self._nodes.refuse_report(node_id, report)

    def orphan_for(self, node_id: NodeId, result: JobResult, gone: InstanceId | None = None) -> None:
        self._orphans.look_after(node_id, result, gone=gone)

    async def send(self, instance_id: InstanceId, message: wire.BusMessage) -> bool:
        return await self._bus.send(instance_id, message)

    def session_moved_for(self, message: wire.SessionMoved) -> None:
        """A session that was here is elsewhere; nodes here may have its jobs, and their loss concerns its new owner."""
        actor = self.sessions.find(SessionId(message.session_id))
        if actor is not None and actor.record is not None:
            actor.record.refused(message.epoch)
        for job_id in map(JobId, message.jobs):
            if isinstance(owner := self._bus.owner_of(job_id), RemoteOwner):
                self._nodes.used_by(self._bus.node_of(job_id), owner)

    def assign_failed_for(self, message: wire.AssignFailed) -> None:
        if not self.is_told(message) and message.is_unsent:
            self._orphans.pass_on_unsent(message)

    def is_told(self, message: wire.AssignFailed) -> bool:
        """Whether the job's owner is here, which knows of it now."""
        job_id = JobId(message.job_id)
        if (owner := self.sessions.owner_of(job_id)) is None:
            return False
        owner.jobs.post(job.AssignFailed(job_id, message.attempt_id, NodeId(message.node_id), message.is_unsent))
        return True

    def job_gone_for(self, message: wire.JobGone) -> None:
        job_id = JobId(message.job_id)
        if (owner := self.sessions.owner_of(job_id)) is not None:
            owner.jobs.post(job.JobGone(job_id, message.attempt_id, NodeId(message.node_id)))

    def node_gone_for(self, message: wire.NodeGone) -> None:
        node_id, cause = NodeId(message.node_id), message.cause
        if cause != "suspect":
            self._nodes.tell_lost(node_id, message.epoch, cause)
            return
        for owner in self._nodes.users_of(node_id):
            if not isinstance(owner, RemoteOwner):  # owners elsewhere hear it from the node's instance, as we did
                owner.node_lost(node_id, message.epoch, cause)

    def room_for(self, message: wire.RoomMessage) -> None:
        self.sessions.rooms.heard(message)

    async def settled(self) -> None:
        await self.sessions.settling.settled()

    def drain_for(self, message: wire.DrainNode) -> None:
        drain_node(self._nodes, NodeId(message.node_id), lifts=message.lifts)

    def slot_freed_for(self, message: wire.SlotFreed) -> None:
        job_id = JobId(message.job_id)
        if (owner := self.sessions.owner_of(job_id)) is not None:
            owner.jobs.post(job.SlotOffered(job_id))

    def _remember(self, node_id: NodeId, instance_id: InstanceId) -> None:
        self._places[node_id] = instance_id
        self._places.move_to_end(node_id)
        if len(self._places) > REMOTE_NODES_MAX:
            self._places.popitem(last=False)
