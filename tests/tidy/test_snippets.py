"""Python and JSON in the documents is code that runs: an excerpt of an example, or a message that its struct takes."""

import json
import re
from pathlib import Path

import pytest

from tests.tidy import sources

EXAMPLES = [path.read_text("utf-8") for path in sorted((sources.ROOT / "examples").glob("*.py"))]
PAGES = [path for path in sources.files(".md") if sources.name(path).startswith("docs/")]
PYTHON = "python"
TESTED_OTHERWISE = {"docs/engines.md"}
"""tests/node/test_engines_plan.py has an engine of a third party like the one shown there."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", PAGES, ids=sources.name)
def test_python_is_an_excerpt_of_an_example_that_a_test_runs(path: Path):
    if sources.name(path) in TESTED_OTHERWISE:
        return
    loose = [block for block in blocks(sources.text(path), PYTHON) if not any(block in one for one in EXAMPLES)]
    assert not loose


@pytest.mark.parametrize("path", PAGES, ids=sources.name)
def test_json_is_json(path: Path):
    for block in blocks(sources.text(path), "json"):
        for line in block.splitlines():
            json.loads(line)


def test_a_block_is_found():
    assert blocks("```python\nx = 1\n```\n```sh\nls\n```\n", PYTHON) == ["x = 1\n"]
