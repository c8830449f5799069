"""`lingua simulate`: the production code under every fault there is, on virtual time, checked."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lingua_scheduler.cli.arguments import Commands, UsageError, add_command, add_json, natural, positive
from lingua_scheduler.cli.console import INTERRUPTED, Console
from lingua_scheduler.runtime.clock import stopwatch_s

if TYPE_CHECKING:
    from lingua_scheduler.sim.crew import Crew
    from lingua_scheduler.sim.plan import Size
    from lingua_scheduler.sim.runner import Verdict

_EXAMPLES = """\
  lingua simulate                         # 20 small worlds, everything that can go wrong
  lingua simulate --seed 42 --explain     # the story of one seed
  lingua simulate --seed 42 --shrink      # the least of it that still breaks the rule
  lingua simulate --faults kill_node,flush --seeds 500
  lingua simulate --faults none --sessions 100 --nodes 20 --minutes 10 --no-checks
  lingua simulate --scale                 # a coarse model: a million sessions under three placement policies"""
_SHOWN = 4


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "simulate", "prove what is promised, by simulated years of faults", _EXAMPLES)
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="the first seed (default 1)")
    parser.add_argument("--seeds", type=positive, metavar="N", help="how many (default 20; 1 with --explain, --shrink)")
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="how many seeds at once, in processes (default: one on each processor)",
    )
    parser.add_argument("--sessions", type=_million, metavar="N", help="speakers at once (default 6)")
    parser.add_argument("--nodes", type=positive, metavar="N", help="worker nodes (default 4)")
    parser.add_argument("--instances", type=positive, default=3, metavar="N", help="scheduler instances (default 3)")
    parser.add_argument("--minutes", type=float, metavar="M", help="troubled time of each (default 3)")
    parser.add_argument(
        "--faults",
        default="all",
        metavar="LIST",
        help="all, first, none, or names with commas (see docs/simulation.md)",
    )
    parser.add_argument(
        "--two-way", type=_part, default=0.25, metavar="P", help="the share of sessions of two speakers (default 0.25)"
    )
    parser.add_argument("--no-checks", action="store_true", help="leave out the machines' own invariants: faster")
    parser.add_argument("--explain", action="store_true", help="tell the story of every seed, broken or not")
    parser.add_argument("--shrink", action="store_true", help="make the plan of the first violation small")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="draw the last seed told of as SVG")
    scale = parser.add_argument_group("a coarse model of large fleets (docs/simulation.md)")
    scale.add_argument(
        "--scale", action="store_true", help="compare placement policies; 1000000 sessions, 10000 nodes, 1 minute"
    )
    scale.add_argument("--cell", type=positive, default=100, metavar="N", help="nodes of a cell (default 100)")
    scale.add_argument("--load", type=_share, default=0.85, metavar="L", help="how much of all slots (default 0.85)")
    add_json(parser)
    parser.set_defaults(run=run)


def _million(text: str) -> int:
    number = natural(text) if len(text) < 6 else int(text) if text.isdecimal() else 0
    if not 1 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000000")
    return number


