"""Translation models in CTranslate2 form out of a folder: OPUS (Marian), M2M-100 and NLLB.

The vocabulary tells the family, and with it how a language is asked for: an OPUS model has one pair, M2M-100 has tokens
such as `__pt__`, NLLB such as `por_Latn`. The folder must hold `model.bin`, `config.json`, the vocabulary, and the
SentencePiece model that the weights were trained with (CTranslate2's converter copies it on request: `--copy_files`).

Sentences are translated one by one (as one batch): these models were trained on single sentences and drop others.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from lingua_scheduler.node.aggregation.writing import join
from lingua_scheduler.node.engines.base import (
    Emit,
    EngineCard,
    EngineError,
    Limits,
    MtEngine,
    MtRequest,
    MtResult,
    Stage,
    primary,
)
from lingua_scheduler.node.engines.codes import from_flores, from_three_letters
from lingua_scheduler.node.engines.kind import EngineKind, missing_module
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec
from lingua_scheduler.node.engines.text import sentences
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language

Pair = tuple[Language, Language]
Family = Literal["opus", "m2m100", "nllb"]

_END: Final = "</s>"
_VOCABULARIES: Final = ("shared_vocabulary", "source_vocabulary")
_SOURCE_PIECES: Final = ("source.spm", "sentencepiece.bpe.model", "spiece.model", "sentencepiece.model", "spm.model")
_TARGET_PIECES: Final = ("target.spm", *_SOURCE_PIECES)
_M2M_TOKEN = re.compile(r"__([a-z]{2,3})__")
_OPUS_FOLDER = re.compile(r"(?:^|[-_])([a-z]{2,3})[-_]([a-z]{2,3})$")
_LONGER = 3
"""No translation is more than three times as many pieces; what is, repeats itself."""


class CTranslate2:
    """Options: pairs, device, device_index, compute_type, threads, beam, prefix (such as `>>por<<`, for OPUS models
    with several targets).
    """

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("pairs", "device", "device_index", "compute_type", "threads", "beam", "prefix")
        self._spec = spec
        self._folder = Path(spec.argument).expanduser()
        self._family: Family = "opus"
        self._tokens: dict[Language, str] = {}
        self._adds_end = False
        self._translator: Any = None
        self._source: Any = None
        self._target: Any = None

    def load(self) -> EngineCard:
        problem = _missing(self._spec)
        if problem is not None:
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, problem, retryable=False)
        try:
            self._open()
        except EngineError:
            raise
        except Exception as error:  # both libraries raise RuntimeError and more for damaged files
            message = f"{self._folder}: {error}"
            raise EngineError(ErrorCode.MODEL_CORRUPTED, message, retryable=False) from error
        pairs = self._pairs()
        source, target = pairs[0]
        self.run(MtRequest("1.", source, target), lambda _text: None)
        device = self._spec.text("device", "cpu")
        return EngineCard(
            name=f"{self._family} {self._folder.name} ({device}, {self._translator.compute_type})",
            stage=Stage.MT,
            pairs=pairs,
            limits=Limits(max_chars=400, timeout_s=20.0),
            notes=(f"the weights of {self._folder.name} are the user's own: no checksum is known",),
        )

    def run(self, request: MtRequest, emit: Emit) -> MtResult:
        del emit
        parts = sentences(request.text)
        if not parts:
            return MtResult("")
        pieces = [self._pieces(part, request) for part in parts]
        prefix = self._target_prefix(request)
        found = self._translator.translate_batch(
            pieces,
            target_prefix=[prefix] * len(pieces) if prefix else None,
            beam_size=int(self._spec.number("beam", 2)),
            max_decoding_length=20 + _LONGER * max(map(len, pieces)),
        )
        marks = set(self._tokens.values())
        spoken = ([piece for piece in one.hypotheses[0] if piece not in marks] for one in found)
        return MtResult(join([str(self._target.decode(pieces)) for pieces in spoken]))

    def _open(self) -> None:
        import ctranslate2
        import sentencepiece

        device = self._spec.text("device", "cpu")
        if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
            raise EngineError(ErrorCode.NO_GPU_AVAILABLE, "device=cuda, but CUDA finds no GPU here", retryable=False)
        self._translator = ctranslate2.Translator(
            str(self._folder),
            device=device,
            device_index=int(self._spec.number("device_index", 0)),
            compute_type=self._spec.text("compute_type", "int8" if device == "cpu" else "float16"),
            inter_threads=1,
            intra_threads=int(self._spec.number("threads", 1)),
        )
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(_first(self._folder, _SOURCE_PIECES)))
        self._target = sentencepiece.SentencePieceProcessor(model_file=str(_first(self._folder, _TARGET_PIECES)))
        self._family, self._tokens = family_of(_vocabulary(self._folder))
        config: dict[str, Any] = json.loads((self._folder / "config.json").read_text("utf-8"))
        self._adds_end = bool(config.get("add_source_eos"))

    def _pairs(self) -> tuple[Pair, ...]:
        """The pairs of the spec, checked; for an OPUS model else the one in its folder's name (`opus-mt-en-zh`)."""
        given = self._spec.pairs()
        if self._family == "opus":
            named = _OPUS_FOLDER.search(self._folder.name)
            both = [from_three_letters(code) for code in named.groups()] if named else [None, None]
            if not given and both[0] and both[1]:
                given = ((both[0], both[1]),)
        else:
            unknown = [one for pair in given for one in pair if self._token(one) is None]
            if unknown:
                raise bad_spec(f"{self._folder.name} has no language {unknown[0]}")
        if not given:
            raise bad_spec(f"say which pairs to serve: ctranslate2:{self._spec.argument}?pairs=en-pt+pt-en")
        return given

    def _token(self, wanted: Language) -> str | None:
        return self._tokens.get(wanted) or self._tokens.get(primary(wanted))

    def _pieces(self, text: str, request: MtRequest) -> list[str]:
        pieces: list[str] = self._source.encode(text, out_type=str)
        first = self._spec.text("prefix") if self._family == "opus" else self._token(request.source)
        end = [] if self._adds_end else [_END]
        return [*([first] if first else []), *pieces, *end]

    def _target_prefix(self, request: MtRequest) -> list[str]:
        token = None if self._family == "opus" else self._token(request.target)
        return [token] if token else []


