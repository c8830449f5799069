"""Placement policies compared on fleets too large for the production code: up to a million sessions, cell by cell.

A coarse model, and named so: no sockets, messages, instances or faults. It knows when each utterance ends, the slots of
each node, and the rule of `store.model.placement`: only nodes with a free slot are drawn from, the less loaded of those
drawn is taken, the first of equal ones; nobody overtakes the line; who has audio on a node waits for that one, before
the line, until its patience is over (`tests/sim/test_scale.py` plays both side by side). Left out: languages, reported
loads, the distance between instances, the milliseconds that an offer takes.

Cells share nothing. Nodes are dealt out evenly, sessions fall in by chance. A node that is busier is slower.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Policy = Literal["random", "two_choices", "least_loaded"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
CAPACITIES = (4, 8, 12)
SPEED = (0.7, 1.3)
SLOWDOWN = 0.5
"""How much longer a job takes on a node that is full than on one that is empty."""
KEEPS = 0.15
"""How many utterances leave audio on their node for the next one."""
PATIENCE_MS = 500
"""As `scheduler.affinity_wait_ms` has it."""
SPEECH_MS, PAUSE_MS = 4_000, 5_000
"""On average."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is compared on. `load`: how much of all slots is wanted on average, 0 to 1."""

    sessions: int = 1_000_000
    nodes: int = 10_000
    cell_nodes: int = 100
    minutes: float = 1.0
    load: float = 0.85
    seed: int = 1

    @property
    def cells(self) -> int:
        return max(1, self.nodes // self.cell_nodes)


class Slots:
    """The slots of one cell's nodes, and who is to have the next."""

    def __init__(self, capacities: Sequence[int]) -> None:
        self.capacities = list(capacities)
        self.jobs = [0] * len(self.capacities)
        self.free = list(range(len(self.capacities)))
        """The nodes with a free slot, in no order."""
        self._at = list(self.free)
        """Where each stands in `free`."""

    def load(self, node: int) -> int:
        """In thousandths, as the store reckons it."""
        return self.jobs[node] * 700 // self.capacities[node]

    def take(self, node: int) -> None:
        self.jobs[node] += 1
        if self.jobs[node] == self.capacities[node]:
            at, last = self._at[node], self.free.pop()
            if last != node:
                self.free[at], self._at[last] = last, at

    def give_back(self, node: int) -> None:
        if self.jobs[node] == self.capacities[node]:
            self._at[node] = len(self.free)
            self.free.append(node)
        self.jobs[node] -= 1

    def is_free(self, node: int) -> bool:
        return self.jobs[node] < self.capacities[node]

    def less_loaded(self, drawn: Sequence[int]) -> int:
        """The first of equal ones."""
        return min(drawn, key=self.load)


def choose(policy: Policy, slots: Slots, draw: Callable[[], float]) -> int:
    """A node with a free slot; there must be one. `draw` gives numbers from 0 to 1, 1 excluded."""
    free = slots.free
    count = len(free)
    if policy == "least_loaded":
        return slots.less_loaded(free)
    first = free[int(draw() * count)]
    if policy == "random" or count == 1:
        return first
    at = int(draw() * (count - 1))
    second = free[at] if free[at] != first else free[-1]
    return second if slots.load(second) < slots.load(first) else first


@dataclass(slots=True)
class Outcome:
    """What one policy came to. Times in milliseconds, one for each utterance."""

    policy: Policy
    waits: list[Floats] = field(default_factory=list[Floats])
    """Until a slot."""
    answers: list[Floats] = field(default_factory=list[Floats])
    """Until the result."""
    by_session: list[Floats] = field(default_factory=list[Floats])
    """Mean time until the result of each session that spoke."""
    shares: list[Floats] = field(default_factory=list[Floats])
    """How much of its slots' time each node worked, 0 to 1."""
    bound: int = 0
    """Utterances that audio on a node was waiting for."""
    broken: int = 0
    """Those of them that went elsewhere."""

    def row(self) -> dict[str, float | int | str]:
        waits, answers = np.concatenate(self.waits), np.concatenate(self.answers)
        return {
            "policy": self.policy,
            "utterances": len(waits),
            "delayed_percent": round(100 * float(np.mean(waits > 0)), 2),
            "wait_mean_ms": round(float(waits.mean()), 1),
            "wait_p99_ms": round(float(np.percentile(waits, 99))),
            "answer_p50_ms": round(float(np.percentile(answers, 50))),
            "answer_p99_ms": round(float(np.percentile(answers, 99))),
            "jain_nodes": round(jain(np.concatenate(self.shares)), 4),
            "jain_sessions": round(jain(np.concatenate(self.by_session)), 4),
            "breaks_permille": round(1000 * self.broken / max(1, self.bound), 2),
        }


def jain(shares: Floats) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has everything (Jain, Chiu and Hawe 1984)."""
    squares = float(np.square(shares).sum())
    return float(shares.sum()) ** 2 / (len(shares) * squares) if squares else 1.0


@dataclass(frozen=True, slots=True)
class Speech:
    """All utterances of a cell, by their end."""

    at_ms: Floats
    session: Ints
    work: Floats
    """How long each takes on an idle node of speed 1, in milliseconds."""
    keeps: npt.NDArray[np.bool_]


def compare(fleet: Fleet, policies: Sequence[Policy] = POLICIES) -> Iterator[Outcome]:
    """One outcome after the other, on the same speech and nodes."""
    for policy in policies:
        outcome = Outcome(policy)
        sizes = np.random.default_rng(fleet.seed).multinomial(fleet.sessions, [1 / fleet.cells] * fleet.cells)
        for number, sessions in enumerate(sizes.tolist()):
            rng = np.random.default_rng([fleet.seed, number])
            capacities = rng.choice(CAPACITIES, fleet.nodes // fleet.cells)
            speeds = rng.uniform(*SPEED, len(capacities))
            speech = _speech(rng, fleet, sessions, float((capacities / speeds).sum()))
            _Cell(policy, capacities, speeds, rng).play(speech, outcome, fleet.minutes * 60_000)
        yield outcome


def _speech(rng: np.random.Generator, fleet: Fleet, sessions: int, power: float) -> Speech:
    """`power`: slots of the cell, each times its speed. Work is scaled so that an average cell is loaded as wanted."""
    duration_ms = fleet.minutes * 60_000
    count = int(duration_ms / (SPEECH_MS + PAUSE_MS) * 3) + 8
    spoken = rng.gamma(2, SPEECH_MS / 2, (sessions, count))
    ends = rng.uniform(-(SPEECH_MS + PAUSE_MS), 0, (sessions, 1)) + np.cumsum(
        spoken + rng.exponential(PAUSE_MS, (sessions, count)), axis=1
    )
    # Half of the work is the same for every utterance; occupancy near the wanted load slows all of it down.
    per_ms = fleet.sessions / fleet.cells / (SPEECH_MS + PAUSE_MS)
    mean_ms = fleet.load * power / per_ms / (1 + SLOWDOWN * fleet.load)
    who = np.broadcast_to(np.arange(sessions)[:, None], ends.shape)
    heard = (ends >= 0) & (ends < duration_ms)
    order = np.argsort(ends[heard], kind="stable")
    work = mean_ms * (0.5 + 0.5 * spoken[heard][order] / SPEECH_MS)
    return Speech(ends[heard][order], who[heard][order], work, rng.random(len(order)) < KEEPS)


class _Cell:
    """One cell under one policy: utterances in the order of their ends, and a heap of what happens in between."""

    def __init__(self, policy: Policy, capacities: Ints, speeds: Floats, rng: np.random.Generator) -> None:
        self._policy: Policy = policy
        self._slots = Slots(capacities.tolist())
        self._speeds: list[float] = speeds.tolist()
        self._rng = rng
        self._draws: list[float] = []
        self._line: deque[int] = deque()
        self._guests: dict[int, deque[int]] = {}
        self._soon: list[tuple[float, int, int]] = []
        """When; the node that ends a job, or -1 less the node that is waited for in vain; the utterance."""
        self._busy_ms = [0.0] * len(self._speeds)
        self._broken = 0

    def play(self, speech: Speech, outcome: Outcome, until_ms: float) -> None:
        count = len(speech.at_ms)
        self._at: list[float] = speech.at_ms.tolist()
        self._work: list[float] = speech.work.tolist()
        self._session: list[int] = speech.session.tolist()
        self._keeps: list[bool] = speech.keeps.tolist()
        self._until_ms = until_ms
        self._start: list[float] = [0.0] * count
        self._end: list[float] = [0.0] * count
        self._bound: dict[int, int] = {}
        soon = self._soon
        for number, at_ms in enumerate(self._at):
            while soon and soon[0][0] <= at_ms:
                self._next()
            self._ask(number, at_ms, outcome)
        while soon:
            self._next()
        self._report(outcome)

    def _ask(self, number: int, at_ms: float, outcome: Outcome) -> None:
        host = self._bound.pop(self._session[number], None)
        if host is not None:
            outcome.bound += 1
            if self._slots.is_free(host):
                self._begin(number, host, at_ms)
            else:
                self._guests.setdefault(host, deque()).append(number)
                heappush(self._soon, (at_ms + PATIENCE_MS, -1 - host, number))
        else:
            self._place(number, at_ms)

    def _place(self, number: int, at_ms: float) -> None:
        if self._slots.free:
            self._begin(number, choose(self._policy, self._slots, self._draw), at_ms)
        else:
            self._line.append(number)

    def _next(self) -> None:
        at_ms, node, number = heappop(self._soon)
        if node < 0:
            self._lose_patience(number, -1 - node, at_ms)
            return
        self._slots.give_back(node)
        waiting = self._guests.get(node) or self._line
        if waiting:
            self._begin(waiting.popleft(), node, at_ms)

    def _lose_patience(self, number: int, host: int, at_ms: float) -> None:
        if number in self._guests[host]:
            self._guests[host].remove(number)
            self._broken += 1
            self._place(number, at_ms)

    def _begin(self, number: int, node: int, at_ms: float) -> None:
        slots = self._slots
        occupied = slots.jobs[node] / slots.capacities[node]
        took_ms = self._work[number] * self._speeds[node] * (1 + SLOWDOWN * occupied)
        slots.take(node)
        self._start[number], self._end[number] = at_ms, at_ms + took_ms
        self._busy_ms[node] += max(0.0, min(at_ms + took_ms, self._until_ms) - min(at_ms, self._until_ms))
        heappush(self._soon, (at_ms + took_ms, node, number))
        if self._keeps[number]:
            self._bound[self._session[number]] = node

    def _draw(self) -> float:
        if not self._draws:
            self._draws = self._rng.random(4096).tolist()
        return self._draws.pop()

    def _report(self, outcome: Outcome) -> None:
        at = np.asarray(self._at)
        answers = np.asarray(self._end) - at
        outcome.waits.append(np.asarray(self._start) - at)
        outcome.answers.append(answers)
        sessions = np.asarray(self._session)
        counts = np.bincount(sessions)
        outcome.by_session.append((np.bincount(sessions, answers) / np.maximum(counts, 1))[counts > 0])
        outcome.shares.append(np.asarray(self._busy_ms) / (np.asarray(self._slots.capacities) * self._until_ms))
        outcome.broken += self._broken
