"""OPUS, M2M-100 and NLLB folders: the real path of loading on random weights, and how each family is asked."""

from pathlib import Path

import pytest

from lingua_scheduler.node.engines.base import EngineError, MtRequest
from lingua_scheduler.node.engines.codes import from_flores, from_three_letters
from lingua_scheduler.node.engines.ctranslate import CTranslate2, family_of
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.engines.text import sentences
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.node.tiny_translator import make_tiny_translator

EN, PT, ZH = Language("en"), Language("pt"), Language("zh")


def ignore(_text: str) -> None:
    return


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("models")
    return {
        "opus": make_tiny_translator(home / "opus-mt-en-pt", [">>por<<"], "source.spm"),
        "m2m100": make_tiny_translator(home / "m2m", ["__en__", "__pt__"], "sentencepiece.bpe.model"),
        "nllb": make_tiny_translator(home / "nllb", ["eng_Latn", "por_Latn", "zho_Hans"], "sentencepiece.bpe.model"),
    }


@pytest.mark.parametrize(
    ("family", "pairs", "source", "prefix"),
    [
        ("opus", "", ["▁", "h"], []),
        ("m2m100", "?pairs=en-pt", ["__en__", "▁"], ["__pt__"]),
        ("nllb", "?pairs=en-pt", ["eng_Latn", "▁"], ["por_Latn"]),
    ],
)
def test_each_family_is_asked_in_its_way(
    folders: dict[str, Path], family: str, pairs: str, source: list[str], prefix: list[str]
):
    engine = CTranslate2(parse_spec(f"ctranslate2:{folders[family]}{pairs}"))
    card = engine.load()
    assert card.pairs == ((EN, PT),)
    assert card.name.startswith(family)
    request = MtRequest("hello", EN, Language("pt-br"))
    pieces = engine._pieces(request.text, request)
    assert pieces[:1] == source[:1] or pieces[0].startswith("▁")
    assert pieces[-1] == "</s>"
    assert engine._target_prefix(request) == prefix
    answer = engine.run(MtRequest("hello my friend. how are you?", EN, PT), ignore).text
    assert not any(token in answer for token in ("__pt__", "por_Latn", "</s>"))
    assert answer == engine.run(MtRequest("hello my friend. how are you?", EN, PT), ignore).text
    assert engine.run(MtRequest("  ", EN, PT), ignore).text == ""


def test_an_opus_model_of_several_targets_is_told_which(folders: dict[str, Path]):
    engine = CTranslate2(parse_spec(f"ctranslate2:{folders['opus']}?prefix=>>por<<"))
    engine.load()
    assert engine._pieces("hello", MtRequest("hello", EN, PT))[0] == ">>por<<"


@pytest.mark.parametrize(
    ("family", "options", "says"),
    [
        ("nllb", "", "say which pairs to serve"),
        ("nllb", "?pairs=en-xx", "has no language xx"),
        ("opus", "?beams=2", "has no option 'beams'"),
    ],
)
def test_what_to_add_is_said(folders: dict[str, Path], family: str, options: str, says: str):
    with pytest.raises(EngineError, match=says) as caught:
        CTranslate2(parse_spec(f"ctranslate2:{folders[family]}{options}")).load()
    assert caught.value.code is ErrorCode.UNSUPPORTED_FEATURE


@pytest.mark.parametrize("file", ["model.bin", "config.json", "shared_vocabulary.json", "sentencepiece.bpe.model"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, file: str):
    folder = make_tiny_translator(tmp_path / "m2m", ["__en__", "__pt__"], "sentencepiece.bpe.model")
    engine = f"ctranslate2:{folder}?pairs=en-pt"
    (folder / file).write_bytes(b"[broken")
    with pytest.raises(EngineError, match=str(folder)) as caught:
        CTranslate2(parse_spec(engine)).load()
    assert caught.value.code is ErrorCode.MODEL_CORRUPTED
    (folder / file).unlink()
    with pytest.raises(EngineError, match=file) as caught:
        CTranslate2(parse_spec(engine)).load()
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.MODEL_NOT_AVAILABLE, False)


def test_codes_of_other_people():
    assert from_flores("por_Latn") == PT
    assert from_flores("zho_Hans") == ZH
    assert from_flores("zho_Hant") == "zh-tw"
    assert from_flores("Latn_por") is None
    assert from_flores("▁the") is None
    assert from_three_letters("spa") == "es"
    assert from_three_letters("en") == "en"
    assert family_of(["<s>", "a", "eng_Latn"]) == ("opus", {})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("One", ["One"]),
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ('"Go," said Mr. Dashwood. "Now."', ['"Go," said Mr. Dashwood.', '"Now."']),
        ("It is 3.14 at J. Smith's.", ["It is 3.14 at J. Smith's."]),
        ("我去上学。你呢？好！", ["我去上学。", "你呢？", "好！"]),
        ("Yes. No.", ["Yes.", "No."]),
    ],
)
def test_sentences(text: str, parts: list[str]):
    assert sentences(text) == parts
