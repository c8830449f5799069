"""What will happen in a run, drawn from its seed beforehand: who speaks when, which nodes there are, what goes wrong.

A plan is plain data. Everything else that is drawn (delays, choices) comes from a generator of its own for each part,
so that leaving something out of a plan changes little else: that is what makes shrinking work.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from lingua_scheduler.sim.speech import PACKET_MS

Ending = Literal["final", "pause"]
FaultKind = Literal[
    "kill_instance", "pause_instance", "drain_instance", "kill_node", "pause_node", "slow_node", "drain_node",
    "cut_client", "mute_client", "pause_client", "cut_node", "mute_node", "stall",
    "redis_down", "redis_slow", "redis_lossy", "flush", "fail_over",
    "repeat_client", "repeat_node", "unread_client", "unread_node",
]  # fmt: skip
"""`mute`: the connection is gone and nobody is told. `repeat`: frames come twice. `unread`: they are not read."""
FAULTS: tuple[FaultKind, ...] = get_args(FaultKind)
FIRST: tuple[FaultKind, ...] = FAULTS[:18]
"""Those that there were when the first seeds got their stories: with them, these seeds mean what they meant."""
POISON = "poison"
SKEW = "skew"
EXTRAS = (POISON, SKEW)
"""Faults that are no events: speech on which nodes fail, and clocks that disagree."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of speech without a pause."""

    at_ms: int
    packets: int
    ending: Ending
    is_poison: bool = False
    """Nodes fail on it, or die of it."""

    @property
    def ends_ms(self) -> int:
        return self.at_ms + self.packets * PACKET_MS


@dataclass(frozen=True, slots=True)
class SpeakerPlan:
    number: int
    protocol: Literal["1.0", "1.1"]
    src: str
    tgt: str
    turns: tuple[Turn, ...]
    two_way: bool = False
    """Now the one language is spoken, now the other; the node tells which."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    name: str
    protocol: Literal[1, 2]
    capacity: int
    languages: tuple[str, ...]
    service_ms: int
    """For each job, beside `pace` times the audio's length."""
    pace: float
    wall_offset_ms: int = 0
    dies_of_poison: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    at_ms: int
    kind: FaultKind
    target: int
    """Which of them, modulo how many there are."""
    for_ms: int
    effects: int = 0
    """Killed after so many further outward effects, rather than at once: in the middle of something."""

    def __str__(self) -> str:
        when = f"{self.at_ms / 1000:.3f} s"
        return f"{when}: {self.kind} {self.target} for {self.for_ms} ms" + (
            f" after {self.effects}" * bool(self.effects)
        )


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    duration_ms: int
    instances: int
    speakers: tuple[SpeakerPlan, ...]
    nodes: tuple[NodePlan, ...]
    faults: tuple[Fault, ...]
    redis_offset_ms: int = 0
    instance_offsets_ms: tuple[int, ...] = ()
    chunk_packets: int = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How large a world is. `faults` by name; empty: nothing goes wrong."""

    sessions: int = 6
    nodes: int = 4
    instances: int = 3
    minutes: float = 3.0
    faults: tuple[str, ...] = (*FAULTS, *EXTRAS)
    fault_every_ms: int = 9_000
    """On average, while there are faults."""
    turn_every_ms: int = 7_000
    chunk_packets: int = 4
    two_way: float = 0.0
    """The share of speakers that are two with one device."""


LANGUAGES = ("en", "es", "pt")


def make_plan(seed: int, size: Size) -> Plan:
    """The plan of a seed. Equal arguments give equal plans."""
    rng = Random(f"plan {seed}")
    duration_ms = int(size.minutes * 60_000)
    is_skewed = SKEW in size.faults
    has_poison = POISON in size.faults
    speakers = tuple(
        _speaker(Random(f"speaker {seed} {n}"), n, size, duration_ms, has_poison) for n in range(size.sessions)
    )
    # In every other world all nodes are of protocol 2: there nothing may be lost or said twice, whoever dies.
    legacy = 0.5 if rng.random() < 0.5 else 0.0
    nodes = tuple(_node(Random(f"node {seed} {n}"), n, legacy, is_skewed=is_skewed) for n in range(size.nodes))
    return Plan(
        seed=seed,
        duration_ms=duration_ms,
        instances=size.instances,
        speakers=speakers,
        nodes=nodes,
        faults=_faults(rng, size, duration_ms),
        redis_offset_ms=rng.randint(-90_000, 90_000) if is_skewed else 0,
        instance_offsets_ms=tuple(rng.randint(-90_000, 90_000) * is_skewed for _ in range(size.instances)),
        chunk_packets=size.chunk_packets,
    )


def _speaker(rng: Random, number: int, size: Size, duration_ms: int, has_poison: bool) -> SpeakerPlan:
    src, tgt = rng.sample(LANGUAGES, 2)
    turns: list[Turn] = []
    at_ms = rng.randint(0, min(20_000, duration_ms // 4))
    while at_ms < duration_ms - 5_000:
        kind = rng.random()
        packets = rng.randint(2, 15) if kind < 0.15 else rng.randint(20, 120) if kind < 0.9 else rng.randint(170, 420)
        ending: Ending = "final" if rng.random() < 0.6 else "pause"
        turn = Turn(at_ms, packets, ending, has_poison and rng.random() < 0.02)
        turns.append(turn)
        pause_ms = rng.randint(300, 2_000) if rng.random() < 0.5 else rng.randint(2_000, 2 * size.turn_every_ms)
        at_ms = turn.ends_ms + pause_ms
    protocol: Literal["1.0", "1.1"] = "1.0" if rng.random() < 0.3 else "1.1"
    return SpeakerPlan(number, protocol, src, tgt, tuple(turns), two_way=rng.random() < size.two_way)


def _node(rng: Random, number: int, legacy: float, *, is_skewed: bool) -> NodePlan:
    # The first two serve every language, so that a pair is never without a node for good.
    languages = LANGUAGES if number < 2 else tuple(sorted(rng.sample(LANGUAGES, 2)))
    return NodePlan(
        name=f"node-{number}",
        protocol=1 if rng.random() < legacy else 2,
        capacity=rng.randint(1, 4) if number >= 2 else rng.randint(3, 6),
        languages=languages,
        service_ms=rng.randint(50, 400),
        pace=rng.uniform(0.02, 0.3),
        wall_offset_ms=rng.randint(-90_000, 90_000) if is_skewed else 0,
        dies_of_poison=rng.random() < 0.5,
    )


def _faults(rng: Random, size: Size, duration_ms: int) -> tuple[Fault, ...]:
    kinds: list[FaultKind] = [kind for kind in FAULTS if kind in size.faults]
    faults: list[Fault] = []
    at_ms = rng.randint(2_000, size.fault_every_ms)
    while kinds and at_ms < duration_ms:
        kind = rng.choice(kinds)
        for_ms = int(rng.choice((500, 2_500, 6_000, 15_000, 40_000)) * rng.uniform(0.5, 1.5))
        effects = rng.randint(0, 12) if kind in ("kill_instance", "kill_node") else 0
        faults.append(Fault(at_ms, kind, rng.randint(0, 999), for_ms, effects))
        # Troubles come in bunches: half of them while another is still going on.
        at_ms += rng.randint(50, 2_000) if rng.random() < 0.35 else rng.randint(1_000, 2 * size.fault_every_ms)
    return tuple(faults)


def without_faults(plan: Plan) -> Plan:
    return replace(plan, faults=())
