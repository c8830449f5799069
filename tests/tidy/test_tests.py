"""Tests do not sleep, and none is skipped without a reason."""

import ast
from collections.abc import Iterator

import pytest

from tests.tidy import sources

# The one helper that polls, and the runner that waits for processes to end.
MAY_SLEEP = {"tests/support/waiting.py", "tests/support/processes.py", "tests/support/forking.py"}
SKIPS = {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail", "pytest.skip", "pytest.xfail"}


def sleeps(tree: ast.AST) -> Iterator[str]:
    """Calls of a `sleep` with anything but the constant 0 (which only lets other tasks run)."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "sleep"}):
            continue
        if [ast.unparse(argument) for argument in node.args] != ["0"]:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def unexplained_skips(tree: ast.AST) -> Iterator[str]:
    """Skips and expected failures that do not say why: in `reason=`, or as the first argument of a call in a test."""
    explained: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in SKIPS:
            told = [word.value for word in node.keywords if word.arg == "reason"]
            told += [] if called.startswith("pytest.mark") else node.args[:1]
            if any(not isinstance(one, ast.Constant) or one.value for one in told):
                explained.add(id(node.func))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in SKIPS and id(node) not in explained:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def test_no_test_sleeps():
    found = {
        path: list(sleeps(sources.tree(path)))
        for path in sources.files(".py")
        if sources.name(path).startswith("tests/") and sources.name(path) not in MAY_SLEEP
    }
    assert not {sources.name(path): lines for path, lines in found.items() if lines}


def test_no_skip_without_a_reason():
    found = {
        path: list(unexplained_skips(sources.tree(path)))
        for path in sources.files(".py")
        if sources.name(path).startswith("tests/")
    }
    assert not {sources.name(path): lines for path, lines in found.items() if lines}


@pytest.mark.parametrize("source", ["time.sleep(1)", "await asyncio.sleep(0.1)", "await asyncio.sleep(delay)"])
def test_a_sleep_is_noticed(source: str):
    tree = ast.parse(f"async def test():\n    {source}")
    assert list(sleeps(tree)) == [f"line 2: {source.removeprefix('await ')}"]


def test_giving_way_is_no_sleep():
    assert not list(sleeps(ast.parse("asyncio.sleep(0)")))


@pytest.mark.parametrize(
    "source",
    [
        "@pytest.mark.skip\ndef test(): ...",
        "@pytest.mark.skipif(True)\ndef test(): ...",
        "@pytest.mark.xfail(reason='')\ndef test(): ...",
        "pytest.skip()",
    ],
)
def test_an_unexplained_skip_is_noticed(source: str):
    assert len(list(unexplained_skips(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source", ["@pytest.mark.skipif(True, reason='no Chromium')\ndef test(): ...", "pytest.skip('no Chromium')"]
)
def test_an_explained_skip_passes(source: str):
    assert not list(unexplained_skips(ast.parse(source)))
