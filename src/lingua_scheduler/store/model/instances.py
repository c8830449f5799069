"""What `InstanceStore` does about ownership and the dead, on plain data."""

from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId
from lingua_scheduler.store.instances import REAP_ROUND
from lingua_scheduler.store.keys import NODE_TTL_MS, OWNER_TTL_MS, PRESENCE_TTL_MS
from lingua_scheduler.store.model.world import FINAL, World
from lingua_scheduler.store.records import HeldJob, Offer, OwnedKind, OwnerReply, Presence, ReapReply, Word

GRACE_MS = 5000
OWNER_MS = 30_000


class InstanceModel:
    """See `InstanceStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def announce(self, presence: Presence) -> None:
        self._world.presences[presence.instance_id] = self._world.now + PRESENCE_TTL_MS

    def withdraw(self, instance_id: InstanceId) -> None:
        self._world.presences.pop(instance_id, None)

    def is_alive(self, instance_id: InstanceId) -> bool:
        return self._world.presences.get(instance_id, 0) > self._world.now

    def claim_owner(
        self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, *, take_over: bool = False
    ) -> OwnerReply:
        owner, epoch = self._owner(kind, owned_id)
        if owner not in {None, instance_id} and not take_over:
            return OwnerReply(Word.HELD, owner, epoch)
        if owner != instance_id:
            epoch = max(self._world.now, epoch + 1)
        self._world.owners[f"{kind}:{owned_id}"] = (instance_id, epoch, self._world.now + OWNER_TTL_MS)
        return OwnerReply(Word.OK, instance_id, epoch)

    def renew_owner(self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, epoch: int) -> OwnerReply:
        if self._owner(kind, owned_id) != (instance_id, epoch):
            return OwnerReply(Word.LOST, *self._owner(kind, owned_id))
        self._world.owners[f"{kind}:{owned_id}"] = (instance_id, epoch, self._world.now + OWNER_TTL_MS)
        return OwnerReply(Word.OK, instance_id, epoch)

    def release_owner(self, kind: OwnedKind, owned_id: str, instance_id: InstanceId, epoch: int) -> OwnerReply:
        if self._owner(kind, owned_id) != (instance_id, epoch):
            return OwnerReply(Word.LOST, *self._owner(kind, owned_id))
        del self._world.owners[f"{kind}:{owned_id}"]
        return OwnerReply(Word.OK, instance_id, epoch)

    def owner_of(self, kind: OwnedKind, owned_id: str) -> InstanceId | None:
        return self._owner(kind, owned_id)[0]

    def reap(self) -> ReapReply:
        world = self._world
        entries = sorted((due, entry) for entry, due in world.deadlines.items() if due <= world.now - GRACE_MS)
        jobs: list[HeldJob] = []
        nodes: list[NodeId] = []
        opened: dict[NodeId, None] = {}
        for _, entry in entries[:REAP_ROUND]:
            kind, _, name = entry.partition(":")
            if kind == "node":
                self._reap_node(NodeId(name), jobs, nodes)
            elif (held := self._reap_job(JobId(name), opened)) is not None:
                jobs.append(held)
                opened[held.node_id] = None
        offers: list[Offer] = [offer for node_id in opened for offer in world.offer_slots(node_id)]
        return ReapReply(tuple(jobs), tuple(nodes), tuple(offers), len(entries) >= REAP_ROUND)

    def _reap_node(self, node_id: NodeId, jobs: list[HeldJob], nodes: list[NodeId]) -> None:
        if (node := self._world.node(node_id)) is not None:
            self._world.deadlines[f"node:{node_id}"] = node.last_heartbeat_ms + NODE_TTL_MS
            return
        jobs += self._world.remove_node(node_id)
        nodes.append(node_id)

    def _reap_job(self, job_id: JobId, opened: dict[NodeId, None]) -> HeldJob | None:
        """A lease is its owner's to requeue for 5 s, and for 30 s while the owner's presence shows that it lives."""
        world, job = self._world, self._world.job(job_id)
        if job is None or job.status in FINAL or job.status == "pending" or job.node is None:
            world.deadlines.pop(f"job:{job_id}", None)
            if job is not None and job.status == "pending" and (freed := world.stop_waiting(job_id, job)) is not None:
                opened[freed] = None
            return None
        deadline = world.trails[job.node].jobs.get(job_id) if job.node in world.trails else None
        if deadline is not None and world.now - deadline < OWNER_MS and self.is_alive(job.owner):
            world.deadlines[f"job:{job_id}"] = world.now
            return None
        held = world.facts(job_id, job.node)
        world.revoke(job_id, job, "lease_expired")
        return held

    def _owner(self, kind: OwnedKind, owned_id: str) -> tuple[InstanceId | None, int]:
        owner, epoch, until = self._world.owners.get(f"{kind}:{owned_id}", (None, 0, 0))
        return (owner, epoch) if until > self._world.now else (None, 0)
