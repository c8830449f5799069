"""The coarse model of fleets decides as the store does, counts what it says it counts, and repeats."""

from collections import deque
from collections.abc import Sequence
from random import Random

import numpy as np

from lingua_scheduler.core.node.events import NodeLoad
from lingua_scheduler.core.placement import Candidate, Queued, Selected, SelectRequest
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.sim.scale import POLICIES, Fleet, Slots, choose, compare, jain
from lingua_scheduler.store.model import StoreModel
from tests.store import samples
from tests.store.samples import HERE, SERVICES, registration

CAPACITIES = (1, 2, 3, 4, 6)
SMALL = Fleet(sessions=900, nodes=12, cell_nodes=4, minutes=0.5)


class Pair:
    """The store's model and the coarse one, asked the same; the store draws as the coarse one does."""

    def __init__(self) -> None:
        self.rng = Random(11)
        self.now_ms = 1_000_000
        self.slots = Slots(CAPACITIES)
        self.line: deque[JobId] = deque()
        self.model = StoreModel(lambda: self.now_ms, self._draw)
        for number, capacity in enumerate(CAPACITIES):
            name = NodeId(f"node-{number}")
            reply = self.model.nodes.register(registration(name, capacity=capacity), HERE)
            self.model.nodes.heartbeat(name, reply.epoch, "ready", NodeLoad(), SERVICES)

    def _draw(self, free: Sequence[Candidate], request: SelectRequest) -> Sequence[NodeId]:
        del request
        assert {one.node_id for one in free} == {NodeId(f"node-{node}") for node in self.slots.free}
        assert all(round(one.load * 1000) == self.slots.load(int(one.node_id[5:])) for one in free)
        drawn = self.rng.sample(self.slots.free, min(2, len(free)))
        self.wanted = self.slots.less_loaded(drawn)
        return [NodeId(f"node-{node}") for node in drawn]

    def place(self, job: JobId) -> int | None:
        """The node that both give it, or None where both let it wait."""
        reply = self.model.jobs.select(samples.request(job, wait_ms=30_000))
        if isinstance(reply, Queued):
            assert not self.slots.free
            self.line.append(job)
            return None
        assert isinstance(reply, Selected)
        node = int(reply.node_id[5:])
        assert node == self.wanted
        self.slots.take(node)
        return node

    def finish(self, job: JobId, node: int) -> JobId | None:
        """Who got the slot next in both, if anybody waited."""
        reply = self.model.jobs.finish(job, 1, NodeId(f"node-{node}"), "completed")
        self.slots.give_back(node)
        if not self.line:
            assert not reply.offers
            return None
        first = self.line.popleft()
        assert [one.job_id for one in reply.offers] == [first]
        placed = self.model.jobs.select(samples.request(first, wait_ms=30_000))
        assert isinstance(placed, Selected)
        assert placed.node_id == f"node-{node}"
        self.slots.take(node)
        return first


def test_it_places_as_the_store_does():
    pair, working, waited = Pair(), dict[JobId, int](), 0
    for number in range(600):
        pair.now_ms += 10
        if working and pair.rng.random() < (0.4 if number % 200 < 100 else 0.6):
            job = pair.rng.choice(list(working))
            node = working.pop(job)
            if (following := pair.finish(job, node)) is not None:
                working[following] = node
        elif (node := pair.place(JobId(f"job-{number}"))) is not None:
            working[JobId(f"job-{number}")] = node
        else:
            waited += 1
    assert waited > 20
    assert len(working) == sum(pair.slots.jobs)


def test_policies_draw_from_free_nodes_and_the_least_loaded_is_that():
    rng = Random(5)
    for _ in range(300):
        slots = Slots([rng.randint(1, 6) for _ in range(8)])
        for node, capacity in enumerate(slots.capacities):
            for _ in range(rng.randint(0, capacity)):
                slots.take(node)
        free = {node for node in range(8) if slots.jobs[node] < slots.capacities[node]}
        assert set(slots.free) == free
        for policy in POLICIES if free else ():
            assert choose(policy, slots, rng.random) in free
        if free:
            assert slots.load(choose("least_loaded", slots, rng.random)) == min(map(slots.load, free))


def test_everybody_is_answered_and_nobody_twice():
    rows = {outcome.policy: (outcome, outcome.row()) for outcome in compare(SMALL)}
    assert set(rows) == set(POLICIES)
    assert len({row["utterances"] for _, row in rows.values()}) == 1, "all hear the same speech"
    for outcome, _ in rows.values():
        assert min(waits.min() for waits in outcome.waits) >= 0
        assert all((answers > waits).all() for answers, waits in zip(outcome.answers, outcome.waits, strict=True))
        assert 0 <= outcome.broken <= outcome.bound
        assert max(shares.max() for shares in outcome.shares) <= 1.0
    again = {outcome.policy: outcome.row() for outcome in compare(SMALL)}
    assert again == {policy: row for policy, (_, row) in rows.items()}


def test_the_index_of_fairness():
    assert jain(np.ones(7)) == 1.0
    assert jain(np.array([1.0, 0.0, 0.0, 0.0])) == 0.25
