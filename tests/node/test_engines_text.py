"""Cutting texts to an engine's length, and scripts that do not belong to a language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.engines.text import split_text, wrong_script
from lingua_scheduler.protocol.ids import Language


@given(st.text(alphabet="ab .,!?。，、\n", max_size=300), st.integers(1, 50))
def test_every_character_but_white_space_at_the_cuts_is_in_the_pieces_in_order(text: str, max_chars: int):
    pieces = split_text(text, max_chars)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= max_chars for piece in pieces)
    assert all(piece == piece.strip() for piece in pieces)


@pytest.mark.parametrize(
    ("text", "max_chars", "pieces"),
    [
        ("", 10, []),
        ("  \n", 10, []),
        ("short", 10, ["short"]),
        ("One sentence. Another one.", 20, ["One sentence.", "Another one."]),
        ("Dr. 3.14 is pi. So it is.", 18, ["Dr. 3.14 is pi.", "So it is."]),
        ("no end, but a clause here", 14, ["no end,", "but a clause", "here"]),
        ("我去上学。你去上班。", 6, ["我去上学。", "你去上班。"]),
        ("我去上学，你去上班", 6, ["我去上学，", "你去上班"]),
        ("x" * 25, 10, ["x" * 10, "x" * 10, "x" * 5]),
        ("A. " + "word " * 7, 20, ["A. word word word", "word word word word"]),
    ],
)
def test_cuts_are_made_at_the_best_place_that_fits(text: str, max_chars: int, pieces: list[str]):
    assert split_text(text, max_chars) == pieces


@pytest.mark.parametrize(
    ("text", "language", "script"),
    [
        ("Hello there", "en", None),
        ("привет, мир", "en", "Cyrillic"),
        ("你好世界", "pt-br", "Han"),
        ("Hello there", "zh", "Latin"),
        ("こんにちは世界", "ja", None),
        ("こんにちは", "zh", "Kana"),
        ("안녕하세요", "ko", None),
        ("Hello there", "ru", "Latin"),
        ("Γειά σου Κόσμε", "en", "Greek"),
        ("नमस्ते दुनिया", "hi", None),
        ("ação, coração, não", "pt", None),
        ("anything at all", "qx", None),
        ("", "en", None),
        ("123 … !?", "en", None),
        ("我用 iPhone 打电话给 Michael Jackson 的妈妈", "zh", None),
        ("我 love Michael Jackson", "zh", "Latin"),
        ("OK", "zh", None),
        ("Mr. Иванов", "en", None),
    ],
)
def test_a_text_mostly_in_another_script_is_noticed(text: str, language: str, script: str | None):
    assert wrong_script(text, Language(language)) == script