def family_of(vocabulary: Sequence[str]) -> tuple[Family, dict[Language, str]]:
    """The family of a vocabulary and its token for each language."""
    flores = {code: token for token in vocabulary if (code := from_flores(token)) is not None}
    if len(flores) > 1:
        return "nllb", flores
    m2m: dict[Language, str] = {}
    for token in vocabulary:
        match = _M2M_TOKEN.fullmatch(token)
        code = language(match[1]) if match else None
        if code is not None:
            m2m[code] = token
    return ("m2m100", m2m) if len(m2m) > 1 else ("opus", {})


def _vocabulary(folder: Path) -> list[str]:
    for name in _VOCABULARIES:
        if (path := folder / f"{name}.json").is_file():
            return list(map(str, json.loads(path.read_text("utf-8"))))
        if (path := folder / f"{name}.txt").is_file():
            return path.read_text("utf-8").split("\n")
    raise FileNotFoundError(f"{folder / _VOCABULARIES[0]}.json")


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _missing(spec: EngineSpec) -> str | None:
    problem = missing_module("ctranslate2", "ctranslate2") or missing_module("sentencepiece", "ctranslate2")
    if problem is not None:
        return problem
    folder = Path(spec.argument).expanduser()
    if not spec.argument or not folder.is_dir():
        return (
            f"there is no folder {spec.argument!r}: give that of a CTranslate2 model, ctranslate2:/models/opus-mt-en-zh"
        )
    wanted = {
        "model.bin": (folder / "model.bin").is_file(),
        "config.json": (folder / "config.json").is_file(),
        "shared_vocabulary.json": any((folder / f"{a}.{b}").is_file() for a in _VOCABULARIES for b in ("json", "txt")),
        "source.spm (or sentencepiece.bpe.model)": _first(folder, _SOURCE_PIECES) is not None,
    }
    absent = [name for name, there in wanted.items() if not there]
    return f"{folder / absent[0]} is missing: convert the model with ct2-transformers-converter" if absent else None


def _make(spec: EngineSpec) -> MtEngine:
    return CTranslate2(spec)


KIND = EngineKind(
    name="ctranslate2",
    stage=Stage.MT,
    about="OPUS, M2M-100 or NLLB: the folder of a CTranslate2 model and its SentencePiece model; option pairs",
    make=_make,
    missing=_missing,
)
