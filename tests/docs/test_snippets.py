"""Every block of code in the documents is run, or read by what will read it, or stands on a short list with its reason.

Shell: `lingua` and `dev.py` understand the line (tests/tidy/test_docs.py), addresses are ones that an instance answers;
two pages run as a whole. Python: part of an example that a test runs, or run here. TOML: a configuration. JSON: a
message, an answer of the API, or a line of a log that the code writes.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest

from lingua_scheduler.node.engines.base import EngineError, MtRequest
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.spec import EngineSpec, parse_specs
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.errors import PeerError
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.runtime.config import load_config
from lingua_scheduler.scheduler import openapi
from lingua_scheduler.store.records import JobStory
from tests.tidy import sources
from tests.tidy.test_docs import complaint, first_command

RUN_WHOLE = {
    "docs/quickstart.md": "tests/examples/test_quickstart.py",
    "docs/walkthrough.md": "tests/examples/test_walkthrough.py",
}
ELSEWHERE = {
    "python examples/node.py ws://127.0.0.1:5010/ws/node": "tests/examples/test_examples.py runs it",
    '[project.entry-points."lingua_scheduler.engines"]': "tests/node/test_engines_plan.py installs such an engine",
    '{"type":"summary"': "tests/examples/test_walkthrough.py reads such a line",
}
"""By the beginning of a block, or of a line of a shell."""
UNREAD = {"", "text", "mermaid"}
"""Languages that nothing reads: drawings, and what a program prints."""
DECODERS = (codec.decode_client, codec.decode_server, codec.decode_node, codec.decode_scheduler)
EXAMPLES = [path.read_text("utf-8") for path in sorted((sources.ROOT / "examples").glob("*.py"))]


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks(page: str, text: str) -> Iterator[Block]:
    for indent, language, body in re.findall(r"^( *)```([^\n]*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        yield Block(page, language, re.sub(f"^{indent}", "", body, flags=re.MULTILINE))


def all_blocks() -> list[Block]:
    return [block for path in sources.files(".md") for block in blocks(sources.name(path), sources.text(path))]


def of(language: str) -> list[Any]:
    """The blocks of one language that are not run with their whole page, or elsewhere."""
    found = [one for one in all_blocks() if one.language == language and one.page not in RUN_WHOLE]
    kept = [one for one in found if not one.text.startswith(tuple(ELSEWHERE))]
    return [pytest.param(one, id=f"{at} {one.page} {one.text.splitlines()[0][:40]}") for at, one in enumerate(kept)]


def test_no_block_is_of_a_language_that_nobody_looks_at():
    assert {one.language for one in all_blocks()} <= {"sh", "python", "toml", "json"} | UNREAD


def test_the_lists_name_what_is_there():
    texts = "\n".join(one.text for one in all_blocks())
    assert [start for start in ELSEWHERE if start not in texts] == []
    for page, test in RUN_WHOLE.items():
        assert Path(page).name in (sources.ROOT / test).read_text("utf-8")


def test_blocks_are_found_inside_lists_too():
    text = "1. Do:\n\n   ```sh\n   ls\n   ```\n\n```json\n{}\n```\n"
    assert list(blocks("p", text)) == [Block("p", "sh", "ls\n"), Block("p", "json", "{}\n")]


# --- shell ---


def unknown(line: str) -> str:
    """What is wrong with one line of a shell."""
    if line.startswith((*ELSEWHERE, ". .venv/bin/activate", "#")):
        return ""
    words = first_command(line.removeprefix("python3 "))
    program = words[0]
    if program in {"lingua", "dev.py"}:
        if told := complaint(words):
            return told
        engines = [after for word, after in itertools.pairwise(words) if word == "--engines"]
        return "".join(wrong(one) for one in engines)
    if program == "curl":
        return "" if any(is_answered(word) for word in words if "://" in word) else f"nobody answers {line}"
    return f"who runs {line!r}?"


def wrong(engines: str) -> str:
    """What a node says to engines that are named so; each engine exists."""
    try:
        for spec in parse_specs(engines):
            if spec.name not in {"demo", "scripted"}:  # which stand for several
                kind_of(spec)
    except EngineError as error:
        return str(error)
    return ""


def is_answered(url: str) -> bool:
    path = urlsplit(url).path
    return any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", op.path), path) for op in openapi.OPERATIONS)


@pytest.mark.parametrize("block", of("sh"))
def test_each_line_of_a_shell_is_one_that_works(block: Block):
    lines = block.text.replace("\\\n", " ").splitlines()
    assert [told for line in lines if line and (told := unknown(line))] == []


@pytest.mark.parametrize(
    "line", ["lingua fly", "curl http://127.0.0.1:5010/api/v1/nothing", "make install", "lingua node --engines abacus"]
)
def test_a_line_that_does_not_work_is_noticed(line: str):
    assert unknown(line)


# --- Python ---


@pytest.mark.parametrize("block", of("python"))
def test_python_is_part_of_an_example_or_runs(block: Block):
    if any(block.text in example for example in EXAMPLES):
        return
    module: dict[str, Any] = {}
    exec(compile(block.text, block.page, "exec"), module)
    engine = module["KIND"].make(EngineSpec("acme", "loud"))
    assert engine.load().pairs == (("en", "pt"),)
    assert engine.run(MtRequest("bom", Language("en"), Language("pt")), None).text == "BOM"


# --- TOML and JSON ---


@pytest.mark.parametrize("block", of("toml"))
def test_toml_is_a_configuration(block: Block, tmp_path: Path):
    (tmp_path / "config.toml").write_text(block.text, "utf-8")
    load_config(tmp_path / "config.toml", {}, {})


def values(text: str) -> list[dict[str, Any]]:
    """One for each line, or one over all of them."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def is_message(value: dict[str, Any]) -> bool:
    for decode in DECODERS:
        try:
            decode(json.dumps(value))
        except PeerError:
            continue
        return True
    return False


def is_logged(value: dict[str, Any]) -> bool:
    """Whether the code names such a logger and writes such a message."""
    code = "\n".join(sources.text(path) for path in sources.files(".py") if sources.name(path).startswith("src/"))
    logger = value["logger"].removeprefix("lingua.")
    return f'get_logger("{logger}")' in code and f'"{value["message"]}"' in code


def is_story(value: dict[str, Any]) -> bool:
    return json.loads(msgspec.json.encode(msgspec.json.decode(json.dumps(value), type=JobStory))) == value


@pytest.mark.parametrize("block", of("json"))
def test_json_is_something_that_is_said(block: Block):
    for value in values(block.text):
        known = is_logged if "logger" in value else is_story if "job_id" in value and "choices" in value else is_message
        assert known(value), value


def test_json_that_nobody_says_is_noticed():
    assert not is_message({"type": "audio_lump"})
    assert not is_logged({"logger": "lingua.scheduler.nodes", "message": "node is tired"})
