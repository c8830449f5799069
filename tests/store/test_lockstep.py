"""The scripts do what the model says, whatever is asked in whatever order: on Redis and on Valkey."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import Queued, Selected
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId, TenantId
from lingua_scheduler.store.records import Presence
from tests.store.lockstep import LockStep
from tests.store.samples import SERVICES, languages, registration, request

NODES = st.sampled_from(["n0", "n1", "n2", "n3"])
JOBS = st.sampled_from([f"j{number}" for number in range(8)])
INSTANCES = st.sampled_from([InstanceId("here"), InstanceId("there")])
SPECS = st.sampled_from(["zh>en", "zh>en", "zh,en>en,zh", "zh,en,ja>en,zh", "zh,en>en,zh:zh-en", "ja>en"])
PAIRS = st.sampled_from(["zh-en", "zh-en", "zh-en", "zh-en,en-zh", "ja-en", "zh-en,ja-en"])
STATUSES = st.sampled_from(["ready", "ready", "ready", "degraded", "suspect", "draining"])
OFFERED = st.sampled_from([SERVICES, SERVICES, SERVICES, ("asr", "nmt")])
WAITS = st.sampled_from([0, 400, 10_000, 10_000])
LOADS = st.builds(NodeLoad, cpu_percent=st.sampled_from([0.0, 33.0, 90.0]))
PASSING = st.sampled_from([1, 100, 251, 999, 5000, 15_000, 61_000])


class Machine(RuleBasedStateMachine):
    """What can happen to a store, in any order."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.step = LockStep(self.url)
        self.epochs: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.placed: dict[str, NodeId] = {}

    def teardown(self) -> None:
        self.step.close()

    # ------------------------------------------------------------------------------- nodes

    @initialize()
    def two_nodes(self) -> None:
        for node in ("n0", "n1"):
            self._join(node, "zh>en", 1)

    def _join(self, node: str, spec: str, capacity: int, **other: Any) -> None:
        step = self.step
        reply = step.call(
            step.real.nodes.register, step.model.nodes.register, registration(node, spec, capacity=capacity, **other),
            InstanceId("here" if node < "n2" else "there"),
        )  # fmt: skip
        self.epochs[node] = reply.epoch
        self._beat(node, "ready", NodeLoad(), SERVICES)

    def _beat(self, node: str, *rest: Any) -> None:
        nodes = self.step.real.nodes, self.step.model.nodes
        self.step.call(nodes[0].heartbeat, nodes[1].heartbeat, NodeId(node), self.epochs.get(node, 1), *rest)

    @rule(node=NODES, spec=SPECS, capacity=st.integers(1, 3), active=st.sets(JOBS, max_size=2))
    def register(self, node: str, spec: str, capacity: int, active: set[str]) -> None:
        self._join(node, spec, capacity, active=tuple(active))

    @rule(node=NODES, spec=SPECS, capacity=st.integers(1, 3))
    def register_only(self, node: str, spec: str, capacity: int) -> None:
        nodes = self.step.real.nodes, self.step.model.nodes
        what = registration(node, spec, capacity=capacity)
        self.epochs[node] = self.step.call(nodes[0].register, nodes[1].register, what, InstanceId("there")).epoch

    @rule(node=NODES, status=STATUSES, load=LOADS, services=OFFERED, spec=st.none() | SPECS)
    def heartbeat(self, node: str, status: str, load: NodeLoad, services: tuple[str, ...], spec: str | None) -> None:
        self._beat(node, status, load, services, languages(spec) if spec else None)

    @rule(node=NODES, status=STATUSES, is_stale=st.booleans())
    def set_status(self, node: str, status: str, is_stale: bool) -> None:
        nodes = self.step.real.nodes, self.step.model.nodes
        epoch = self.epochs.get(node, 1) - is_stale
        self.step.call(nodes[0].set_status, nodes[1].set_status, NodeId(node), epoch, status)

    @rule(node=NODES, service=st.sampled_from(["tts", "tts", "tone"]))
    def mark(self, node: str, service: str) -> None:
        nodes = self.step.real.nodes, self.step.model.nodes
        self.step.call(nodes[0].mark_unavailable, nodes[1].mark_unavailable, NodeId(node), service)

    @rule(node=NODES, is_stale=st.booleans())
    def offline(self, node: str, is_stale: bool) -> None:
        nodes = self.step.real.nodes, self.step.model.nodes
        self.step.call(nodes[0].offline, nodes[1].offline, NodeId(node), self.epochs.get(node, 1) - is_stale)

    # ------------------------------------------------------------------------------- jobs

    @rule(
        job=JOBS, pairs=PAIRS, wait_ms=WAITS, tenant=st.sampled_from(["a", "b"]), instance=INSTANCES,
        exclude=st.sets(NODES, max_size=2), is_soft=st.booleans(), affinity=st.none() | NODES,
        bind=st.sampled_from([None, "timeout", "max_duration"]),
    )  # fmt: skip
    def select(self, job: str, **fields: Any) -> None:
        self._select(job, **fields)

    @rule(job=JOBS, wait_ms=st.just(10_000))
    def select_plainly(self, job: str, wait_ms: int) -> None:
        """The common question, often enough for queues to grow."""
        self._select(job, wait_ms=wait_ms)

    def _select(self, job: str, **drawn: Any) -> None:
        fields: dict[str, Any] = {"wait_ms": drawn["wait_ms"], "session_id": SessionId(f"s-{job}")}
        if "tenant" in drawn:
            fields |= {
                "tenant_id": TenantId(drawn["tenant"]),
                "preferred_instance": drawn["instance"],
                "exclude": frozenset(NodeId(node) for node in drawn["exclude"]),
                "exclude_is_soft": drawn["is_soft"],
                "affinity_node": NodeId(drawn["affinity"]) if drawn["affinity"] else None,
                "affinity_wait_ms": 500,
                "bind": drawn["bind"],
            }
        attempt = self.attempts.setdefault(job, 1)
        reply = self.step.select(request(job, attempt, pairs=drawn.get("pairs", "zh-en"), **fields))
        if isinstance(reply, Selected):
            self.placed[job] = reply.node_id
        assert not isinstance(reply, Queued) or reply.position > 0

    @rule(job=JOBS, by=st.integers(-1, 1))
    def ask_for_another_attempt(self, job: str, by: int) -> None:
        self.attempts[job] = max(1, self.attempts.get(job, 1) + by)

    @rule(
        job=JOBS, status=st.sampled_from(["completed", "failed"]), hold=st.sampled_from(["none", "timeout"]),
        by_owner=st.booleans(), cause=st.sampled_from(["", "JOB_TIMEOUT"]),
    )  # fmt: skip
    def finish(self, job: str, status: Any, hold: Any, by_owner: bool, cause: str) -> None:
        node = None if by_owner else self.placed.get(job, NodeId("n0"))
        self.step.jobs.add(JobId(job))
        jobs = self.step.real.jobs, self.step.model.jobs
        held = "none" if node is None else hold
        args = (JobId(job), self.attempts.get(job, 1), node, status)
        self.step.call(jobs[0].finish, jobs[1].finish, *args, hold=held, cause=cause)

    @rule(job=JOBS)
    def end_and_forget(self, job: str) -> None:
        """The job ends in its owner's name, and an hour later its name serves for another."""
        jobs = self.step.real.jobs, self.step.model.jobs
        self.step.call(jobs[0].finish, jobs[1].finish, JobId(job), self.attempts.get(job, 1), None, "cancelled")

    @rule(job=JOBS)
    def requeue(self, job: str) -> None:
        jobs = self.step.real.jobs, self.step.model.jobs
        attempt = self.attempts.get(job, 1)
        reply = self.step.call(jobs[0].requeue, jobs[1].requeue, JobId(job), attempt, "node_lost")
        if reply.is_ok:
            self.attempts[job] = attempt + 1

    @rule(
        job=JOBS,
        lease_ms=st.sampled_from([1000, 60_000]),
        status=st.sampled_from([None, "accepted", "running", "held"]),
    )
    def renew(self, job: str, lease_ms: int, status: Any) -> None:
        jobs = self.step.real.jobs, self.step.model.jobs
        args = (JobId(job), self.attempts.get(job, 1), self.placed.get(job, NodeId("n0")), lease_ms, status)
        self.step.call(jobs[0].renew_lease, jobs[1].renew_lease, *args)

    @rule(job=JOBS)
    def leave_queue(self, job: str) -> None:
        jobs = self.step.real.jobs, self.step.model.jobs
        self.step.call(jobs[0].leave_queue, jobs[1].leave_queue, JobId(job))

    # ------------------------------------------------------------------------------- sessions, instances, time

    @rule(job=JOBS, epoch=st.integers(1, 3), fields=st.dictionaries(st.sampled_from("xy"), st.sampled_from(["", "v"])))
    def write_session(self, job: str, epoch: int, fields: dict[str, str]) -> None:
        session = SessionId(f"s-{job}")
        self.step.sessions.add(session)
        self.step.call(self.step.real.sessions.write, self.step.model.sessions.write, session, epoch, fields)

    @rule(instance=INSTANCES, owned=st.sampled_from(["a", "b"]), take_over=st.booleans())
    def claim(self, instance: InstanceId, owned: str, take_over: bool) -> None:
        both = self.step.real.instances, self.step.model.instances
        held = self.step.call(both[0].claim_owner, both[1].claim_owner, "nodes", owned, instance, take_over=take_over)
        self.step.call(both[0].renew_owner, both[1].renew_owner, "nodes", owned, instance, held.epoch)
        self.step.call(both[0].owner_of, both[1].owner_of, "nodes", owned)

    @rule(instance=INSTANCES, owned=st.sampled_from(["a", "b"]), epoch_off=st.integers(0, 1))
    def release(self, instance: InstanceId, owned: str, epoch_off: int) -> None:
        both = self.step.real.instances, self.step.model.instances
        held = self.step.call(both[0].claim_owner, both[1].claim_owner, "nodes", owned, instance)
        self.step.call(both[0].release_owner, both[1].release_owner, "nodes", owned, instance, held.epoch - epoch_off)

    @rule(instance=INSTANCES, is_here=st.booleans())
    def presence(self, instance: InstanceId, is_here: bool) -> None:
        both = self.step.real.instances, self.step.model.instances
        if is_here:
            self.step.call(both[0].announce, both[1].announce, Presence(instance, 1, "host", 1, "1", "address"))
        else:
            self.step.call(both[0].withdraw, both[1].withdraw, instance)

    @rule()
    def reap(self) -> None:
        both = self.step.real.instances, self.step.model.instances
        self.step.call(both[0].reap, both[1].reap)

    @rule(by_ms=PASSING)
    def time_passes(self, by_ms: int) -> None:
        self.step.advance(by_ms)
        while self._has_dead():
            self.step.advance(5000)
            self.reap()

    def _has_dead(self) -> bool:
        """What scripts believe of a node whose heartbeat ended is a test of its own: here the reaper comes at once."""
        world = self.step.model.world
        return any(world.node(node_id) is None for node_id in world.all_nodes)

    @rule()
    @precondition(lambda self: self.placed)
    def ask_again(self) -> None:
        """Whatever was placed is with its node still when asked for again, or was finished or requeued."""
        for job in sorted(self.placed):
            self._select(job, wait_ms=10_000)

    @invariant()
    def capacity_is_kept(self) -> None:
        world = self.step.model.world
        for node_id in world.all_nodes:
            node = world.node(node_id)
            registered_with_less = node is not None and len(world.trail(node_id).jobs) > node.capacity
            assert node is None or not registered_with_less or world.free_slots(node_id) < 0


def test_scripts_and_model_agree(redis_urls: str) -> None:
    class OnThisServer(Machine):
        url = redis_urls

    run_state_machine_as_test(OnThisServer, settings=settings(stateful_step_count=40))


@pytest.mark.parametrize("repeats", [1])
def test_a_full_walk_by_hand(redis_url: str, repeats: int) -> None:
    """The shortest life of a job on both, so that a broken harness shows before a broken script does."""
    step = LockStep(redis_url)
    try:
        nodes, jobs = (step.real.nodes, step.model.nodes), (step.real.jobs, step.model.jobs)
        epoch = step.call(nodes[0].register, nodes[1].register, registration("n"), InstanceId("here")).epoch
        beat = (NodeId("n"), epoch, "ready", NodeLoad(), SERVICES)
        step.call(nodes[0].heartbeat, nodes[1].heartbeat, *beat)
        placed = step.select(request("j"))
        assert isinstance(placed, Selected)
        done = step.call(jobs[0].finish, jobs[1].finish, JobId("j"), 1, placed.node_id, "completed")
        assert done.status == "completed"
        assert step.call(nodes[0].offline, nodes[1].offline, NodeId("n"), epoch).is_ok
    finally:
        step.close()
