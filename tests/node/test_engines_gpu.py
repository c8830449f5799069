"""Engines on a GPU: what they are asked for, and the one clear line where there is none.

No test machine has a GPU. What would be loaded onto one is recorded in place of being loaded; the rest is real.
"""

from pathlib import Path
from typing import Any, cast

import ctranslate2
import faster_whisper
import pytest

from lingua_scheduler.node.app import NodeApp, NodeFailed
from lingua_scheduler.node.engines.base import EngineError
from lingua_scheduler.node.engines.ctranslate import CTranslate2
from lingua_scheduler.node.engines.spec import parse_spec
from lingua_scheduler.node.engines.whisper import Whisper
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.config import NodeConfig
from tests.node.tiny_translator import make_tiny_translator
from tests.node.tiny_whisper import make_tiny_whisper

HAS_GPU: bool = cast("Any", ctranslate2).get_cuda_device_count() > 0
without_gpu = pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")


class Loaded(Exception):  # noqa: N818 - ends a load that was wanted
    """A model would be loaded with these arguments."""


@pytest.fixture
def engines(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "whisper").mkdir()
    whisper = make_tiny_whisper(tmp_path / "whisper")
    opus = make_tiny_translator(tmp_path / "opus-mt-en-pt", [">>por<<"], "source.spm")
    return {"whisper": f"whisper:{whisper}", "ctranslate2": f"ctranslate2:{opus}"}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two."""

    def load(*_folder: str, **arguments: Any) -> None:
        raise Loaded(arguments)

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 2)
    monkeypatch.setattr(faster_whisper, "WhisperModel", load)
    monkeypatch.setattr(ctranslate2, "Translator", load)


def load(engine: str) -> None:
    spec = parse_spec(engine)
    (Whisper(spec) if engine.startswith("whisper") else CTranslate2(spec)).load()


@pytest.mark.parametrize("name", ["whisper", "ctranslate2"])
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("device=cuda", ("cuda", 0, "float16")),
        ("device=cuda&device_index=1&compute_type=int8_float16", ("cuda", 1, "int8_float16")),
        ("compute_type=float32", ("cpu", 0, "float32")),
        ("", ("cpu", 0, "int8")),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_device_and_type_are_those_asked_for(
    engines: dict[str, str], name: str, options: str, wanted: tuple[str, int, str]
):
    with pytest.raises((Loaded, EngineError)) as caught:
        load(f"{engines[name]}?{options}")
    told = caught.value if isinstance(caught.value, Loaded) else caught.value.__cause__
    assert isinstance(told, Loaded), caught.value
    arguments: dict[str, Any] = told.args[0]
    assert (arguments["device"], arguments["device_index"], arguments["compute_type"]) == wanted


@without_gpu
@pytest.mark.parametrize("name", ["whisper", "ctranslate2"])
def test_without_a_gpu_an_engine_says_so(engines: dict[str, str], name: str):
    with pytest.raises(EngineError, match="device=cuda, but CUDA finds no GPU here") as caught:
        load(f"{engines[name]}?device=cuda")
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.NO_GPU_AVAILABLE, False)


@without_gpu
async def test_without_a_gpu_a_node_ends_with_one_line(engines: dict[str, str]):
    chain = f"{engines['whisper']}?device=cuda,scripted-mt,scripted-tts"
    with pytest.raises(NodeFailed) as caught:
        await NodeApp(NodeConfig(url="ws://127.0.0.1:9/ws/node", engines=chain)).run()
    told = str(caught.value)
    assert "no GPU" in told
    assert "\n" not in told
