"""The state that all instances share, and the moves that several calls have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lingua_scheduler.core.node.events import Languages, StoredStatus
from lingua_scheduler.core.placement import Candidate, SelectRequest
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId, TenantId
from lingua_scheduler.store.keys import JOB_TTL_MS, NODE_TTL_MS
from lingua_scheduler.store.model.lines import Line
from lingua_scheduler.store.records import HeldJob, JobStatus, KeptResult, Offer

OFFER_HOLD_MS = 250
OFFERS_MAX = 16
RESTORED_LEASE_MS = 60_000
FINAL = frozenset({"completed", "completed_no_text", "failed", "cancelled"})


class Chooser(Protocol):
    """Draws candidates among `free`, the nodes that could take the job; at least one, and no others."""

    def __call__(self, free: Sequence[Candidate], request: SelectRequest) -> Sequence[NodeId]: ...


@dataclass(slots=True)
class Node:
    """A registration: gone when its heartbeat ends."""

    epoch: int
    status: StoredStatus
    capacity: int
    instance: InstanceId
    protocol: int
    zone: str
    languages: Languages
    details: str
    registered_ms: int
    last_heartbeat_ms: int
    services: dict[str, int]
    """By service, until when it is marked unavailable (0: it is not)."""
    tenants: tuple[TenantId, ...] | None = None
    """Whom it serves; None: all."""
    load_permille: int = 0
    usage: str = "{}"
    marks: int = 0
    marks_since_ms: int = 0
    pooled: str = ""
    """The languages that the pools show."""

    def serves(self, tenant_id: TenantId) -> bool:
        return self.tenants is None or tenant_id in self.tenants


@dataclass(slots=True)
class Trail:
    """What belongs to a node and outlives its registration until it is cleared."""

    pools: set[str] = field(default_factory=set[str])
    jobs: dict[JobId, int] = field(default_factory=dict[JobId, int])
    """Reserved slots: by job the end of its lease."""
    guests: dict[JobId, int] = field(default_factory=dict[JobId, int])
    """Waiting jobs for which slots are kept, with the time until when."""


@dataclass(slots=True)
class Job:
    status: JobStatus
    attempt: int
    owner: InstanceId = InstanceId("")
    request: SelectRequest | None = None
    """As last asked: None where the job never found a node and was ended by its owner."""
    revoked: int = 0
    node: NodeId | None = None
    bound: NodeId | None = None
    """The key `job:<id>:node`: kept when the job ends."""
    queued_ms: int | None = None
    wait_until_ms: int | None = None
    affinity_until_ms: int | None = None
    assigned_ms: int | None = None
    finished_ms: int | None = None
    line: str | None = None
    turn: int | None = None
    guest_of: NodeId | None = None
    choices: dict[int, str] = field(default_factory=dict[int, str])
    causes: dict[int, str] = field(default_factory=dict[int, str])


class World:
    """Everything in Redis, as plain data."""

    def __init__(self, now_ms: Callable[[], int], choose: Chooser) -> None:
        self._now_ms = now_ms
        self.choose = choose
        self.nodes: dict[NodeId, Node] = {}
        self.trails: dict[NodeId, Trail] = {}
        self.all_nodes: set[NodeId] = set()
        self.jobs: dict[JobId, Job] = {}
        self.job_ends_ms: dict[JobId, int] = {}
        self.job_keys: dict[str, tuple[JobId, int]] = {}
        self.lines: dict[str, Line] = {}
        self.deadlines: dict[str, int] = {}
        """`job:<id>` and `node:<id>`, for the reaper."""
        self.sessions: dict[SessionId, tuple[dict[str, str], int]] = {}
        self.outboxes: dict[SessionId, tuple[dict[JobId, KeptResult], int]] = {}
        self.owners: dict[str, tuple[InstanceId, int, int]] = {}
        self.presences: dict[InstanceId, int] = {}

    @property
    def now(self) -> int:
        return self._now_ms()

    # ------------------------------------------------------------------------------- sessions

    def session(self, session_id: SessionId) -> dict[str, str]:
        """Its fields; none once it has expired."""
        fields, until = self.sessions.get(session_id, ({}, 0))
        return fields if until > self.now else {}

    def newer_owner(self, session_id: SessionId, epoch: int) -> int | None:
        """The epoch of whoever took the session over since `epoch`."""
        current = int(self.session(session_id).get("epoch", "0"))
        return current if current > epoch else None

    def outbox(self, session_id: SessionId) -> dict[JobId, KeptResult]:
        results, until = self.outboxes.get(session_id, ({}, 0))
        return results if until > self.now else {}

    def renew_outbox(self, session_id: SessionId, ttl_ms: int) -> None:
        if results := self.outbox(session_id):
            self.outboxes[session_id] = (results, self.now + ttl_ms)

    def keep_result(self, session_id: SessionId, job_id: JobId, result: bytes) -> None:
        fields = self.session(session_id)
        if result and "ttl_ms" in fields:
            fields["finished"] = str(int(fields.get("finished", "0")) + 1)
            results = {**self.outbox(session_id), job_id: KeptResult(int(fields["finished"]), result)}
            self.outboxes[session_id] = (results, self.now + int(fields["ttl_ms"]))

    # ------------------------------------------------------------------------------- nodes

    def node(self, node_id: NodeId) -> Node | None:
        """The registration, if its heartbeat goes on."""
        found = self.nodes.get(node_id)
        if found is not None and self.now >= found.last_heartbeat_ms + NODE_TTL_MS:
            del self.nodes[node_id]
            return None
        return found

    def trail(self, node_id: NodeId) -> Trail:
        return self.trails.setdefault(node_id, Trail())

    def lanes(self, node_id: NodeId) -> set[str]:
        """What the node can be chosen for: its pairs, and `a~b` where it serves both directions."""
        pools = self.trail(node_id).pools
        found = set(pools)
        for pair in pools:
            src, tgt = pair.split(":")
            if src < tgt and f"{tgt}:{src}" in pools:
                found.add(f"{src}~{tgt}")
        return found

    def members(self, lane: str) -> list[NodeId]:
        src, has_both, tgt = lane.partition("~")
        pairs = {f"{src}:{tgt}", f"{tgt}:{src}"} if has_both else {lane}
        return sorted(node_id for node_id, trail in self.trails.items() if pairs <= trail.pools)

    def free_slots(self, node_id: NodeId) -> int:
        node = self.node(node_id)
        return 0 if node is None else node.capacity - len(self.trail(node_id).jobs)

    def live_guests(self, node_id: NodeId) -> dict[JobId, int]:
        return {job: till for job, till in self.trail(node_id).guests.items() if till > self.now}

    def leave_pools(self, node_id: NodeId, pairs: set[str]) -> None:
        self.trail(node_id).pools -= pairs

    def remove_node(self, node_id: NodeId) -> tuple[HeldJob, ...]:
        """Takes a node and its trail away; returns the jobs that it had."""
        trail = self.trail(node_id)
        held = tuple(self.facts(job, node_id) for job in in_order(trail.jobs))
        self.nodes.pop(node_id, None)
        self.trails.pop(node_id, None)
        self.all_nodes.discard(node_id)
        self.deadlines.pop(f"node:{node_id}", None)
        return held

    def restore_slot(self, node_id: NodeId, job_id: JobId, attempt: int) -> None:
        """The node works on this attempt: its slot is taken, unless the job is known to stand otherwise."""
        job, slots = self.job(job_id), self.trail(node_id).jobs
        if job_id in slots:
            return
        if job is None:
            job = Job("assigned", attempt, node=node_id, bound=node_id, assigned_ms=self.now)
            self.jobs[job_id] = job
            self.keep_job(job_id)
        elif job.status in FINAL or job.status == "pending" or (job.attempt, job.node) != (attempt, node_id):
            return
        slots[job_id] = self.deadlines[f"job:{job_id}"] = self.now + RESTORED_LEASE_MS

    # ------------------------------------------------------------------------------- jobs

    def job(self, job_id: JobId) -> Job | None:
        if self.job_ends_ms.get(job_id, 0) <= self.now:
            self.jobs.pop(job_id, None)
        return self.jobs.get(job_id)

    def keep_job(self, job_id: JobId) -> None:
        """The job is remembered for another hour."""
        self.job_ends_ms[job_id] = self.now + JOB_TTL_MS

    def facts(self, job_id: JobId, node_id: NodeId) -> HeldJob:
        job = self.job(job_id)
        if job is None:
            return HeldJob(job_id, 0, SessionId(""), InstanceId(""), node_id)
        session = job.request.session_id if job.request else SessionId("")
        return HeldJob(job_id, job.attempt, session, job.owner, node_id)

    def give_back(self, job_id: JobId, node_id: NodeId) -> None:
        if node_id in self.trails:
            self.trails[node_id].jobs.pop(job_id, None)
        self.deadlines.pop(f"job:{job_id}", None)

    def revoke(self, job_id: JobId, job: Job, cause: str) -> None:
        """Takes the present attempt back."""
        if job.node is not None:
            self.give_back(job_id, job.node)
        job.status, job.revoked, job.node, job.bound = "pending", job.attempt, None, None
        job.causes[job.attempt] = cause

    def stop_waiting(self, job_id: JobId, job: Job) -> NodeId | None:
        """Takes the job out of its line; returns the node that kept, or was to keep, a slot for it."""
        freed = job.guest_of
        if job.line is not None:
            self.deadlines.pop(f"job:{job_id}", None)
        if job.line is not None and job.line in self.lines:
            self.lines[job.line].leave(job_id)
        if freed is not None and freed in self.trails:
            self.trails[freed].guests.pop(job_id, None)
        if job.line is not None or freed is not None:
            job.line = job.turn = job.guest_of = job.affinity_until_ms = None
        return freed

    # ------------------------------------------------------------------------------- waiting and offers

    def keep_slot(self, node_id: NodeId, job_id: JobId, till_ms: int) -> None:
        self.trail(node_id).guests[job_id] = till_ms
        self.jobs[job_id].guest_of = node_id

    def first_waiting(self, line_name: str, most: int, fits: Callable[[Job], bool]) -> list[tuple[int, JobId, str]]:
        """Of the first 16 in the line those that still wait and fit, at most `most`: queued_ms, job, line.

        Entries that do not wait any more are removed on the way.
        """
        found: list[tuple[int, JobId, str]] = []
        line = self.lines.get(line_name)
        for job_id in line.order()[:16] if line else []:
            assert line is not None
            job = self.job(job_id)
            if job is None or job.status != "pending" or job.line != line_name or (job.wait_until_ms or 0) <= self.now:
                line.leave(job_id)
            elif fits(job):
                found.append((job.queued_ms or 0, job_id, line_name))
                if len(found) >= most:
                    break
        return found

    def offer_slots(self, node_id: NodeId) -> tuple[Offer, ...]:
        """The node may have room that it had not: who waits for it is told, and a slot is kept for each that is new."""
        node = self.node(node_id)
        free = self.free_slots(node_id)
        if node is None or node.status not in {"ready", "degraded"} or free <= 0:
            return ()
        trail = self.trail(node_id)
        trail.guests = self.live_guests(node_id)
        told = in_order(trail.guests)[:free]
        room = min(OFFERS_MAX, free - len(told))
        found: list[tuple[int, JobId, str]] = []
        if room > 0:
            for lane in sorted(self.lanes(node_id)):
                for name in (lane + "!", lane):
                    found += self.first_waiting(name, room, lambda job: self._fits(node_id, node, job))
        for _, job_id, name in sorted(found)[: max(room, 0)]:
            self.lines[name].serve(job_id, self.now)
            self.keep_slot(node_id, job_id, self.now + OFFER_HOLD_MS)
            told.append(job_id)
        return tuple(Offer(job_id, self._owner(job_id)) for job_id in told)

    def _owner(self, job_id: JobId) -> InstanceId:
        job = self.job(job_id)
        return job.owner if job else InstanceId("")

    def _fits(self, node_id: NodeId, node: Node, job: Job) -> bool:
        assert job.request is not None
        if not node.serves(job.request.tenant_id):
            return False
        usable = all(node.services.get(one, self.now + 1) <= self.now for one in job.request.services)
        return usable and node_id not in job.request.exclude


def in_order(scores: dict[JobId, int]) -> list[JobId]:
    """As a sorted set lists them."""
    return sorted(scores, key=lambda job_id: (scores[job_id], job_id))
