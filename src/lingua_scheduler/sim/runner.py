"""Many runs: one for each seed, each with its verdict."""

import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lingua_scheduler.runtime.clock import processor_s
from lingua_scheduler.sim.checkers import Violation, check
from lingua_scheduler.sim.plan import Plan, Size, make_plan
from lingua_scheduler.sim.run import Run
from lingua_scheduler.sim.world import World


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one seed came to. The run itself is kept only where there is something to tell of it."""

    seed: int
    violations: tuple[Violation, ...]
    utterances: int
    simulated_ms: int
    processor_s: float
    digest: str
    run: Run | None = None


def judge(plan: Plan, *, checks: bool = True) -> Verdict:
    """Play a plan and check its history."""
    began_s = processor_s()
    gc_was_enabled = gc.isenabled()
    # A run makes little garbage that counts cannot free, and much that lives until its end: looking for cycles in it
    # over and over would take a third of the time.
    gc.disable()
    try:
        run = World(plan).play(checks=checks)
        violations = tuple(check(run))
    finally:
        if gc_was_enabled:
            gc.enable()
    return Verdict(
        seed=plan.seed,
        violations=violations,
        utterances=sum(1 for _ in run.history.of("utterance")),
        simulated_ms=run.simulated_ms,
        processor_s=processor_s() - began_s,
        digest=run.history.digest(),
        run=run if violations else None,
    )


def judge_seeds(seeds: Iterable[int], size: Size, *, checks: bool = True) -> Iterator[Verdict]:
    """One verdict after the other."""
    gc.collect()
    gc.freeze()  # what is loaded is never garbage: only what worlds leave is looked through
    try:
        for seed in seeds:
            verdict = judge(make_plan(seed, size), checks=checks)
            gc.collect()
            yield verdict
    finally:
        gc.unfreeze()
