"""Translation in two steps through a language that two engines share: `pivot:pt?first=bergamot&second=apertium:pt-es`.

Both engines live in one process. It serves what the first one serves, and each pair that ends in the pivot language
continued by each pair of the second that begins there. English to Spanish through Portuguese, neural and then by rules
between two close languages, reads better than Apertium's own English to Spanish.
"""

from lingua_scheduler.node.engines import apertium, bergamot
from lingua_scheduler.node.engines.base import (
    Emit,
    Engine,
    EngineCard,
    Limits,
    MtEngine,
    MtRequest,
    MtResult,
    Stage,
    primary,
    serves,
)
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec, parse_spec
from lingua_scheduler.protocol.ids import Language, language

_PARTS = {kind.name: kind for kind in (bergamot.KIND, apertium.KIND)}


class Pivot:
    def __init__(self, spec: EngineSpec) -> None:
        spec.only("first", "second")
        self._spec = spec
        self._via = _via(spec)
        self._first: Engine[MtRequest, MtResult] = _part(spec, "first")
        self._second: Engine[MtRequest, MtResult] = _part(spec, "second")
        self._direct: tuple[tuple[Language, Language], ...] = ()

    def load(self) -> EngineCard:
        first, second = self._first.load(), self._second.load()
        self._direct = first.pairs
        through = [
            (source, target)
            for source, middle in first.pairs
            if primary(middle) == self._via
            for other, target in second.pairs
            if primary(other) == self._via and primary(target) != primary(source)
        ]
        return EngineCard(
            name=f"{first.name}, then {second.name} through {self._via}",
            stage=Stage.MT,
            pairs=(*first.pairs, *(pair for pair in through if pair not in first.pairs)),
            limits=Limits(
                max_chars=min(first.limits.max_chars, second.limits.max_chars),
                timeout_s=first.limits.timeout_s + second.limits.timeout_s,
            ),
        )

    def run(self, request: MtRequest, emit: Emit) -> MtResult:
        if any(serves((a,), request.source) and serves((b,), request.target) for a, b in self._direct):
            return self._first.run(request, emit)
        middle = self._first.run(MtRequest(request.text, request.source, self._via, request.context), emit)
        return self._second.run(MtRequest(middle.text, self._via, request.target), emit)


def _via(spec: EngineSpec) -> Language:
    found = language(spec.argument)
    if found is None:
        raise bad_spec("pivot wants the language in the middle: pivot:pt?first=bergamot&second=apertium:pt-es")
    return found


def _part(spec: EngineSpec, which: str) -> MtEngine:
    part = parse_spec(spec.text(which))
    kind = _PARTS.get(part.name)
    if kind is None:
        raise bad_spec(f"pivot: {which} must be one of {', '.join(_PARTS)}, not {part.name!r}")
    made = kind.make(part) if kind.make is not None else None
    assert isinstance(made, bergamot.Bergamot | apertium.Apertium), "the table above has these alone"
    return made


def _missing(spec: EngineSpec) -> str | None:
    for which in ("first", "second"):
        part = parse_spec(spec.text(which))
        if part.name in _PARTS and (problem := _PARTS[part.name].missing(part)) is not None:
            return problem
    return None


def _make(spec: EngineSpec) -> MtEngine:
    return Pivot(spec)


KIND = EngineKind(
    name="pivot",
    stage=Stage.MT,
    about="two translation engines in a row: pivot:pt?first=bergamot&second=apertium:pt-es",
    make=_make,
    missing=_missing,
)
