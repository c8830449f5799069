"""Where lines go, and that terminals alone see colours and the status line."""

import io
import json
import re

import pytest

from lingua_scheduler.cli.activity import Activity
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
    plain.status("working")
    assert terminal.paint("x", "red") == "\x1b[31mx\x1b[0m"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert Console(out=Terminal()).paint("x", "red") == "x"


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    out, err = Terminal(), Terminal()
    console = Console(out=out, err=err)
    console.status("working")
    console.line(console.paint("done", "green"))

    assert out.getvalue() == "done\n"
    assert err.getvalue() == ""


def test_the_status_stays_below_what_is_printed():
    out, err = io.StringIO(), Terminal()
    console = Console(out=out, err=err)
    console.status("working" * 20)
    console.line("a result")
    console.status("")

    erase = "\r\x1b[2K"
    status = ("working" * 20)[:59]
    assert out.getvalue() == "a result\n"
    assert err.getvalue() == f"{erase}{status}{erase}{status}{erase}"


def test_each_stream_is_coloured_by_itself():
    out, err = io.StringIO(), Terminal()
    console = Console(out=out, err=err)
    console.line(console.paint("a result", "red"))
    console.note("a fallback")

    assert out.getvalue() == "a result\n"
    assert err.getvalue() == "\x1b[33mnote:\x1b[0m a fallback\n"


@pytest.mark.parametrize(("done", "cells"), [(0, 0), (5, 12), (10, 24), (11, 24)])
def test_a_bar_is_as_long_as_what_is_done(done: int, cells: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    err = Terminal()
    Console(out=io.StringIO(), err=err).progress(done, 10, "seeds")

    assert err.getvalue() == "\r\x1b[2K" + "━" * cells + "─" * (24 - cells) + " seeds"


def test_a_long_bar_is_cut_between_its_colours():
    err = Terminal()
    Console(out=io.StringIO(), err=err).progress(5, 10, "word " * 20)

    seen = re.sub(r"\x1b\[(\d+m|2K)|\r", "", err.getvalue())
    assert seen == ("━" * 12 + "─" * 12 + " " + "word " * 20)[:59]
    assert err.getvalue().count("\x1b[0m") == 2


async def test_what_is_being_done_is_a_spinner_on_a_terminal_and_a_line_elsewhere():
    terminal, plain, out, lines = Terminal(), io.StringIO(), io.StringIO(), io.StringIO()
    for console in (Console(out=out, err=terminal), Console(out=lines, err=plain)):
        activity = Activity(console, "node ")
        activity.report("loading engines …")
        activity.report("whisper loaded")
        activity.report("measuring …")
        activity.close()

    assert out.getvalue() == "node whisper loaded\n"
    assert "node ⠋ loading engines … 0 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[2K")
    assert lines.getvalue() == "node loading engines …\nnode whisper loaded\nnode measuring …\n"
    assert plain.getvalue() == ""


def test_long_text_is_folded_under_its_beginning():
    out = io.StringIO()
    Console(out=out).wrapped("  en  ", "one two three four five six seven eight nine ten eleven twelve thirteen")

    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  en  one two")
    assert lines[1].startswith("      ")
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(line.strip() for line in lines).endswith("twelve thirteen")
