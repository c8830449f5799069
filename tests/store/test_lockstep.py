"""The scripts do what the model says, whatever is asked in whatever order: on Redis and on Valkey."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import Selected
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId, TenantId
from lingua_scheduler.store.records import Fence, JobReply, NodeReply, Presence, ReapReply
from lingua_scheduler.store.sessions import Ownership, SessionChange
from lingua_scheduler.store.shares import Bill
from tests.store.lockstep import LockStep
from tests.store.samples import SERVICES, languages, registration, request

NODES = st.sampled_from(["n0", "n1", "n2", "n3"])
SOME_JOB = st.integers(0, 9)
"""One of the jobs that were asked for last."""
INSTANCES = st.sampled_from([InstanceId("here"), InstanceId("there")])
SPECS = st.sampled_from(["zh>en", "zh>en", "zh,en>en,zh", "zh,en,ja>en,zh", "zh,en>en,zh:zh-en", "ja>en"])
PAIRS = st.sampled_from(["zh-en", "zh-en", "zh-en", "zh-en,en-zh", "ja-en", "zh-en,ja-en"])
STATUSES = st.sampled_from(["ready", "ready", "ready", "degraded", "suspect", "draining"])
OFFERED = st.sampled_from([SERVICES, SERVICES, SERVICES, ("asr", "nmt")])
WAITS = st.sampled_from([0, 400, 10_000, 10_000])
LOADS = st.builds(NodeLoad, cpu_percent=st.sampled_from([0.0, 33.0, 90.0]))
PASSING = st.sampled_from([1, 100, 251, 999, 5000, 15_000, 61_000])
ATTEMPTS_OFF = st.sampled_from([0, 0, 0, -1, 1])
FIELDS = st.dictionaries(st.sampled_from("xy"), st.sampled_from(["", "v"]))
SPEAKER = SessionId("s-speaker")
FENCES = st.sampled_from([None, None, 0, 1])
"""Whether an owner of the speaker's session asks, and how far behind it is."""
SHARE = {"redis": 0.6, "valkey": 0.3}
"""Of the profile's examples: both kinds of server run the same Lua, so one of them is the larger share."""


