"""Sizes, ends, seams and repeats of texts in several scripts, and the words that end nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.aggregation.lexicon import ends_open
from lingua_scheduler.node.aggregation.writing import ends_sentence, join, size, tokens, without_repeat
from lingua_scheduler.protocol.ids import Language


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("one two", ["one", " two"]),
        (" one, two. ", [" one,", " two."]),
        ("我们 去", ["我", "们", " 去"]),
        ("用Python吧。", ["用", "Python", "吧", "。"]),
        ("한국어 말", ["한국어", " 말"]),
        ("ｶﾅカナ", ["ｶ", "ﾅ", "カ", "ナ"]),
    ],
)
def test_tokens(text: str, pieces: list[str]) -> None:
    assert tokens(text) == pieces


@given(st.text())
def test_tokens_lose_nothing_but_space_at_the_end(text: str) -> None:
    assert "".join(tokens(text)).rstrip() == text.rstrip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, False)),
        ("?!", (0, False)),
        ("one two, three", (3, False)),
        ("我们走。", (3, True)),
        ("用 Python", (2, True)),
        ("the word 好 means good", (5, False)),
        ("네 맞아요", (2, False)),
    ],
)
def test_size(text: str, expected: tuple[int, bool]) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("end", list("。！？.!?；;"))
def test_sentence_ends(end: str) -> None:
    assert ends_sentence(f"so{end}")
    assert ends_sentence(f'"so{end}" ')
    assert not ends_sentence(f"so{end} it")


@pytest.mark.parametrize("text", ["", " ", "so", "so,", "那么，", "、"])
def test_no_sentence_end(text: str) -> None:
    assert not ends_sentence(text)


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        ([], ""),
        (["a", "b"], "a b"),
        ([" a ", "", "  ", "b"], "a b"),
        (["你好。", "再见"], "你好。再见"),
        (["こんにちは", "元気"], "こんにちは元気"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["我用", "Python"], "我用Python"),
        (["Python", "很好"], "Python很好"),
        (["Hello.", "World"], "Hello. World"),
    ],
)
def test_join(texts: list[str], joined: str) -> None:
    assert join(texts) == joined


@pytest.mark.parametrize(
    ("previous", "current", "shared_ms", "left"),
    [
        ("we like apples", "like apples and pears", 1000, "and pears"),
        ("We like apples.", "Apples, and pears", 1000, "and pears"),
        ("我喜欢苹果", "苹果和梨", 500, "和梨"),
        ("我喜欢苹果。", "苹果，和梨", 500, "和梨"),
        ("ab", "b c", 1000, "b c"),  # one letter proves nothing
        ("the theme", "me too", 1000, "me too"),  # half a word is no word
        ("a b a b", "a b a b c", 1000, "c"),  # the longest repeat
        ("x a b", "a b a b", 1000, "a b"),
        ("继续", "继续", 500, ""),
        ("like apples", "like apples too", 0, "like apples too"),
        ("like apples", "like apples too", -300, "like apples too"),
        ("like apples", "like apples too", 399, "like apples too"),
        ("like apples", "like apples too", 400, "too"),
        ("x" * 50, "x" * 50 + " y", 10_000, "y"),
        ("x" * 51, "x" * 51 + " y", 10_000, "x" * 51 + " y"),
        ("", "a b", 1000, "a b"),
        ("a b", "", 1000, ""),
        ("...", "... so", 1000, "... so"),
    ],
)
def test_without_repeat(previous: str, current: str, shared_ms: float, left: str) -> None:
    assert without_repeat(previous, current, shared_ms) == left


@given(st.text("ab 苹果，", max_size=20), st.text("ab 苹果，", max_size=20), st.floats(-100, 3000))
def test_a_repeat_is_only_ever_taken_from_the_front(previous: str, current: str, shared_ms: float) -> None:
    left = without_repeat(previous, current, shared_ms)
    assert left == current or current.rstrip().endswith(left)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("I came home and", "en"),
        ("I came home, and...", "en-us"),
        ("it is, you know,", "en"),
        ("Um", "en"),
        ("我想去但是", "zh"),
        ("我想去，但是，", "zh-cn"),
        ("我想去，嗯", "zh"),
        ("因為", "yue"),
        ("行きたいけど", "ja"),
        ("えっと。", "ja"),
        ("가고 싶은데 그런데", "ko"),
        ("음", "ko"),
        ("예를 들면", "ko"),
        ("I came home and", ""),
        ("我想去但是", "auto"),
    ],
)
def test_ends_open(text: str, language: str) -> None:
    assert ends_open(text, Language(language))


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("I came home", "en"),
        ("it is sand", "en"),
        ("我想去", "zh"),
        ("行きたい", "ja"),
        ("가고 싶어요", "ko"),
        ("ich kam so", "de"),
        ("anything and", "fr"),
    ],
)
def test_ends_closed(text: str, language: str) -> None:
    assert not ends_open(text, Language(language))
