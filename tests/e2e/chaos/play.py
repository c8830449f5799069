"""Plans for real processes, and what their runs come to."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lingua_scheduler.sim.checkers import Violation, check
from lingua_scheduler.sim.plan import Plan, Size, make_plan
from tests.e2e.chaos.world import KINDS, World
from tests.support.forking import Template
from tests.support.processes import Processes

SIZE = Size(sessions=4, nodes=3, instances=3, faults=KINDS, fault_every_ms=5_000)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one seed came to."""

    seed: int
    violations: tuple[Violation, ...]
    utterances: int
    faults: int
    seconds: int
    history: tuple[str, ...]
    """Every event, a line each."""
    logs: tuple[str, ...]
    """What processes said, one after the other."""

    def __str__(self) -> str:
        told = "\n  ".join(map(str, self.violations)) or "no violation"
        return (
            f"seed {self.seed}: {self.utterances} utterances, {self.faults} faults, {self.seconds} s of trouble and "
            f"healing\n  {told}"
        )

    def told(self) -> str:
        """The verdict, and where every event is to be read."""
        path = Path(tempfile.mkdtemp(prefix="chaos-")) / f"seed-{self.seed}.history"
        path.write_text("\n".join([str(self), *self.history]) + "\n")
        path.with_suffix(".logs").write_text("\n".join(self.logs))
        return f"{self}\n  history: {path}, and .logs beside it"


def chaos_plan(seed: int, size: Size) -> Plan:
    """A simulator's plan whose clients all are the library, which speaks protocol 1.1."""
    plan = make_plan(seed, size)
    return replace(plan, speakers=tuple(replace(one, protocol="1.1") for one in plan.speakers))


async def judge(seed: int, size: Size, template: Template) -> Verdict:
    """Play one seed; instances are forked from `template`."""
    with Processes(template) as processes:
        run = await World(chaos_plan(seed, size), processes).play()
        logs = tuple(f"--- {one.name} {one.pid}\n{one.stdout}{one.stderr}" for one in processes.children)
    history = run.history
    return Verdict(
        seed=seed,
        violations=tuple(check(run)),
        utterances=len({(e.facts[0], e.facts[1]) for e in history.of("utterance")}),
        faults=sum(1 for _ in history.of("fault")),
        seconds=run.simulated_ms // 1000,
        history=tuple(map(str, history.events)),
        logs=logs,
    )
