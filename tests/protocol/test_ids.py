"""Ids and languages that come from peers."""

import pytest

from lingua_scheduler.protocol.ids import language, valid_id


@pytest.mark.parametrize("text", ["a", "node-1", "A.b_c-9", "x" * 128, "0"])
def test_a_harmless_id_may_be_used(text: str):
    assert valid_id(text)


@pytest.mark.parametrize("text", ["", "-a", ".", "a b", "a:b", "a{b}", "a*", "é", "x" * 129, "a\n", "a/b", "a\0"])
def test_an_id_that_could_mean_something_elsewhere_is_refused(text: str):
    assert not valid_id(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [("en", "en"), (" EN ", "en"), ("zh_TW", "zh-tw"), ("zh-Hant-TW", "zh-hant-tw"), ("yue", "yue")],
)
def test_a_language_code_is_lower_case_with_hyphens(text: str, code: str):
    assert language(text) == code


@pytest.mark.parametrize("text", ["", "e", "auto", "english", "en-", "en--us", "e1", "en:es", "en-us-x-y", "*"])
def test_what_is_no_language_code_is_none(text: str):
    assert language(text) is None
