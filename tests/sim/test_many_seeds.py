"""Seeds of ten simulated minutes, everything that can go wrong in them: no rule may break.

In pieces, so that all workers of a test run have some. `LINGUA_SIM_LONG_SEEDS` says how many seeds (default 200).
"""

import os

import pytest

from lingua_scheduler.sim.plan import Size
from lingua_scheduler.sim.runner import judge_seeds

SEEDS = int(os.environ.get("LINGUA_SIM_LONG_SEEDS", "200"))
PIECE = 5
MINUTES = 10
TWO_WAY = 0.25
"""As the command has it where nothing else is said."""


@pytest.mark.parametrize("first", range(1, SEEDS + 1, PIECE))
def test_no_rule_breaks_in_ten_minutes(first: int):
    told: list[str] = []
    for verdict in judge_seeds(range(first, first + PIECE), Size(minutes=MINUTES, two_way=TWO_WAY)):
        again = f"lingua simulate --seed {verdict.seed} --seeds 1 --minutes {MINUTES}"
        told += [f"{again}: {one}" for one in verdict.violations]
        assert verdict.utterances, "somebody spoke"
    assert not told, "\n".join(told)
