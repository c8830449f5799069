"""A kind of engine: what a module, ours or a third party's, offers under one name.

A third party declares an entry point in the group `lingua_scheduler.engines` whose value is an `EngineKind`.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from lingua_scheduler.node.engines.base import AnyAsyncEngine, AnyEngine, Stage
from lingua_scheduler.node.engines.spec import EngineSpec


def nothing_missing(_spec: EngineSpec) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """How to make one engine. Exactly one of `make` and `make_async` is set: it decides where the engine runs."""

    name: str
    stage: Stage
    about: str
    """One line for people: what it is and what its argument means."""
    make: Callable[[EngineSpec], AnyEngine] | None = None
    """Cheap: reads the spec, loads nothing. EngineError UNSUPPORTED_FEATURE for an option it does not have."""
    make_async: Callable[[EngineSpec], AnyAsyncEngine] | None = None
    missing: Callable[[EngineSpec], str | None] = nothing_missing
    """What is missing for this spec to load, with its remedy, or None; loads and imports nothing heavy."""

    def __post_init__(self) -> None:
        assert (self.make is None) != (self.make_async is None), f"{self.name}: one of make and make_async"


def missing_module(module: str, extra: str) -> str | None:
    """A remedy where a Python package is absent: `pip install "lingua-scheduler[extra]"`."""
    if importlib.util.find_spec(module) is not None:
        return None
    return f'the Python package of {module} is missing: pip install "lingua-scheduler[{extra}]"'
