"""No file over 500 lines, no function over 60, no Lua script over 80. (Ruff bounds parameters and branches.)"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.tidy import sources

LINES_MAX = {".py": 500, ".js": 500, ".css": 500, ".html": 500, ".lua": 80}
FUNCTION_LINES_MAX = 60
EXCEPTIONS = sources.ROOT / "tests/tidy/exceptions.toml"


def function_sizes(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Qualified name and lines of every function, methods and inner functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            qualified = f"{prefix}{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield qualified, (node.end_lineno or node.lineno) - node.lineno + 1
            yield from function_sizes(node, f"{qualified}.")
        else:
            yield from function_sizes(node, prefix)


def oversized() -> dict[str, int]:
    found: dict[str, int] = {}
    for path in sources.files(*LINES_MAX):
        lines = sources.text(path).count("\n")
        if lines > LINES_MAX[path.suffix]:
            found[sources.name(path)] = lines
        if path.suffix == ".py":
            sizes = function_sizes(sources.tree(path))
            found |= {f"{sources.name(path)}:{name}": size for name, size in sizes if size > FUNCTION_LINES_MAX}
    return found


def complaints(found: Mapping[str, int], recorded: Mapping[str, int]) -> list[str]:
    """What is too large without leave, has grown past its leave, or no longer needs it."""
    told = [f"{what}: {lines} lines" for what, lines in found.items() if lines > recorded.get(what, 0)]
    return told + [f"{what}: within the limits, drop its exception" for what in recorded if what not in found]


def recorded_exceptions(path: Path = EXCEPTIONS) -> dict[str, int]:
    entries = tomllib.loads(path.read_text()).get("larger", [])
    assert all(entry["reason"].strip() for entry in entries)
    return {entry["what"]: entry["lines"] for entry in entries}


def test_nothing_is_larger_than_allowed():
    assert not complaints(oversized(), recorded_exceptions())


def test_growth_and_stale_exceptions_are_noticed():
    found = {"new.py": 501, "grown.py": 520, "kept.py": 510}
    recorded = {"grown.py": 510, "kept.py": 510, "mended.py": 600}

    assert complaints(found, recorded) == [
        "new.py: 501 lines",
        "grown.py: 520 lines",
        "mended.py: within the limits, drop its exception",
    ]


def test_inner_functions_and_methods_are_measured():
    source = "class A:\n    async def b(self):\n        def c():\n            pass\n        return c\n"

    assert dict(function_sizes(ast.parse(source))) == {"A.b": 4, "A.b.c": 2}
