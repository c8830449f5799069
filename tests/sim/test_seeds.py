"""Seeds of whole fleets under faults: no rule may break. `LINGUA_SIM_SEEDS` says how many of each group (default 6)."""

import os

import pytest

from lingua_scheduler.sim.plan import Size, make_plan
from lingua_scheduler.sim.runner import judge

SEEDS = int(os.environ.get("LINGUA_SIM_SEEDS", "6"))
EVERY = frozenset({"R0", "R1", "R2", "R3", "R4", "R5", "R6", "R7"})
BEYOND_DOUBT = frozenset({"R0", "R3", "R4", "R5", "R6", "R7"})
"""Where replies of Redis are lost, R1 and R2 have open findings (docs/simulation.md)."""

GROUPS = {
    "nothing": ((), EVERY),
    "clients": (("cut_client", "mute_client", "pause_client", "stall"), EVERY),
    "slow nodes": (("slow_node", "pause_node", "drain_node", "poison", "skew"), EVERY),
    "lost nodes": (("kill_node", "cut_node", "mute_node"), EVERY - {"R2"}),
    "redis": (("redis_down", "redis_slow", "redis_lossy"), BEYOND_DOUBT),
}


@pytest.mark.parametrize("group", GROUPS)
def test_no_rule_breaks(group: str):
    faults, rules = GROUPS[group]
    told: list[str] = []
    for seed in range(1, SEEDS + 1):
        verdict = judge(make_plan(seed, Size(faults=faults, minutes=1.5)))
        told += [f"seed {seed}: {one}" for one in verdict.violations if one.rule in rules]
        assert verdict.utterances, "somebody spoke"
    assert not told, "\n".join(told)
