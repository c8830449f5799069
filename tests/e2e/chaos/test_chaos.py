"""Fleets of real processes in trouble for five minutes in all, judged by the rules of the simulation."""

import asyncio
import dataclasses

import pytest

from tests.e2e.chaos.play import SIZE, judge
from tests.support.forking import Template

FLEETS = 2
MINUTES = 2.5
"""Each, side by side."""
SEED = 1


@pytest.mark.timeout(600)
async def test_no_rule_is_broken_by_fleets_in_trouble(template: Template):
    size = dataclasses.replace(SIZE, minutes=MINUTES)
    verdicts = await asyncio.gather(*(judge(seed, size, template) for seed in range(SEED, SEED + FLEETS)))
    for verdict in verdicts:
        assert not verdict.violations, verdict.told()
        assert verdict.faults > 10, verdict
        assert verdict.utterances > 20, verdict
