"""Chaos by hand: `python -m tests.e2e.chaos --minutes 10 --seed 7 --fleets 2`. Exit code 1 where a rule was broken."""

import argparse
import asyncio
import dataclasses
import os
import sys

from tests.e2e.chaos.instance import PLANT
from tests.e2e.chaos.play import SIZE, Verdict, judge
from tests.e2e.chaos.world import ALL
from tests.e2e.fleet import IMPORTED
from tests.sim.test_planted_bugs import BUGS
from tests.support.forking import Template


async def play(first: int, fleets: int, minutes: float, faults: tuple[str, ...]) -> list[Verdict]:
    """Several fleets side by side, a seed each."""
    size = dataclasses.replace(SIZE, minutes=minutes, faults=faults)
    with Template.of(*IMPORTED) as template:
        return list(await asyncio.gather(*(judge(seed, size, template) for seed in range(first, first + fleets))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of trouble (default 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the first fleet (default 1)")
    parser.add_argument("--fleets", type=int, default=1, help="side by side, each with a seed of its own (default 1)")
    parser.add_argument("--faults", default=",".join(SIZE.faults), help="(default: %(default)s); `all` adds flush")
    parser.add_argument("--plant", choices=BUGS, help="a bug that every instance shall have: it is to be found")
    args = parser.parse_args()
    if args.plant:
        os.environ[PLANT] = args.plant
    faults = ALL if args.faults == "all" else tuple(args.faults.split(","))
    if unknown := set(faults) - set(ALL):
        parser.error(f"no such faults: {sorted(unknown)}; there are {', '.join(ALL)}")
    verdicts = asyncio.run(play(args.seed, args.fleets, args.minutes, faults))
    for verdict in verdicts:
        sys.stdout.write(f"{verdict.told() if verdict.violations else verdict}\n")
    return int(any(verdict.violations for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
