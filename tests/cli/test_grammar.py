"""Help, examples and the reference page agree with the parser, and each shell completes what it knows."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingua_scheduler.cli.grammar import Command, Takes, grammar
from lingua_scheduler.cli.main import main, make_parser
from lingua_scheduler.cli.reference import reference

ROOT = Path(__file__).parents[2]
COMMANDS = tuple(grammar(make_parser()).walk())
LEAVES = [command for command in COMMANDS if not command.commands]
TYPED = [
    (("lingua", ""), {"demo", "serve", "node", "completion", "--version"}),
    (("lingua", "tr"), {"translate"}),
    (("lingua", "serve", "--embedded"), {"--embedded-redis"}),
    (("lingua", "token", ""), {"key", "client", "node", "admin"}),
    (("lingua", "token", "node", "--no"), {"--node"}),
    (("lingua", "token", "key", "--alg", ""), {"HS256", "EdDSA"}),
    (("lingua", "drain", "--node", "serve", "--no"), {"--node", "--no-wait"}),
    (("lingua", "completion", "z"), {"zsh"}),
    (("lingua", "config", "--config", "pyproj"), {"pyproject.toml"}),
    (("lingua", "translate", "pyproj"), {"pyproject.toml"}),
]
"""Words on the line, the last one being typed, and what must be among the offers."""


def name(command: Command) -> str:
    return " ".join(command.words) or "lingua"


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / "_lingua"
    path.write_text(capsys.readouterr().out)
    return path


def ran(*argv: str) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=name)
def test_every_command_tells_what_it_does_and_what_its_flags_are(command: Command):
    assert command.what
    assert not [flag.names or flag.shown for flag in command.flags if not flag.what]


@pytest.mark.parametrize("command", LEAVES, ids=name)
def test_help_shows_examples_that_parse(command: Command, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([*command.words, "--help"])
    shown = capsys.readouterr().out
    own = [example for example in command.examples if example.startswith(" ".join(("lingua", *command.words)))]

    assert ended.value.code == 0
    assert own
    assert all(example in shown for example in own)
    for example in command.examples:
        program, *words = _until_pipe(shlex.split(example, comments=True))
        assert program == "lingua"
        make_parser().parse_args(words)


def _until_pipe(words: list[str]) -> Iterator[str]:
    for word in words:
        if word in {"|", ">"}:
            return
        yield word


@pytest.mark.parametrize("command", LEAVES, ids=name)
def test_whatever_has_a_result_gives_it_as_json(command: Command):
    without = {("node",), ("completion",)}
    assert any("--json" in flag.names for flag in command.options) is (command.words not in without)


def test_the_reference_is_as_the_parser_says():
    page = (ROOT / "docs/command-line.md").read_text("utf-8")
    assert page == "\n".join(reference()) + "\n", "python -m lingua_scheduler.cli.reference > docs/command-line.md"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_knows_every_command_and_option(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = script(shell, tmp_path, capsys).read_text()
    for command in COMMANDS:
        for flag in command.options:
            wanted = flag.names if shell != "fish" else [f"-l {one[2:]}" for one in flag.names if one.startswith("--")]
            assert all(one in text for one in wanted), (command.words, flag.names)


@pytest.mark.parametrize(("words", "offered"), TYPED, ids=[" ".join(words) for words, _ in TYPED])
def test_bash_offers(words: tuple[str, ...], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = script("bash", tmp_path, capsys)
    typed = " ".join(map(shlex.quote, words))
    asked = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _lingua; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    found = set(ran("bash", "--norc", "-c", f"source {path}; {asked}").split())

    assert offered <= found
    assert all(one.startswith(words[-1]) for one in found)


@pytest.mark.skipif(not shutil.which("fish"), reason="the shell fish is not installed")
@pytest.mark.parametrize(("words", "offered"), TYPED, ids=[" ".join(words) for words, _ in TYPED])
def test_fish_offers(words: tuple[str, ...], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = script("fish", tmp_path, capsys)
    # Fish offers options only once a dash is typed.
    if offered & {"--version"}:
        offered = offered - {"--version"}
    typed = " ".join(words[:-1]) + " " + words[-1]
    lines = ran("fish", "--no-config", "-c", f"source {path}; complete -C {shlex.quote(typed)}").splitlines()

    assert offered <= {line.partition("\t")[0] for line in lines}


@pytest.mark.skipif(not shutil.which("zsh"), reason="the shell zsh is not installed")
def test_zsh_loads_its_script_and_makes_it_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = script("zsh", tmp_path, capsys)
    known = ran(
        "zsh", "-f", "-c", f"autoload -U compinit; compinit -D -d {tmp_path}/x; source {path}; print $_comps[lingua]"
    )

    assert known == "_lingua\n"
    for command in COMMANDS:
        assert ran(
            "zsh", "-f", "-c", f"compdef() {{}}; source {path}; whence -w {'_'.join(('_lingua', *command.words))}"
        )


def test_a_value_is_no_file_but_where_it_says_so():
    (serve,) = [command for command in COMMANDS if command.words == ("serve",)]
    takes = {flag.names[0]: flag.takes for flag in serve.options}

    assert (takes["--config"], takes["--redis"], takes["--embedded-redis"]) == (Takes.FILE, Takes.VALUE, Takes.NOTHING)
