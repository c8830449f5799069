"""`docs/states.md`, drawn from the tables that the machines are held to.

`python -m tests.tidy.states_doc` writes it anew.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lingua_scheduler.core.jobs import phases as job
from lingua_scheduler.core.node import phases as node
from lingua_scheduler.core.session import endpointing, life
from tests.tidy import sources

DOCUMENT = sources.ROOT / "docs/states.md"

_HEAD = """\
# States

What sessions, utterances, jobs and nodes can be, and every way from one state to another. Drawn from the tables in the
code, which the machines assert at each step; `python -m tests.tidy.states_doc` writes this page anew.
"""


@dataclass(frozen=True)
class Drawing:
    """One machine. Its module says in docstrings what each state means, with the timers that run in it in brackets."""

    title: str
    source: str
    states: type[StrEnum]
    transitions: Mapping[tuple[Any, Any], str]
    final: StrEnum | None


DRAWINGS = (
    Drawing("A session", "core/session/life.py", life.Life, life.TRANSITIONS, life.Life.ENDED),
    Drawing(
        "The utterance being collected",
        "core/session/endpointing.py",
        endpointing.Speech,
        endpointing.TRANSITIONS,
        None,
    ),
    Drawing("A job", "core/jobs/phases.py", job.Phase, job.TRANSITIONS, job.Phase.GONE),
    Drawing("A node's connection", "core/node/phases.py", node.Phase, node.TRANSITIONS, node.Phase.GONE),
)


def document() -> str:
    """The whole page."""
    parts = [_HEAD]
    for drawing in DRAWINGS:
        parts += [f"\n## {drawing.title}\n", f"[`{drawing.source}`](../src/lingua_scheduler/{drawing.source})\n"]
        parts += [*_meanings(drawing), "", *_diagram(drawing), "", *_ways(drawing)]
        if drawing.states is life.Life:
            parts += ["", *_rules()]
    return "\n".join(parts) + "\n"


def meanings(states: type[StrEnum]) -> dict[str, str]:
    """The docstring behind each member, on one line."""
    body = ast.parse(inspect.getsource(states)).body[0]
    assert isinstance(body, ast.ClassDef)
    told: dict[str, str] = {}
    for member, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told[ast.unparse(member.targets[0])] = " ".join(str(after.value.value).split())
    return told


def _meanings(drawing: Drawing) -> Iterator[str]:
    yield "| state | means |"
    yield "|---|---|"
    told = meanings(drawing.states)
    yield from (f"| `{state.value}` | {told.get(state.name, '')} |" for state in drawing.states)


def _diagram(drawing: Drawing) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {next(iter(drawing.states)).value}"
    yield from (f"    {before.value} --> {after.value}" for before, after in drawing.transitions)
    if drawing.final is not None:
        yield f"    {drawing.final.value} --> [*]"
    yield "```"


def _ways(drawing: Drawing) -> Iterator[str]:
    yield "| from | to | because |"
    yield "|---|---|---|"
    for (before, after), why in drawing.transitions.items():
        yield f"| `{before.value}` | `{after.value}` | {why} |"


def _rules() -> Iterator[str]:
    """Refused and ignored events are answered and counted; everything else is handled."""
    yield "What an event does in each state: `refused` is answered with `error SESSION_CLOSED`, `ignored` is counted.\n"
    yield f"| event | {' | '.join(state.value for state in life.Life)} |"
    yield "|---" * (1 + len(life.Life)) + "|"
    for event, rules in life.RULES.items():
        yield f"| `{event.__name__}` | {' | '.join(rules[state].value for state in life.Life)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
