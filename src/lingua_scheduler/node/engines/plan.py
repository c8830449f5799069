"""Which engines a node runs, each in how many processes, and what a person should be told about the choice."""

import os
from dataclasses import dataclass

from lingua_scheduler.node.engines.base import Stage
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec, parse_spec, parse_specs

_DEMO = "demo"
_SCRIPTED = "scripted"

_TINY = parse_spec("whisper:tiny.en")
_BASE = parse_spec("whisper:base")
_BERGAMOT = parse_spec("bergamot?pairs=en-pt")
_PIVOT = EngineSpec("pivot", "pt", {"first": str(_BERGAMOT), "second": "apertium:pt-es"})
_ESPEAK = parse_spec("espeak")
_PICO = parse_spec("pico")


@dataclass(frozen=True, slots=True)
class PlannedEngine:
    spec: EngineSpec
    workers: int = 1


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """Engines in order of preference within a stage."""

    engines: tuple[PlannedEngine, ...]
    notes: tuple[str, ...] = ()
    """For the console: each fallback taken and each part missing, with its remedy."""
    queue_max: int = 64
    """Calls that may wait before one engine: more than the node's capacity in jobs."""


def make_plan(engines: str, *, asr_workers: int = 0) -> EnginePlan:
    """The plan for `--engines`: `demo`, or specs with commas between them.

    `demo` is the best chain that works from installed packages alone. `asr_workers` 0: half the processors, at least
    one. Translation and speech output take one process each: they are tens of times faster than recognition.
    EngineError for a name or option that does not exist; whether a model is there is for loading to find out.
    """
    specs, notes = _demo() if engines.strip() == _DEMO else (_expand(parse_specs(engines)), ())
    if not specs:
        raise bad_spec("no engines: write for example whisper,bergamot,espeak")
    workers = asr_workers or max(1, (os.cpu_count() or 1) // 2)
    planned = [PlannedEngine(spec, workers if kind_of(spec).stage is Stage.ASR else 1) for spec in specs]
    return EnginePlan(tuple(planned), notes)


def _demo() -> tuple[tuple[EngineSpec, ...], tuple[str, ...]]:
    """English recognised by Whisper, spoken in Portuguese, and in Spanish where Apertium is there.

    With the weights of Whisper base, any of its languages into English too: it translates those by itself.
    """
    notes: list[str] = []
    has_base = _missing(_BASE) is None
    specs = [_BASE if has_base else _TINY]
    without_pivot = _missing(_PIVOT)
    if without_pivot is None:
        specs.append(_PIVOT)
    else:
        specs.append(_BERGAMOT)
        notes.append(f"no Spanish: {without_pivot}")
    without_pico = _missing(_PICO)
    if without_pico is None and (without_pivot is None or has_base):
        specs.append(_PICO)
    elif without_pico is not None:
        notes.append(f"English and Spanish speech falls back to espeak-ng: {without_pico}")
    specs.append(_ESPEAK)
    notes += [f"{spec} will not load: {problem}" for spec in specs if (problem := _missing(spec)) is not None]
    return tuple(specs), tuple(notes)


def _missing(spec: EngineSpec) -> str | None:
    return kind_of(spec).missing(spec)


def _expand(specs: tuple[EngineSpec, ...]) -> tuple[EngineSpec, ...]:
    """`scripted` stands for a scripted engine of each stage, all with its options."""
    found: list[EngineSpec] = []
    for spec in specs:
        if spec.name == _SCRIPTED:
            found += [EngineSpec(f"{_SCRIPTED}-{stage}", spec.argument, spec.options) for stage in ("asr", "mt", "tts")]
        else:
            found.append(spec)
    return tuple(found)
