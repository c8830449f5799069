"""`lingua simulate`: the production code under every fault there is, on virtual time, checked."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli.arguments import UsageError, add_command, natural, positive
from lingua_scheduler.cli.console import Console

if TYPE_CHECKING:
    from lingua_scheduler.sim.plan import Size
    from lingua_scheduler.sim.runner import Verdict

_EXAMPLES = """\
  lingua simulate                                   20 small worlds, everything that can go wrong
  lingua simulate --seed 42 --explain               the story of one seed
  lingua simulate --seed 42 --shrink                the least of it that still breaks the rule
  lingua simulate --faults kill_node,flush --seeds 500
  lingua simulate --faults none --sessions 100 --nodes 20 --minutes 10 --no-checks
"""
_SHOWN = 4


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = add_command(commands, "simulate", "prove what is promised, by simulated years of faults", _EXAMPLES)
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="the first seed (default 1)")
    parser.add_argument("--seeds", type=positive, metavar="N", help="how many (default 20; 1 with --explain, --shrink)")
    parser.add_argument("--sessions", type=positive, default=6, metavar="N", help="speakers at once (default 6)")
    parser.add_argument("--nodes", type=positive, default=4, metavar="N", help="worker nodes (default 4)")
    parser.add_argument("--instances", type=positive, default=3, metavar="N", help="scheduler instances (default 3)")
    parser.add_argument("--minutes", type=float, default=3.0, metavar="M", help="troubled time of each (default 3)")
    parser.add_argument(
        "--faults", default="all", metavar="LIST", help="all, none, or names with commas (see docs/simulation.md)"
    )
    parser.add_argument("--no-checks", action="store_true", help="leave out the machines' own invariants: faster")
    parser.add_argument("--explain", action="store_true", help="tell the story of every seed, broken or not")
    parser.add_argument("--shrink", action="store_true", help="make the plan of the first violation small")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="draw the last seed told of as SVG")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end, people's lines to stderr")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Play the seeds; 1 where any rule was broken."""
    from lingua_scheduler.sim.runner import judge_seeds

    size = _size(args)
    seeds = args.seeds or (1 if args.explain or args.shrink else 20)
    violations = utterances = 0
    simulated_ms, wall_s = 0, 0.0
    broken: list[int] = []
    for verdict in judge_seeds(args.seed, seeds, size, checks=not args.no_checks):
        violations += len(verdict.violations)
        utterances += verdict.utterances
        simulated_ms += verdict.simulated_ms
        wall_s += verdict.wall_s
        if verdict.violations:
            broken.append(verdict.seed)
            _tell(verdict, console, args)
            if args.shrink:
                _shrink(verdict, size, console)
                break
        elif args.explain:
            _explain(verdict.seed, size, console, args.timeline)
        console.status(f"seed {verdict.seed}: {len(broken)} broken of {verdict.seed - args.seed + 1}")
    console.status("")
    speed = simulated_ms / 1000 / wall_s if wall_s else 0
    told = f"{len(broken)} broken: {', '.join(map(str, broken[:20]))}" if broken else "no rule was broken"
    console.line(
        f"{seeds} seeds, {utterances} utterances, {simulated_ms / 3_600_000:.1f} h at {speed:.0f} × real time: {told}"
    )
    if args.json:
        console.json({
            "seeds": seeds, "violations": violations, "utterances": utterances,
            "simulated_s": simulated_ms // 1000, "wall_s": round(wall_s, 1),
        })  # fmt: skip
    return 1 if violations else 0


def _size(args: argparse.Namespace) -> "Size":
    from lingua_scheduler.sim.plan import EXTRAS, FAULTS, Size

    every = (*FAULTS, *EXTRAS)
    named = {"all": every, "none": ()}.get(args.faults)
    faults = tuple(args.faults.split(",")) if named is None else named
    if unknown := [name for name in faults if name not in every]:
        raise UsageError(f"no fault is called {unknown[0]!r}; there are {', '.join(every)}")
    return Size(sessions=args.sessions, nodes=args.nodes, instances=args.instances, minutes=args.minutes, faults=faults)


def _tell(verdict: "Verdict", console: Console, args: argparse.Namespace) -> None:
    from lingua_scheduler.sim.story import tell
    from lingua_scheduler.sim.timeline import draw

    console.line(console.paint(f"seed {verdict.seed} breaks a rule", "red"))
    for violation in verdict.violations[:_SHOWN]:
        console.line(f"  {violation}")
    if len(verdict.violations) > _SHOWN:
        console.line(f"  and {len(verdict.violations) - _SHOWN} more")
    if verdict.run is None:
        return
    if args.explain or args.seeds in (None, 1):
        for line in tell(verdict.run, verdict.violations[0]):
            console.line(f"    {line}")
    if args.timeline is not None:
        args.timeline.write_text(draw(verdict.run, verdict.violations[0].session), encoding="utf-8")


def _explain(seed: int, size: "Size", console: Console, timeline: Path | None) -> None:
    """A seed that broke nothing, all the same: what its first session lived through."""
    from lingua_scheduler.sim.checkers import Violation
    from lingua_scheduler.sim.plan import make_plan
    from lingua_scheduler.sim.story import tell
    from lingua_scheduler.sim.timeline import draw
    from lingua_scheduler.sim.world import World

    played = World(make_plan(seed, size)).play()
    session = next((event.facts[0] for event in played.history.of("opened")), "")
    console.line(f"seed {seed} broke no rule; its first session:")
    for line in tell(played, Violation("", "", session)):
        console.line(f"    {line}")
    if timeline is not None:
        timeline.write_text(draw(played, session), encoding="utf-8")


def _shrink(verdict: "Verdict", size: "Size", console: Console) -> None:
    from lingua_scheduler.sim.plan import make_plan
    from lingua_scheduler.sim.runner import judge
    from lingua_scheduler.sim.shrink import Shrinking, describe
    from lingua_scheduler.sim.story import tell

    shrinking = Shrinking(verdict.violations[0].rule)
    small = shrinking.shrink(make_plan(verdict.seed, size))
    console.line(f"the least that breaks {shrinking.rule}, after {shrinking.tried} runs:")
    for line in describe(small):
        console.line(f"  {line}")
    again = judge(small)
    first = next((one for one in again.violations if one.rule == shrinking.rule), None)
    if again.run is not None and first is not None:
        console.line(f"  {first}")
        for line in tell(again.run, first):
            console.line(f"    {line}")
