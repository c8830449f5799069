"""The page of states shows what the code does."""

from collections import defaultdict
from enum import StrEnum

import pytest

from tests.tidy import states_doc
from tests.tidy.states_doc import DRAWINGS, Drawing


def test_the_page_of_states_is_current():
    assert states_doc.DOCUMENT.read_text() == states_doc.document(), "run: python -m tests.tidy.states_doc"


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.title)
def test_every_state_says_what_it_means(drawing: Drawing):
    assert set(states_doc.meanings(drawing.states)) == {state.name for state in drawing.states}


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda drawing: drawing.title)
def test_every_state_can_be_reached_and_left(drawing: Drawing):
    after: defaultdict[StrEnum, set[StrEnum]] = defaultdict(set)
    for one, other in drawing.transitions:
        after[one].add(other)
    first = next(iter(drawing.states))
    reached, fresh = {first}, [first]
    while fresh:
        found = after[fresh.pop()] - reached
        reached |= found
        fresh += found

    assert reached == set(drawing.states)
    assert {state for state in drawing.states if not after[state]} == ({drawing.final} if drawing.final else set())


class _Half(StrEnum):
    TOLD = "told"
    """Means something."""
    UNTOLD = "untold"


def test_a_state_without_a_meaning_is_noticed():
    assert states_doc.meanings(_Half) == {"TOLD": "Means something."}
