"""Which engines a node runs, each in how many processes, and what a person should be told about the choice."""

import os
from dataclasses import dataclass

from lingua_scheduler.node.engines.base import EngineError, Stage, primary
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.spec import EngineSpec, bad_spec, parse_spec, parse_specs
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language, language

_DEMO = "demo"
_SCRIPTED = "scripted"
_ENGLISH = Language("en")

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
    """The plan for `--engines`: `demo`, `demo:LANGUAGE`, or specs with commas between them.

    `demo` is the best chain that works from installed packages alone; with the language of the speakers, the smallest
    model that understands it. `asr_workers` 0: half the processors, at least one. Translation and speech output take
    one process each: they are tens of times faster than recognition.
    EngineError for a name or option that does not exist, and where no packaged model for the demo's language is
    installed; otherwise whether a model is there is for loading to find out.
    """
    name, _, source = engines.strip().partition(":")
    specs, notes = _demo(_recogniser(source)) if name == _DEMO else (_expand(parse_specs(engines)), ())
    if not specs:
        raise bad_spec("no engines: write for example whisper,bergamot,espeak")
    workers = asr_workers or max(1, (os.cpu_count() or 1) // 2)
    planned = [PlannedEngine(spec, workers if kind_of(spec).stage is Stage.ASR else 1) for spec in specs]
    return EnginePlan(tuple(planned), notes)


def _recogniser(source: str) -> EngineSpec:
    """The model for speech in a language; without one, the most able that is installed."""
    if not source:
        return _BASE if _missing(_BASE) is None else _TINY
    code = language(source)
    if code is None:
        raise bad_spec(f"{_DEMO}: {source!r} is not a language code")
    able = (_TINY, _BASE) if primary(code) == _ENGLISH else (_BASE,)
    found = next((spec for spec in able if _missing(spec) is None), None)
    if found is None:
        raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, _missing(able[0]) or "", retryable=False)
    return found


def _demo(recogniser: EngineSpec) -> tuple[tuple[EngineSpec, ...], tuple[str, ...]]:
    """English recognised by Whisper, spoken in Portuguese, and in Spanish where Apertium is there.

    With Whisper base, any of its languages into English too: it translates those by itself.
    """
    notes: list[str] = []
    has_base = recogniser == _BASE
    specs = [recogniser]
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
