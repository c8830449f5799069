"""Partial texts: what two decodes agree on is stable for good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.aggregation.prefix import Partial, StablePrefix


def partials(*decodes: str) -> list[tuple[str, str]]:
    """(stable, the rest) after each decode."""
    prefix = StablePrefix()
    added = [prefix.add(decode) for decode in decodes]
    return [(partial.stable, partial.text[partial.stable_chars :]) for partial in added]


def test_the_first_decode_commits_nothing() -> None:
    assert StablePrefix().add("one two") == Partial("one two", 0)


def test_words_that_two_decodes_share_are_stable() -> None:
    assert partials("one two", "one two three", "one two tree four", "one two tree four five") == [
        ("", "one two"),
        ("one two", " three"),
        ("one two", " tree four"),
        ("one two tree four", " five"),
    ]


def test_a_word_is_stable_as_a_whole_or_not_at_all() -> None:
    assert partials("I thin", "I think so")[1] == ("I", " think so")


def test_punctuation_must_agree_too() -> None:
    assert partials("one two.", "one two, three", "one two, three")[1:] == [
        ("one", " two, three"),
        ("one two, three", ""),
    ]


def test_characters_are_words_where_no_spaces_are_written() -> None:
    assert partials("今天天", "今天田气", "今天田气好") == [("", "今天天"), ("今天", "田气"), ("今天田气", "好")]


@pytest.mark.parametrize(
    ("later", "text"),
    [
        ("won two three", "one two three"),  # changed its mind about a committed word
        ("one and two three", "one two three"),  # found a word before the end of what is committed
        ("two three", "one two three"),  # lost one
        ("One Two three", "one two three"),
        ("quite other words here", "one two words here"),
        ("one", "one two"),
        ("", "one two"),
    ],
)
def test_what_is_stable_survives_a_decode_that_hears_it_otherwise(later: str, text: str) -> None:
    prefix = StablePrefix()
    prefix.add("one two")
    assert prefix.add("one two").stable == "one two"
    assert prefix.add(later).text == text


def test_commits_go_on_after_a_decode_that_changed_its_mind() -> None:
    assert partials("one two", "one two", "One two three", "One two three four")[-1] == ("one two three", " four")


def test_the_last_decode_is_stable_altogether() -> None:
    prefix = StablePrefix()
    prefix.add("one two")
    prefix.add("one two three")
    assert prefix.finish("one, two three four.") == Partial("one two three four.", 19)
    assert StablePrefix().finish(" so ") == Partial("so", 2)


def test_stable_chars_count_code_points() -> None:
    prefix = StablePrefix()
    prefix.add("😀 好")
    assert prefix.add("😀 好").stable_chars == 3


@given(st.lists(st.text("ab 我们.", max_size=15), max_size=12), st.text("ab 我们.", max_size=15))
def test_a_stable_prefix_only_ever_grows(decodes: list[str], last: str) -> None:
    prefix = StablePrefix()
    stable = ""
    for decode in decodes:
        partial = prefix.add(decode)
        assert partial.text.startswith(partial.stable)
        assert partial.stable.startswith(stable)
        stable = partial.stable
    end = prefix.finish(last)
    assert end.stable == end.text
    assert end.text.startswith(stable)
