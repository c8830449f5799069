"""Word errors are counted as people count them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.client.scoring import is_unspaced, word_errors, words

WORDS = st.lists(st.sampled_from(["one", "two", "three", "and"]), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("said", "heard", "errors", "count"),
    [
        ("he was not an ill disposed young man", "He was not an ill-disposed young man.", 0, 8),
        ("mister john dashwood", "Mr. John Dashwood", 0, 3),
        ("go forward ten meters", "Go forward 10 meters.", 0, 4),
        ("a b c", "a x c", 1, 3),
        ("a b c", "a c", 1, 3),
        ("a c", "a b c", 1, 2),
        ("a b c", "", 3, 3),
        ("", "a", 1, 0),
        ("我非常喜欢吃苹果", "我非常喜欢吃香蕉", 2, 8),
        ("it's", "it’s", 0, 1),
    ],
)
def test_errors_are_counted(said: str, heard: str, errors: int, count: int):
    found = word_errors(said, heard)

    assert (found.errors, found.words) == (errors, count)


def test_numbers_are_read_out():
    assert " ".join(words("7 40 342 100 2024")) == "seven forty three hundred forty two one hundred 2024"


@pytest.mark.parametrize(
    ("text", "unspaced"), [("我非常喜欢", True), ("さくら", True), ("naïve café", False), ("", False)]
)
def test_languages_written_without_spaces_are_compared_by_characters(text: str, unspaced: bool):
    assert is_unspaced(text) is unspaced


def test_the_rate_is_errors_per_word_said():
    assert word_errors("a b c d", "a b c x").rate == 0.25
    assert word_errors("", "").rate == 0.0
    assert word_errors("", "a").rate == 1.0


@given(WORDS, WORDS, WORDS)
def test_the_count_is_a_distance(a: str, b: str, c: str):
    assert word_errors(a, a).errors == 0
    assert word_errors(a, b).errors == word_errors(b, a).errors
    assert word_errors(a, c).errors <= word_errors(a, b).errors + word_errors(b, c).errors
