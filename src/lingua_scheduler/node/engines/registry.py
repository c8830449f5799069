"""Engines by name: the shipped ones, and those of third parties through the entry points `lingua_scheduler.engines`."""

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points

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
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec

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


@functools.cache
def kinds() -> Mapping[str, EngineKind]:
    """Every kind by name. A shipped name wins over a third party's."""
    found: dict[str, EngineKind] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        kind: object = point.load()
        if not isinstance(kind, EngineKind):
            raise bad_spec(f"entry point {point.name!r} of {ENTRY_POINT_GROUP} is not an EngineKind")
        found[kind.name] = kind
    return found | {kind.name: kind for kind in SHIPPED}


def kind_of(spec: EngineSpec) -> EngineKind:
    """EngineError UNSUPPORTED_FEATURE for a name that nobody offers; it lists the names there are."""
    kind = kinds().get(spec.name)
    if kind is None:
        raise bad_spec(f"there is no engine {spec.name!r}; there are: {', '.join(sorted(kinds()))}")
    return kind
