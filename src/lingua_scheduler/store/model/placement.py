"""What `select_node` decides, said over what is true of all nodes."""

from dataclasses import replace

from lingua_scheduler.core.placement import (
    AlreadyDone,
    Candidate,
    NoNodeReason,
    Queued,
    Selected,
    SelectReply,
    SelectRequest,
    StaleAttempt,
    StaleOwner,
    Unplaced,
    Why,
)
from lingua_scheduler.protocol.ids import InstanceId, NodeId
from lingua_scheduler.store.keys import JOB_KEY_TTL_MS, SESSION_TTL_MS, lane_of
from lingua_scheduler.store.model.lines import LINE_MAX, Line
from lingua_scheduler.store.model.world import FINAL, Job, World
from lingua_scheduler.store.records import JobStatus

REMOTE_PERMILLE = 200
RETRY_MS = 1000
PATIENCE_MAX_MS = 30_000
BLOCKED = ("full", "degraded", "suspect", "draining")
"""Why a live node may get no job at all just now."""
PICKY = ("excluded", "unavailable", "unsupported")
"""Why this job may not have a node that others may."""


class Placement:
    """One question to the world. `kinds` says of each node of the lane what the job could do with it."""

    def __init__(self, world: World, request: SelectRequest) -> None:
        self.world = world
        self.request = request
        self.lane = lane_of(request.pairs)
        self.job: Job | None = None

    def answer(self) -> SelectReply:
        epoch = self.request.session_epoch
        if epoch is not None and (newer := self.world.newer_owner(self.request.session_id, epoch)):
            return StaleOwner(newer)
        reply = self._known() or self._claim() or self._turn()
        if reply:
            return reply
        kinds = {node_id: self._kind(node_id) for node_id in self.world.members(self.lane)}
        free = [node_id for node_id, kind in kinds.items() if kind == "free"]
        ready = [node_id for node_id in free if self._status(node_id) == "ready"]
        if free:
            return self._choose(ready or free)
        return self._conclude(kinds)

    # ------------------------------------------------------------------------------- before the choice

    def _known(self) -> SelectReply | None:
        """What the stored job alone answers. A newer attempt takes the slot of the older one back."""
        world, request = self.world, self.request
        holder, until = world.job_keys.get(request.job_key, (None, 0))
        if holder is not None and until > world.now and holder != request.job_id and (other := world.job(holder)):
            return AlreadyDone(holder, other.status)
        self.job = job = world.job(request.job_id)
        if job is None:
            return None
        if job.status in FINAL:
            return AlreadyDone(request.job_id, job.status)
        if request.attempt < job.attempt or request.attempt <= job.revoked:
            return StaleAttempt(job.attempt)
        if job.status == "pending":
            return None
        assert job.node is not None
        if request.attempt == job.attempt:
            if request.job_id not in world.trail(job.node).jobs:
                return None  # the node was lost, and its slots with it, before the owner heard
            node = world.node(job.node)
            return Selected(job.node, node.instance if node else InstanceId(""), job.attempt, "repeat")
        world.revoke(request.job_id, job, "superseded")
        return None

    def _claim(self) -> SelectReply | None:
        """The node where a slot is kept for the job, and the one that keeps its session's audio."""
        affinity, guest_of = self.request.affinity_node, self.job.guest_of if self.job else None
        for host in (guest_of if guest_of != affinity else None, affinity):
            if host is not None and (reply := self._visit(host)):
                return reply
        return None

    def _visit(self, host: NodeId) -> SelectReply | None:
        world, job_id, job = self.world, self.request.job_id, self.job
        is_affinity = host == self.request.affinity_node
        kind = self._kind(host) if self.lane in world.lanes(host) else "unsupported"
        guests = world.live_guests(host)
        is_guest = job is not None and job.guest_of == host and job_id in guests
        may_take = kind == "free"
        if kind == "kept" and is_guest:
            before = sum(1 for till in guests.values() if till < guests[job_id])
            may_take = world.free_slots(host) > before
        if may_take and (is_affinity or is_guest):
            return self._reserve(host, "affinity" if is_affinity else "offered", [host])
        patience = min(self.request.affinity_wait_ms, self.request.wait_ms, PATIENCE_MAX_MS)
        until = job.affinity_until_ms if job and job.affinity_until_ms is not None else world.now + patience
        if is_affinity and kind in {"full", "kept", "degraded"} and until > world.now:
            return self._wait_as_guest(host, until)
        if job is not None and job.guest_of == host:
            world.trail(host).guests.pop(job_id, None)
            job.guest_of = None
        return None

    def _wait_as_guest(self, host: NodeId, until: int) -> Queued:
        job = self._write("pending")
        self.world.keep_slot(host, self.request.job_id, until)
        job.queued_ms = self.world.now if job.queued_ms is None else job.queued_ms
        job.affinity_until_ms = until
        before = sum(1 for till in self.world.live_guests(host).values() if till < until)
        return Queued(before + 1, until - self.world.now, until - self.world.now)

    def _turn(self) -> SelectReply | None:
        """Nobody overtakes the line, unless more slots are free than jobs stand before."""
        job_id, job, lane = self.request.job_id, self.job, self.lane
        line = self.world.lines.get(lane)
        if line is None or not line.turns or (job and job.line == lane + "!"):
            return None
        self.world.first_waiting(lane, 1, lambda _: True)
        order = line.order()
        ahead = order.index(job_id) if job and job.line == lane and job_id in order else len(order)
        if ahead == 0 or self._room() > ahead:
            return None
        if self.request.wait_ms > 0 and (reply := self._stand_in_line(lane)):
            return reply
        if job:
            self.world.stop_waiting(job_id, job)
        return Unplaced(NoNodeReason.ALL_FULL, {"waiting": ahead})

    def _room(self) -> int:
        free = [node_id for node_id in self.world.members(self.lane) if self._kind(node_id) == "free"]
        return sum(self.world.free_slots(node_id) - len(self.world.live_guests(node_id)) for node_id in free)

    # ------------------------------------------------------------------------------- the choice

    def _status(self, node_id: NodeId) -> str:
        node = self.world.node(node_id)
        assert node is not None
        return node.status

    def _kind(self, node_id: NodeId) -> str:
        """What the job could do with the node."""
        node, request = self.world.node(node_id), self.request
        if node is None:
            return "dead"
        free = self.world.free_slots(node_id)
        if node.status not in {"ready", "degraded"}:
            return "draining" if node.status == "draining" else "suspect"
        if free <= 0:
            return "full" if node.status == "ready" else "degraded"
        if node_id in request.exclude:
            return "excluded"
        if not node.serves(request.tenant_id) or any(service not in node.services for service in request.services):
            return "unsupported"
        if any(node.services[service] > self.world.now for service in request.services):
            return "unavailable"
        if any(f"{src}:{tgt}" not in self.world.trail(node_id).pools for src, tgt in request.pairs):
            return "unsupported"
        return "kept" if free <= len(self.world.live_guests(node_id)) else "free"

    def _load(self, node_id: NodeId) -> int:
        """In thousandths: 7/10 reserved slots, 3/10 what the node reports."""
        node = self.world.node(node_id)
        assert node is not None
        return len(self.world.trail(node_id).jobs) * 700 // node.capacity + node.load_permille * 3 // 10

    def _choose(self, open_nodes: list[NodeId]) -> SelectReply:
        """The least loaded of those drawn, the first of equal ones; one of another instance must be clearly better."""
        known = [Candidate(node_id, self._load(node_id) / 1000) for node_id in open_nodes]
        drawn = list(self.world.choose(known, self.request))
        assert drawn, "at least one is drawn"
        assert set(drawn) <= set(open_nodes), f"{drawn} drawn, of {open_nodes}"
        best = min(drawn, key=lambda node_id: self._load(node_id) + self._remoteness(node_id))
        return self._reserve(best, "two_choices" if len(drawn) > 1 else "only", drawn)

    def _remoteness(self, node_id: NodeId) -> int:
        node = self.world.node(node_id)
        return 0 if node and node.instance == self.request.preferred_instance else REMOTE_PERMILLE

    def _reserve(self, node_id: NodeId, why: Why, drawn: list[NodeId]) -> Selected:
        world, request, job_id = self.world, self.request, self.request.job_id
        node, deadline = world.node(node_id), world.now + request.lease_ms
        assert node is not None
        loads = {one: self._load(one) for one in (node_id, *drawn)}
        if self.job is not None:
            if self.job.line is not None:
                world.lines[self.job.line].serve(job_id, world.now)
            world.stop_waiting(job_id, self.job)
        job = self._write("assigned")
        world.trail(node_id).jobs[job_id] = deadline
        world.deadlines[f"job:{job_id}"] = deadline
        job.node = job.bound = node_id
        job.assigned_ms = world.now
        job.choices[request.attempt] = " ".join([why, *(f"{one}={load}" for one, load in loads.items())])
        if request.bind:
            fields = {**self._session_fields(), f"{request.bind}_node_id": node_id}
            world.sessions[request.session_id] = (fields, world.now + SESSION_TTL_MS)
        candidates = tuple(Candidate(one, load / 1000) for one, load in loads.items())
        return Selected(node_id, node.instance, request.attempt, why, candidates)

    def _session_fields(self) -> dict[str, str]:
        fields, until = self.world.sessions.get(self.request.session_id, ({}, 0))
        return fields if until > self.world.now else {}

    def _write(self, status: JobStatus) -> Job:
        world, request = self.world, self.request
        job = self.job or Job(status, request.attempt)
        job.status, job.attempt, job.owner, job.request = status, request.attempt, request.preferred_instance, request
        self.job = world.jobs[request.job_id] = job
        world.keep_job(request.job_id)
        holder, until = world.job_keys.get(request.job_key, (None, 0))
        if holder != request.job_id or until <= world.now:
            world.job_keys[request.job_key] = (request.job_id, world.now + JOB_KEY_TTL_MS)
        return job

    # ------------------------------------------------------------------------------- no choice

    def _conclude(self, kinds: dict[NodeId, str]) -> SelectReply:
        """A node that the job should avoid, or a place in line, or why not."""
        counts = {kind: list(kinds.values()).count(kind) for kind in set(kinds.values())}
        picky = sum(counts.get(kind, 0) for kind in PICKY)
        others = len(kinds) - picky - counts.get("draining", 0)
        if self.request.exclude_is_soft and counts.get("excluded") and (others <= 0 or self.request.wait_ms == 0):
            avoided = self._avoided()
            if avoided:
                return self._reserve(avoided, "excluded", [avoided])
        is_served = len(kinds) > counts.get("unsupported", 0)
        if is_served and self.request.wait_ms > 0:
            reply = self._stand_in_line(self.lane + "!" if picky else self.lane)
            if reply:
                return reply
        if self.job is not None:
            self.world.stop_waiting(self.request.job_id, self.job)
        return Unplaced(self._reason(counts, is_served=is_served, picky=picky), counts)

    def _avoided(self) -> NodeId | None:
        """The least loaded of the nodes to be avoided."""
        anything = Placement(self.world, _without_exclusions(self.request))
        free = [node for node in sorted(self.request.exclude) if anything.can_take(node)]
        return min(free, key=self._load) if free else None

    def can_take(self, node_id: NodeId) -> bool:
        return self.lane in self.world.lanes(node_id) and self._kind(node_id) == "free"

    def _reason(self, counts: dict[str, int], *, is_served: bool, picky: int) -> NoNodeReason:
        if not is_served:
            return NoNodeReason.NONE_FOR_PAIR if self.world.all_nodes else NoNodeReason.NO_NODES
        if counts.get("full") or counts.get("kept"):
            return NoNodeReason.ALL_FULL
        if picky:
            return NoNodeReason.ALL_EXCLUDED
        if counts.get("degraded") or counts.get("suspect"):
            return NoNodeReason.ALL_DEGRADED
        return NoNodeReason.ALL_DRAINING

    def _stand_in_line(self, name: str) -> Queued | None:
        world, request, job_id = self.world, self.request, self.request.job_id
        line = world.lines.setdefault(name, Line())
        was = self.job.line if self.job else None
        if was != name and len(line.turns) >= LINE_MAX:
            return None
        if self.job and was is not None and was != name:
            world.lines[was].leave(job_id)
        turn = self.job.turn if self.job and was == name else None
        if turn is None:
            turn = line.next_turn(request.tenant_id, is_retry=request.attempt > 1)
        line.turns[job_id] = turn
        job = self._write("pending")
        job.line, job.turn = name, turn
        job.queued_ms = world.now if job.queued_ms is None else job.queued_ms
        job.wait_until_ms = world.deadlines[f"job:{job_id}"] = world.now + request.wait_ms
        position = line.order().index(job_id) + 1
        return Queued(position, min(position * line.gap_ms, request.wait_ms), min(RETRY_MS, request.wait_ms))


def _without_exclusions(request: SelectRequest) -> SelectRequest:
    return replace(request, exclude=frozenset[NodeId]())
