"""Seeds of whole fleets under faults: no rule may break. `LINGUA_SIM_SEEDS` says how many of each group (default 3)."""

import os

import pytest

from lingua_scheduler.sim.plan import EXTRAS, FAULTS, FIRST, FaultKind, Size, make_plan
from lingua_scheduler.sim.runner import judge

SEEDS = int(os.environ.get("LINGUA_SIM_SEEDS", "3"))
GROUPS = {
    "nothing": (),
    "clients": ("cut_client", "mute_client", "pause_client", "stall"),
    "slow nodes": ("slow_node", "pause_node", "drain_node", "poison", "skew"),
    "lost nodes": ("kill_node", "cut_node", "mute_node"),
    "lost instances": ("kill_instance", "drain_instance", "cut_client"),
    "repeated frames": ("repeat_client", "repeat_node", "cut_client", "cut_node"),
    "full queues": ("unread_client", "unread_node", "pause_client", "kill_node"),
    "redis": ("redis_down", "redis_slow", "redis_lossy"),
}

LOST_INSTANCES: tuple[FaultKind, ...] = ("kill_instance", "drain_instance", "cut_client")
ALL = (*FIRST, *EXTRAS)
EVERYTHING = (*FAULTS, *EXTRAS)
BUT_REDIS: tuple[FaultKind, ...] = tuple(
    one for one in FIRST if one not in ("redis_down", "redis_slow", "redis_lossy", "flush", "fail_over")
)
NO_REDIS = (*BUT_REDIS, *EXTRAS)
STORIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "the end of a long utterance was known to its owner alone, which died": (24, LOST_INSTANCES),
    "a node kept an end for an owner that was replaced, and said it after the next one had": (22, LOST_INSTANCES),
    "what an adopted job had to say first was taken from it with the next assignment": (9, LOST_INSTANCES),
    "an end was sent again in front of an utterance that did not follow it": (
        5,
        ("kill_node", "cut_node", "mute_node"),
    ),
    "the end of a long utterance was lost with answers of Redis": (27, ("redis_down", "redis_slow", "redis_lossy")),
    "an owner that was paused knew of ends that the next one did not": (
        29,
        ("kill_instance", "pause_instance", "drain_instance"),
    ),
    "the chunk that filled the last utterance counted as speech behind it, and its end was left": (34, FIRST),
    "a job waited for audio that a later one had taken along, and nobody looked again": (77, BUT_REDIS),
    "a result that went past an earlier one was told again under another number": (43, FIRST),
    "an attempt was placed and never sent, and what it was to say first was said by another": (38, NO_REDIS),
    "a result overtook the one whose end it says, which left that end to the next": (52, ALL),
    "an assignment whose answer was lost had arrived, and its utterance was said with the next too": (54, ALL),
    "an end was forgotten with the attempt that had taken it over, and counted on": (122, ALL),
    "the empty result behind a real one overtook it": (186, ALL),
    "the answer to a reading of the inbox was lost, and what came behind its entries overtook them": (83, ALL),
    "an utterance was answered again, for Redis had lost that it was": (298, ALL),
    "an utterance that its client had the answer of was told as lost": (313, ALL),
    "an utterance was cut anew, and the answer for the first cut was taken for it": (505, ALL),
    "the empty result behind a real one went another way, and arrived first": (572, EVERYTHING),
    "an utterance of which its owner alone knew was cut anew, and the first was asked for": (579, EVERYTHING),
    "an end was left while Redis was away, and its owner died before it was back": (41492, EVERYTHING),
    "an utterance was sent where its node had been when it was chosen, and the next one arrived": (70463, EVERYTHING),
    "a client came twice while Redis was slow, and its session was taken over twice by one instance": (
        80325,
        EVERYTHING,
    ),
    "an utterance merged into one that was sent with an end in front, and made that end look unsaid": (
        80279,
        EVERYTHING,
    ),
    "the result that left an end was lost, and its utterance was sent again with that end": (194, ALL),
}
"""Worlds that broke a rule once, and why: seed and faults."""
SHORT_STORIES = {
    "the last attempt left an end when whoever was to say it had failed": (853, 0),
    "instances told each other of a suspect node, each what it had heard from the other, without end": (915, 0),
    "the end of an utterance that had been at two nodes was said by the next at each": (2290, 0),
    "jobs whose owner died and whose sessions ended stayed in line": (3200, 0),
    "slots whose taking a fail-over had forgotten were given again, and nobody told Redis of the jobs in them": (
        4961,
        0,
    ),
    "slots were restored for jobs of an older connection of the node, whose owner had not heard that it was lost": (
        223,
        0,
    ),
    "a result that was kept for a paused owner, as the node said it, was taken for that owner's and not told again": (
        8637,
        0,
    ),
    "a session ended while a job had the ends of two others to say, and only the job was told as missing": (1022, 0.25),
}
"""The same of two minutes, with every fault; and the share of two-way sessions."""


HARSH_STORIES = {
    "an assignment was lost in an inbox, and its utterance counted as swallowed by a node that never had it": (
        63066,
        0,
    ),
    "a cancel overtook its assignment, which waited for an earlier cancel: the node said both": (63120, 0.25),
    "the choice of a node was repeated though the node had been lost since, and no slot was taken": (30040, 0),
}
"""The same of three minutes, with more than twice the faults; and the share of two-way sessions."""


@pytest.mark.parametrize("group", GROUPS)
def test_no_rule_breaks(group: str):
    told: list[str] = []
    for seed in range(1, SEEDS + 1):
        verdict = judge(make_plan(seed, Size(faults=GROUPS[group], minutes=1.5)))
        told += [f"seed {seed}: {one}" for one in verdict.violations]
        assert verdict.utterances, "somebody spoke"
    assert not told, "\n".join(told)


@pytest.mark.parametrize("story", STORIES)
def test_what_a_seed_once_found_stays_mended(story: str):
    seed, faults = STORIES[story]
    verdict = judge(make_plan(seed, Size(faults=faults)))
    assert not verdict.violations, "\n".join(map(str, verdict.violations))


@pytest.mark.parametrize("story", SHORT_STORIES)
def test_what_a_short_seed_once_found_stays_mended(story: str):
    seed, two_way = SHORT_STORIES[story]
    verdict = judge(make_plan(seed, Size(minutes=2, two_way=two_way)))
    assert not verdict.violations, "\n".join(map(str, verdict.violations))


@pytest.mark.parametrize("story", HARSH_STORIES)
def test_what_many_faults_once_found_stays_mended(story: str):
    seed, two_way = HARSH_STORIES[story]
    verdict = judge(make_plan(seed, Size(fault_every_ms=4_000, two_way=two_way)))
    assert not verdict.violations, "\n".join(map(str, verdict.violations))
