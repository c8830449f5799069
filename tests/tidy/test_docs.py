"""Documents keep their form, their links lead somewhere, and the commands they show exist."""

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import dev
from lingua_scheduler import __version__
from lingua_scheduler.cli import main as cli
from tests.tidy import sources

DECISIONS = sources.ROOT / "docs/decisions"
CHANGE_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def commands_shown(text: str) -> Iterator[list[str]]:
    """The words of each line in the text's fenced blocks that calls `lingua` or `dev.py`, without comments."""
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            called = re.match(r"\s*(?:\$ )?(?:python3 |\./)?((?:lingua|dev\.py)\b.*)", line)
            if called:
                yield first_command(called[1])


def first_command(line: str) -> list[str]:
    """The words of a shell's line up to a pipe or a redirection, without comments."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return list(itertools.takewhile(lambda word: word not in {"|", ">", "&&", ";", "&"}, words))


def complaint(words: list[str]) -> str:
    """What the program named by the first word says against the others; nothing runs but its own parser."""
    program, *arguments = words
    if program == "dev.py":
        if arguments[:1] in (["lingua"], ["demo"]):
            return complaint(["lingua", *arguments[arguments[0] == "lingua" :]])
        return "" if arguments and arguments[0] in dev.COMMANDS else f"dev.py has no command {arguments[:1]}"
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            cli.make_parser().parse_args(arguments)
    except SystemExit as ended:
        return "" if not ended.code else told.getvalue().strip().splitlines()[-1]
    return ""


def broken_links(path: Path, text: str) -> list[str]:
    """Relative links of a Markdown file that lead to no file, or to no heading of one."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [one for one in targets if not re.match(r"[a-z]+:", one) and not _leads_somewhere(path, text, one)]


def _leads_somewhere(path: Path, text: str, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = path.parent / name
    if not name or not anchor:
        return target.exists() and (not anchor or anchor in anchors(text))
    return target.is_file() and anchor in anchors(sources.text(target))


def anchors(text: str) -> set[str]:
    """What a link into a Markdown file can name: its headings, as both GitHub and the site call them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def changelog_faults(text: str) -> Iterator[str]:
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if not text.startswith("# Changelog\n"):
        yield "begins with `# Changelog`"
    if headings[:1] != ["[Unreleased]"]:
        yield "the first section is [Unreleased]"
    yield from (f"odd release: {one}" for one in headings[1:] if not re.fullmatch(r"\[[\w.]+\] - \d{4}-\d\d-\d\d", one))
    dates = [one[-10:] for one in headings[1:]]
    if dates != sorted(dates, reverse=True):
        yield "releases stand newest first"
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)
    yield from (f"unknown kind of change: {kind}" for kind in kinds if kind not in CHANGE_KINDS)


@pytest.mark.parametrize("path", sources.files(".md"), ids=sources.name)
def test_links_lead_to_files(path: Path):
    assert not broken_links(path, sources.text(path))


@pytest.mark.parametrize("path", sources.files(".md"), ids=sources.name)
def test_commands_shown_are_understood(path: Path):
    told = [(" ".join(words), complaint(words)) for words in commands_shown(sources.text(path))]
    assert not [pair for pair in told if pair[1]]


def test_a_command_is_found_in_a_fenced_block_only():
    text = "lingua prose\n```sh\n$ lingua serve --port 1 > x | y  # one\npython3 dev.py lingua node \\\n  x\n"
    text += "./dev.py fly\n```\n"

    assert list(commands_shown(text)) == [
        ["lingua", "serve", "--port", "1"],
        ["dev.py", "lingua", "node", "x"],
        ["dev.py", "fly"],
    ]


@pytest.mark.parametrize(
    "line", ["lingua fly", "lingua serve --wings", "dev.py fly", "dev.py lingua fly", "dev.py demo -x"]
)
def test_an_unknown_command_or_flag_is_noticed(line: str):
    assert complaint(line.split())


@pytest.mark.parametrize("line", ["lingua --help", "lingua serve --port 0", "dev.py test -k x", "dev.py demo --json"])
def test_a_known_command_passes(line: str):
    assert not complaint(line.split())


def test_a_broken_link_is_found():
    text = "[a](gone.md#part) [b](https://x.y/z) [c](LICENSE) [d](#here) [e](#there) [f](SECURITY.md#nothing)\n# Here\n"
    assert broken_links(sources.ROOT / "x.md", text) == ["gone.md#part", "#there", "SECURITY.md#nothing"]


def test_decisions_are_numbered_and_listed():
    pages = sorted(path.name for path in DECISIONS.glob("*.md") if path.name != "README.md")
    listed = re.findall(r"^\| *\[\d+\]\(([^)]+)\)", sources.text(DECISIONS / "README.md"), re.MULTILINE)
    numbers = [page[:3] for page in pages]

    assert all(re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", page) for page in pages)
    assert len(set(numbers)) == len(numbers), "one number, one decision"
    assert listed == [page for page in pages if page != "000-template.md"]


def test_the_changelog_keeps_its_form():
    assert not list(changelog_faults(sources.text(sources.ROOT / "CHANGELOG.md")))


def test_a_changelog_out_of_form_is_noticed():
    text = "# Changes\n## [0.1.0] - 2026-01-01\n## [0.2.0] - 2026-02-01\n## soon\n### Improved\n"
    assert len(list(changelog_faults(text))) == 5


def test_the_version_is_told_once():
    told = re.search(r'^version = "(.*)"$', sources.text(sources.ROOT / "pyproject.toml"), re.MULTILINE)
    assert told
    assert told[1] == __version__
