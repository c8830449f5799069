"""Engines by name: the shipped ones, and those of third parties through the entry points `lingua_scheduler.engines`."""

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from lingua_scheduler.node.engines import (
    apertium,
    bergamot,
    ctranslate,
    espeak,
    openai_sound,
    openai_text,
    pico,
    piper,
    pivot,
    scripted,
    whisper,
    wyoming,
)
from lingua_scheduler.node.engines.base import EngineError
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec
from lingua_scheduler.protocol.errors import ErrorCode

ENTRY_POINT_GROUP = "lingua_scheduler.engines"

SHIPPED: tuple[EngineKind, ...] = (
    whisper.KIND,
    bergamot.KIND,
    apertium.KIND,
    pivot.KIND,
    ctranslate.KIND,
    espeak.KIND,
    pico.KIND,
    piper.KIND,
    *openai_sound.KINDS,
    *openai_text.KINDS,
    *wyoming.KINDS,
    *scripted.KINDS,
)


_SHIPPED_BY_NAME: Mapping[str, EngineKind] = {kind.name: kind for kind in SHIPPED}


@functools.cache
def third_parties() -> Mapping[str, EntryPoint]:
    """Entry points by the name of the engine that each offers; none is imported before it is asked for."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def names() -> tuple[str, ...]:
    """Every engine there is."""
    return tuple(sorted({*_SHIPPED_BY_NAME, *third_parties()}))


def kind_of(spec: EngineSpec) -> EngineKind:
    """The shipped kind of that name, else a third party's.

    EngineError UNSUPPORTED_FEATURE for a name that nobody offers, with those there are; MODEL_LOAD_FAILED where a third
    party's package cannot be imported.
    """
    shipped = _SHIPPED_BY_NAME.get(spec.name)
    if shipped is not None:
        return shipped
    point = third_parties().get(spec.name)
    if point is None:
        raise bad_spec(f"there is no engine {spec.name!r}; there are: {', '.join(names())}")
    try:
        kind: object = point.load()
    except Exception as error:
        message = f"engine {spec.name} ({point.value}) cannot be imported: {type(error).__name__}: {error}"
        raise EngineError(ErrorCode.MODEL_LOAD_FAILED, message, retryable=False) from error
    if not isinstance(kind, EngineKind):
        raise bad_spec(f"engine {spec.name} ({point.value}) is not an EngineKind")
    return kind