def _part(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = -1.0
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return part


def _share(text: str) -> float:
    share = _part(text)
    if share in (0, 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return share


@dataclass(slots=True)
class _Tally:
    """What the seeds came to so far."""

    seeds: int
    played: int = 0
    violations: int = 0
    utterances: int = 0
    simulated_ms: int = 0
    processor_s: float = 0.0
    began_s: float = field(default_factory=stopwatch_s)
    broken: list[int] = field(default_factory=list[int])

    def add(self, verdict: "Verdict") -> None:
        self.played += 1
        self.violations += len(verdict.violations)
        self.utterances += verdict.utterances
        self.simulated_ms += verdict.simulated_ms
        self.processor_s += verdict.processor_s
        self.broken += [verdict.seed] if verdict.violations else []

    def progress(self, console: Console) -> None:
        took_s = stopwatch_s() - self.began_s
        left_s = took_s / self.played * (self.seeds - self.played) if self.played else 0
        told = f"{self.played} of {self.seeds} seeds, {len(self.broken)} broken"
        console.progress(self.played, self.seeds, told + (f", {left_s:.0f} s left" if self.played else ""))

    def tell(self, console: Console) -> None:
        console.status("")
        wall_s = stopwatch_s() - self.began_s
        speed = self.simulated_ms / 1000 / wall_s
        told = f"{len(self.broken)} broken: {', '.join(map(str, self.broken[:20]))}" if self.broken else ""
        console.line(
            f"{self.played} seeds, {self.utterances} utterances, {self.simulated_ms / 3_600_000:.1f} h "
            f"at {speed:.0f} × real time: {told or 'no rule was broken'}"
        )
        if console.is_json:
            console.json({
                "seeds": self.played, "violations": self.violations, "broken": self.broken,
                "utterances": self.utterances, "simulated_s": self.simulated_ms // 1000,
                "wall_s": round(wall_s, 1), "processor_s": round(self.processor_s, 1),
            })  # fmt: skip


def run(args: argparse.Namespace, console: Console) -> int:
    """Play the seeds; 1 where any rule was broken."""
    if args.scale:
        return _compare(args, console)
    from lingua_scheduler.sim.crew import Crew, Work, processors

    size = _size(args)
    tally = _Tally(args.seeds or (1 if args.explain or args.shrink else 20))
    crew = Crew(Work(size, not args.no_checks), min(args.jobs or processors(), tally.seeds))
    with contextlib.closing(crew), _stoppable(tally, crew, console):
        tally.progress(console)
        for verdict in crew.verdicts(args.seed, tally.seeds):
            tally.add(verdict)
            if verdict.violations:
                _tell(verdict, size, console, args)
                if args.shrink:
                    _shrink(verdict, size, console)
                    break
            elif args.explain:
                _explain(verdict.seed, size, console, args.timeline)
            tally.progress(console)
    tally.tell(console)
    return 1 if tally.violations else 0


def _compare(args: argparse.Namespace, console: Console) -> int:
    """Placement policies on the coarse model."""
    from lingua_scheduler.sim.scale import POLICIES, Fleet, compare

    nodes = args.nodes or 10_000
    fleet = Fleet(args.sessions or 1_000_000, nodes, min(args.cell, nodes), args.minutes or 1.0, args.load, args.seed)
    rows: list[dict[str, float | int | str]] = []
    console.line(f"{fleet.sessions} sessions, {nodes} nodes in {fleet.cells} cells; a coarse model: docs/simulation.md")
    for done, outcome in enumerate(compare(fleet)):
        rows.append(row := outcome.row())
        if not done:
            console.line("  ".join(name.rjust(12) for name in row))
        console.line("  ".join(str(value).rjust(max(12, len(name))) for name, value in row.items()))
        console.progress(done + 1, len(POLICIES), f"{done + 1} of {len(POLICIES)} policies")
    console.status("")
    if console.is_json:
        console.json({"sessions": fleet.sessions, "nodes": nodes, "cells": fleet.cells, "policies": rows})
    return 0


@contextlib.contextmanager
def _stoppable(tally: _Tally, crew: "Crew", console: Console) -> Generator[None]:
    """Ctrl-C tells what has been played and ends the process on the spot.

    An exception would rise in the middle of a world whose thousand tasks then end in each other's way, each with a line
    of its own; and nothing outside this process is to be tidied up.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        crew.kill()
        tally.tell(console)
        console.interrupted()
        sys.stdout.flush()
        os._exit(INTERRUPTED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _size(args: argparse.Namespace) -> "Size":
    from lingua_scheduler.sim.plan import EXTRAS, FAULTS, FIRST, Size

    every = (*FAULTS, *EXTRAS)
    named = {"all": every, "first": (*FIRST, *EXTRAS), "none": ()}.get(args.faults)
    faults = tuple(args.faults.split(",")) if named is None else named
    if unknown := [name for name in faults if name not in every]:
        raise UsageError(f"no fault is called {unknown[0]!r}; there are {', '.join(every)}")
    return Size(
        sessions=args.sessions or 6,
        nodes=args.nodes or 4,
        instances=args.instances,
        minutes=args.minutes if args.minutes is not None else 3.0,
        faults=faults,
        two_way=args.two_way,
    )


def _tell(verdict: "Verdict", size: "Size", console: Console, args: argparse.Namespace) -> None:
    from lingua_scheduler.sim.plan import make_plan
    from lingua_scheduler.sim.runner import judge
    from lingua_scheduler.sim.story import tell
    from lingua_scheduler.sim.timeline import draw

    console.line(console.paint(f"seed {verdict.seed} breaks a rule", "red"))
    for violation in verdict.violations[:_SHOWN]:
        console.line(f"  {violation}")
    if len(verdict.violations) > _SHOWN:
        console.line(f"  and {len(verdict.violations) - _SHOWN} more")
    is_story_wanted = args.explain or args.seeds in (None, 1)
    if not is_story_wanted and args.timeline is None:
        return
    # Another process played it, or this one: it is the same run.
    run = verdict.run or judge(make_plan(verdict.seed, size), checks=not args.no_checks).run
    assert run is not None
    if is_story_wanted:
        for line in tell(run, verdict.violations[0]):
            console.line(f"    {line}")
    if args.timeline is not None:
        args.timeline.write_text(draw(run, verdict.violations[0].session), encoding="utf-8")


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
