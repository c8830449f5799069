"""Which engines a node runs, each in how many processes, and what a person should be told about the choice."""

import os
from dataclasses import dataclass, field

from lingua_scheduler.node.engines.base import Stage
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec, parse_specs

_DEMO = "demo"
_SCRIPTED = "scripted"


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
    queue_max: int = field(default=64)
    """Calls that may wait before one engine: more than the node's capacity in jobs."""


def make_plan(engines: str, *, asr_workers: int = 0) -> EnginePlan:
    """The plan for `--engines`: `demo`, or specs with commas between them.

    `asr_workers` 0: half the processors, at least one. Translation and speech output take one process each: they are
    tens of times faster than recognition. EngineError for a name or option that does not exist; what is installed is
    for loading to find out.
    """
    workers = asr_workers or max(1, (os.cpu_count() or 1) // 2)
    if engines.strip() == _DEMO:
        specs, notes = parse_specs("whisper:tiny.en,bergamot?pairs=en-pt,espeak"), ()
    else:
        specs, notes = _expand(parse_specs(engines)), ()
    planned: list[PlannedEngine] = []
    for spec in specs:
        kind = kind_of(spec)
        planned.append(PlannedEngine(spec, workers if kind.stage is Stage.ASR else 1))
    if not planned:
        raise bad_spec("no engines: write for example whisper,bergamot,espeak")
    return EnginePlan(tuple(planned), notes)


def _expand(specs: tuple[EngineSpec, ...]) -> tuple[EngineSpec, ...]:
    """`scripted` stands for a scripted engine of each stage, all with its options."""
    found: list[EngineSpec] = []
    for spec in specs:
        if spec.name == _SCRIPTED:
            found += [EngineSpec(f"{_SCRIPTED}-{stage}", spec.argument, spec.options) for stage in ("asr", "mt", "tts")]
        else:
            found.append(spec)
    return tuple(found)