class Machine(RuleBasedStateMachine):
    """What can happen to a store, in any order."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.step = LockStep(self.url)
        self.epochs: dict[str, int] = {}
        self.count = 0
        self.open: list[str] = []
        """The last ten jobs that were asked for."""
        self.attempts: dict[str, int] = {}
        self.placed: dict[str, NodeId] = {}
        self.offered: list[str] = []
        self.speaker_epoch = 2
        self.bills: list[Bill] = []

    def teardown(self) -> None:
        self.step.close()

    def _call(self, area: str, name: str, *args: Any, **named: Any) -> Any:
        real, model = getattr(self.step.real, area), getattr(self.step.model, area)
        reply = self.step.call(getattr(real, name), getattr(model, name), *args, **named)
        if isinstance(reply, NodeReply | JobReply | ReapReply):
            self.offered += [offer.job_id for offer in reply.offers]
        return reply

    # ------------------------------------------------------------------------------- nodes

    @initialize()
    def two_nodes(self) -> None:
        for node in ("n0", "n2"):
            self._join(node, "zh>en", 1)

    def _join(
        self, node: str, spec: str, capacity: int, *active: tuple[str, int], is_again: bool = False, **other: Any
    ) -> None:
        instance = InstanceId("here" if node < "n2" else "there")
        what = registration(node, spec, capacity=capacity, active=() if is_again else active, **other)
        at_work = [(JobId(job), attempt) for job, attempt in active] if is_again else None
        self.epochs[node] = self._call("nodes", "register", what, instance, at_work).epoch
        self._beat(node, "ready", NodeLoad(), SERVICES)

    def _beat(self, node: str, *rest: Any, **named: Any) -> None:
        self._call("nodes", "heartbeat", NodeId(node), self.epochs.get(node, 1), *rest, **named)

    @rule(node=NODES, spec=SPECS, capacity=st.integers(1, 3), is_kept=st.booleans(), is_again=st.booleans())
    def register(self, node: str, spec: str, capacity: int, is_kept: bool, is_again: bool) -> None:
        active = [(job, self.attempts[job]) for job in self.placed] if is_kept else []
        self._join(node, spec, capacity, *active, is_again=is_again)

    @rule(node=NODES, tenants=st.sampled_from([(), (TenantId("a"),), (TenantId("a"), TenantId("b"))]))
    def register_for_tenants(self, node: str, tenants: tuple[TenantId, ...]) -> None:
        self._join(node, "zh>en", 1, tenants=tenants)

    @rule(node=NODES, attempt=st.integers(1, 2))
    def register_after_a_loss(self, node: str, attempt: int) -> None:
        """With a job that Redis does not know, as far as its slots were free for it."""
        if len(self.step.model.world.trail(NodeId(node)).jobs) >= 2:
            return
        job = self._new()
        self.attempts[job] = attempt
        self.placed[job] = NodeId(node)
        self._join(node, "zh>en", 2, (job, attempt), is_again=True)

    @rule(node=NODES)
    def register_only(self, node: str) -> None:
        what = registration(node, "zh>en", capacity=1)
        self.epochs[node] = self._call("nodes", "register", what, InstanceId("there")).epoch

    @rule(node=NODES, status=STATUSES, load=LOADS, services=OFFERED, spec=st.none() | SPECS)
    def heartbeat(self, node: str, status: str, load: NodeLoad, services: tuple[str, ...], spec: str | None) -> None:
        self._beat(node, status, load, services, languages(spec) if spec else None)

    @rule(node=NODES, attempt=st.integers(1, 2))
    def heartbeat_after_a_loss(self, node: str, attempt: int) -> None:
        """With a job that Redis does not know, as far as its slots were free for it, and all that it may know."""
        at_work = [(JobId(job), self.attempts[job]) for job, where in self.placed.items() if where == node]
        known = self.step.model.world.node(NodeId(node))
        if known and len(self.step.model.world.trail(NodeId(node)).jobs) < known.capacity:
            job = self._new()
            self.attempts[job], self.placed[job] = attempt, NodeId(node)
            at_work.append((JobId(job), attempt))
        self._beat(node, "ready", NodeLoad(), SERVICES, at_work=at_work)

    @rule(node=NODES, status=STATUSES, is_stale=st.sampled_from([0, 0, 0, 1]))
    def set_status(self, node: str, status: str, is_stale: int) -> None:
        self._call("nodes", "set_status", NodeId(node), self.epochs.get(node, 1) - is_stale, status)

    @rule(node=NODES, service=st.sampled_from(["tts", "tts", "tone"]))
    def mark(self, node: str, service: str) -> None:
        self._call("nodes", "mark_unavailable", NodeId(node), service)

    @rule(node=NODES, is_stale=st.sampled_from([0, 0, 1]))
    def offline(self, node: str, is_stale: int) -> None:
        self._call("nodes", "offline", NodeId(node), self.epochs.get(node, 1) - is_stale)

    # ------------------------------------------------------------------------------- jobs

    def _job(self, index: int) -> str:
        return self.open[index % len(self.open)] if self.open else "j0"

    def _select(self, job: str, **fields: Any) -> None:
        attempt = self.attempts.setdefault(job, 1)
        reply = self.step.select(request(job, attempt, **{"session_id": SessionId(f"s-{job}"), **fields}))
        if isinstance(reply, Selected):
            self.placed[job] = reply.node_id

    def _new(self) -> str:
        self.count += 1
        self.open = [*self.open[-9:], f"j{self.count}"]
        return self.open[-1]

    @rule(how_many=st.integers(1, 4), tenant=st.sampled_from(["a", "b"]), pairs=PAIRS)
    def new_jobs(self, how_many: int, tenant: str, pairs: str) -> None:
        """The common question, often enough for lines to grow."""
        for _ in range(how_many):
            self._select(self._new(), tenant_id=TenantId(tenant), pairs=pairs)

    @rule(
        index=st.none() | SOME_JOB, pairs=PAIRS, wait_ms=WAITS, instance=INSTANCES, exclude=st.sets(NODES, max_size=2),
        is_soft=st.booleans(), affinity=st.none() | NODES, off=FENCES,
        bind=st.sampled_from([None, "timeout", "max_duration"]),
    )  # fmt: skip
    def select(self, index: int | None, pairs: str, wait_ms: int, instance: InstanceId, **drawn: Any) -> None:
        self._select(
            self._new() if index is None else self._job(index),
            pairs=pairs,
            wait_ms=wait_ms,
            preferred_instance=instance,
            exclude=frozenset(NodeId(node) for node in drawn["exclude"]),
            exclude_is_soft=drawn["is_soft"],
            affinity_node=drawn["affinity"],
            affinity_wait_ms=500,
            bind=drawn["bind"],
            session_epoch=None if drawn["off"] is None else self.speaker_epoch - drawn["off"],
            **({} if drawn["off"] is None else {"session_id": SPEAKER}),
        )

    # ------------------------------------------------------------------------------- shares

    @rule(instance=INSTANCES, count=st.integers(0, 2), asks=st.booleans(), used=st.sampled_from([0, 700, 20_000]))
    def settle(self, instance: InstanceId, count: int, asks: bool, used: int) -> None:
        self.bills.append(
            Bill(
                TenantId("a"), instance, len(self.bills), count, asks=asks, sessions_max=3, jobs_ms=used,
                jobs_burst_ms=1000, audio_ms=used // 7, audio_burst_ms=2000,
            )
        )  # fmt: skip
        self._call("shares", "settle", self.bills[-1])

    @rule()
    def settle_again(self) -> None:
        """The reply was lost."""
        if self.bills:
            self._call("shares", "settle", self.bills[-1])

    @rule(instance=INSTANCES, bill=st.integers(0, 2), audio_ms=st.sampled_from([0, 700]))
    def spend(self, instance: InstanceId, bill: int, audio_ms: int) -> None:
        self._call("allowances", "spend", "token", instance, bill, audio_ms, 10_000)

    @rule()
    def take_what_was_offered(self) -> None:
        for job in self.offered:
            self._select(job)
        self.offered.clear()

    @rule(index=SOME_JOB)
    def ask_again(self, index: int) -> None:
        self._select(self._job(index))

    def _fence(self, off: int | None) -> dict[str, Any]:
        if off is None:
            return {}
        self.step.sessions.add(SPEAKER)
        return {"fence": Fence(SPEAKER, self.speaker_epoch - off)}

    @rule(
        index=SOME_JOB, hold=st.sampled_from(["none", "timeout"]), off=FENCES, result=st.sampled_from([b"", b"\x80:"])
    )
    def answer(self, index: int, hold: Any, off: int | None, result: bytes) -> None:
        """A job that was placed ends as it should."""
        if self.placed:
            job = sorted(self.placed)[index % len(self.placed)]
            node, named = self.placed[job], self._fence(off)
            named |= {"result": result} if named else {}
            ended = self._call("jobs", "finish", JobId(job), self.attempts[job], node, "completed", hold=hold, **named)
            if ended.is_ok:
                del self.placed[job]

    @rule(
        index=SOME_JOB, status=st.sampled_from(["completed", "failed"]), node=st.none() | NODES, by=st.integers(-1, 1)
    )
    def finish(self, index: int, status: Any, node: str | None, by: int) -> None:
        job = self._job(index)
        self.step.jobs.add(JobId(job))
        attempt = max(1, self.attempts.get(job, 1) + by)
        told = NodeId(node) if node else None
        self._call("jobs", "finish", JobId(job), attempt, told, status, cause="JOB_TIMEOUT" if by else "")

    @rule(index=SOME_JOB, by=ATTEMPTS_OFF, off=FENCES)
    def requeue(self, index: int, by: int, off: int | None) -> None:
        job = self._job(index)
        attempt = max(1, self.attempts.get(job, 1) + by)
        if self._call("jobs", "requeue", JobId(job), attempt, "node_lost", **self._fence(off)).is_ok:
            self.attempts[job] = attempt + 1
            self.placed.pop(job, None)

    @rule(index=SOME_JOB)
    def skip_an_attempt(self, index: int) -> None:
        """An owner that does not requeue before it asks for the next attempt."""
        job = self._job(index)
        self.attempts[job] = self.attempts.get(job, 1) + 1
        self._select(job)

    @rule(index=SOME_JOB, lease_ms=st.sampled_from([1000, 60_000]), status=st.sampled_from([None, "running", "held"]))
    def renew(self, index: int, lease_ms: int, status: Any) -> None:
        job = self._job(index)
        node = self.placed.get(job, NodeId("n0"))
        self._call("jobs", "renew_lease", JobId(job), self.attempts.get(job, 1), node, lease_ms, status)

    @rule(index=SOME_JOB)
    def leave_queue(self, index: int) -> None:
        self._call("jobs", "leave_queue", JobId(self._job(index)))

    # ------------------------------------------------------------------------------- sessions, instances, time

    def _owner(self, instance: InstanceId, off: int = 0) -> Ownership:
        return Ownership(SPEAKER, instance, self.speaker_epoch - off)

    @rule(instance=INSTANCES, off=ATTEMPTS_OFF, fields=FIELDS, some=st.sets(SOME_JOB, max_size=2), is_new=st.booleans())
    def write_session(
        self, instance: InstanceId, off: int, fields: dict[str, str], some: set[int], is_new: bool
    ) -> None:
        """One session has all the results: jobs need not be its own."""
        self.step.sessions.add(SPEAKER)
        jobs = sorted({JobId(self._job(index)) for index in some})
        opening = {"opening": "o", "token": "t0"} if is_new else {}
        change = SessionChange({**opening, **fields}, jobs[:1], dict.fromkeys(jobs[1:], b"\xff\x00 late"), 60_000)
        self._call("sessions", "write", self._owner(instance, off), change)

    @rule(instance=INSTANCES, shown=st.sampled_from(["t0", "t1", "t2"]), fresh=st.sampled_from(["t1", "t2"]))
    def claim_session(self, instance: InstanceId, shown: str, fresh: str) -> None:
        claim = self._call("sessions", "claim", SPEAKER, instance, shown, fresh)
        self.speaker_epoch = claim.epoch or self.speaker_epoch
        self._call("sessions", "owner", SPEAKER)

    @rule(instance=INSTANCES, off=ATTEMPTS_OFF, some=st.sets(SOME_JOB, max_size=3))
    def adopt(self, instance: InstanceId, off: int, some: set[int]) -> None:
        jobs = sorted({JobId(self._job(index)) for index in some} | {JobId("nobody's")})
        self._call("sessions", "adopt", self._owner(instance, off), jobs)
        self._call("sessions", "outbox", SPEAKER, jobs)

    @rule(off=ATTEMPTS_OFF)
    def drop_session(self, off: int) -> None:
        self._call("sessions", "drop", SPEAKER, self.speaker_epoch - off)

    @rule(instance=INSTANCES, owned=st.sampled_from(["a", "b"]), take_over=st.booleans(), off=st.integers(0, 1))
    def own(self, instance: InstanceId, owned: str, take_over: bool, off: int) -> None:
        held = self._call("instances", "claim_owner", "nodes", owned, instance, take_over=take_over)
        self._call("instances", "renew_owner", "nodes", owned, instance, held.epoch - off)
        self._call("instances", "owner_of", "nodes", owned)
        if take_over:
            self._call("instances", "release_owner", "nodes", owned, instance, held.epoch - off)

    @rule(instance=INSTANCES, is_here=st.booleans())
    def presence(self, instance: InstanceId, is_here: bool) -> None:
        if is_here:
            self._call("instances", "announce", Presence(instance, 1, "host", 1, "1", "address"))
        else:
            self._call("instances", "withdraw", instance)

    @rule()
    def reap(self) -> None:
        self._call("instances", "reap")

    @rule(by_ms=PASSING)
    def time_passes(self, by_ms: int) -> None:
        """Nodes go on with their heartbeats, but for a long while in which they die."""
        self.step.advance(by_ms)
        for node, epoch in self.epochs.items():
            registered = self.step.model.world.node(NodeId(node))
            if registered is not None and registered.epoch == epoch and by_ms < 61_000:
                self._beat(node, registered.status, NodeLoad(), tuple(registered.services))
        while self._has_dead():
            self.step.advance(5000)
            self.reap()

    def _has_dead(self) -> bool:
        """What scripts believe of a node whose heartbeat ended is a test of its own: here the reaper comes at once."""
        world = self.step.model.world
        return any(world.node(node_id) is None for node_id in world.all_nodes)

    @invariant()
    def capacity_is_kept(self) -> None:
        """A node that came back with less may hold more than that, but gets no more."""
        world = self.step.model.world
        for node_id in world.all_nodes:
            assert len(world.trail(node_id).jobs) <= 3


def test_scripts_and_model_agree(redis_urls: str, request: Any) -> None:
    class OnThisServer(Machine):
        url = redis_urls

    examples = int(settings().max_examples * SHARE[request.node.callspec.id])
    run_state_machine_as_test(OnThisServer, settings=settings(stateful_step_count=30, max_examples=examples))


def test_a_full_walk_by_hand(redis_url: str) -> None:
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
