"""Where lines go, and that terminals alone see colours and the status line."""

import io
import json

import pytest

from lingua_scheduler.cli.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")


def test_results_go_to_stdout_and_troubles_to_stderr():
    out, err = io.StringIO(), io.StringIO()
    console = Console(out=out, err=err)
    console.line("a result")
    console.note("a fallback")
    console.fail("no luck\nat all")

    assert out.getvalue() == "a result\n"
    assert err.getvalue() == "note: a fallback\nerror: no luck at all\n"


def test_with_json_stdout_holds_json_alone():
    out, err = io.StringIO(), io.StringIO()
    console = Console(is_json=True, out=out, err=err)
    console.line("for people")
    console.status("working")
    console.json({"translated": "olá", "none": None})

    assert json.loads(out.getvalue()) == {"translated": "olá", "none": None}
    assert "olá" in out.getvalue()
    assert err.getvalue() == "for people\n"


def test_colours_and_status_are_for_terminals():
    plain, terminal = Console(out=io.StringIO()), Console(out=Terminal())

    assert plain.paint("x", "red") == "x"
    assert terminal.paint("x", "red") == "\x1b[31mx\x1b[0m"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert Console(out=Terminal()).paint("x", "red") == "x"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    console = Console(out=out)
    console.status("working")
    console.line("done")

    assert out.getvalue() == "done\n"


def test_the_status_stays_below_what_is_printed():
    out = Terminal()
    console = Console(out=out, err=io.StringIO())
    console.status("working" * 20)
    console.line("a result")
    console.status("")

    erase = "\r\x1b[2K"
    status = ("working" * 20)[:59]
    assert out.getvalue() == f"{erase}{status}{erase}a result\n{status}{erase}"


def test_long_text_is_folded_under_its_beginning():
    out = io.StringIO()
    Console(out=out).wrapped("  en  ", "one two three four five six seven eight nine ten eleven twelve thirteen")

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  en  one two")
    assert lines[1].startswith("      ")
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(line.strip() for line in lines).endswith("twelve thirteen")
