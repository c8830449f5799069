"""Log lines have a fixed message and named fields out of a small set: never what was said, never a text that varies."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy import sources

LEVELS = {"debug", "info", "warning", "error"}
FIELDS = {
    # who and what
    "session", "job", "node", "instance", "previous", "inbox", "to", "room", "tenant", "trace", "attempt", "index",
    "entry", "epoch", "address", "url", "who", "task", "peer",
    # why and how it went
    "cause", "code", "operation", "outcome", "kind", "action", "about", "asked", "status", "story", "detail",
    "may_have_happened", "is_v11", "mode",
    # how much
    "ms", "wait_ms", "count", "jobs", "sessions", "nodes", "capacity", "bytes", "used", "packets", "keys", "revoked",
    "ended",
}  # fmt: skip


def log_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """`_log.info(…)`, `self._log.info(…)`, and `tell(…)` where `tell` is one of a log's methods."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in LEVELS:
            owner = called.value
            if (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")) == "_log":
                yield node
        elif isinstance(called, ast.Name) and called.id == "tell" and node.args:
            yield node


def is_fixed(message: ast.expr) -> bool:
    if isinstance(message, ast.IfExp):
        return is_fixed(message.body) and is_fixed(message.orelse)
    if isinstance(message, ast.Name):
        return message.id.isupper()
    return isinstance(message, ast.Constant) and isinstance(message.value, str)


def faults(text: str) -> list[str]:
    found: list[str] = []
    for call in log_calls(ast.parse(text)):
        if len(call.args) != 1 or not is_fixed(call.args[0]):
            found.append(f"line {call.lineno}: one fixed message, fields by name")
        names = {keyword.arg for keyword in call.keywords if keyword.arg}
        found += [f"line {call.lineno}: field {name}" for name in sorted(names - FIELDS)]
    return found


LOGGING = [path for path in sources.files(".py") if "src" in path.parts and "_log = get_logger" in sources.text(path)]


@pytest.mark.parametrize("path", LOGGING, ids=sources.name)
def test_log_lines_keep_their_form(path: Path):
    assert faults(sources.text(path)) == []


@pytest.mark.parametrize(
    "line", ['_log.info(f"job {job}")', '_log.info("a job", text=result.text)', 'self._log.error("%s", error)']
)
def test_a_line_out_of_form_is_noticed(line: str):
    assert faults(line)


def test_a_line_in_form_passes():
    assert faults('_log.bind(a=1)\nself._log.warning("node lost", node=node_id, cause=cause)') == []
