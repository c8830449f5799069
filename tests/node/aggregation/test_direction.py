"""Two-way conversation: out of the likelier language into the other."""

import math

import pytest

from lingua_scheduler.node.aggregation.direction import Direction, choose_direction
from lingua_scheduler.protocol.ids import Language

EN, ZH, FR = Language("en"), Language("zh"), Language("fr")
EN_ZH, ZH_EN = Direction(EN, ZH), Direction(ZH, EN)


@pytest.mark.parametrize(
    ("probabilities", "previous", "chosen"),
    [
        ({EN: 0.9, ZH: 0.1}, None, EN_ZH),
        ({EN: 0.1, ZH: 0.9}, None, ZH_EN),
        ({EN: 0.4, ZH: 0.41}, EN_ZH, ZH_EN),
        ({FR: 0.9, EN: 0.01, ZH: 0.02}, None, ZH_EN),  # a third language changes nothing
        ({EN: 0.2}, ZH_EN, EN_ZH),
        ({ZH: 0.2}, EN_ZH, ZH_EN),
        ({EN: 0.5, ZH: 0.5}, None, EN_ZH),
        ({EN: 0.5, ZH: 0.5}, ZH_EN, ZH_EN),
        ({EN: 0.5, ZH: 0.5}, EN_ZH, EN_ZH),
        ({EN: 0.5, ZH: 0.5}, Direction(FR, EN), EN_ZH),  # of another conversation
        ({}, None, EN_ZH),
        ({}, ZH_EN, ZH_EN),
        ({EN: math.nan, ZH: 0.1}, None, ZH_EN),
        ({EN: 0.1, ZH: math.nan}, None, EN_ZH),
        ({EN: -1.0, ZH: math.nan}, ZH_EN, ZH_EN),
    ],
)
def test_choice(probabilities: dict[Language, float], previous: Direction | None, chosen: Direction) -> None:
    assert choose_direction(EN, ZH, probabilities, previous) == chosen


@pytest.mark.parametrize(
    ("probabilities", "source"),
    [
        ({ZH: 0.9, EN: 0.1}, "zh-tw"),
        ({Language("zh-cn"): 0.3, Language("zh-tw"): 0.3, EN: 0.4}, "en"),  # named exactly, it counts alone
        ({Language("zh-cn"): 0.3, Language("zh-hk"): 0.3, EN: 0.4}, "zh-tw"),
        ({Language("en-gb"): 0.6, ZH: 0.4}, "en"),
    ],
)
def test_regions(probabilities: dict[Language, float], source: str) -> None:
    assert choose_direction(Language("zh-tw"), EN, probabilities).src == source


def test_two_regions_of_one_language_go_by_their_own_probability() -> None:
    pt, br = Language("pt-pt"), Language("pt-br")
    assert choose_direction(pt, br, {pt: 0.2, br: 0.7}) == Direction(br, pt)
    assert choose_direction(pt, br, {Language("pt"): 0.9}) == Direction(pt, br)
