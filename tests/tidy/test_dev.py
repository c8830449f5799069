"""The set-up script: what it does before anything is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import dev
from tests.tidy import sources


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that was prepared for the demo, in a project of its own."""
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", ".venv/pyvenv.cfg", ".venv/bin/python"):
        (tmp_path / name).write_text("one")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "CONSTRAINTS", tmp_path / "constraints.txt")
    monkeypatch.setattr(dev, "VENV", folder)
    monkeypatch.setattr(dev, "BIN", folder / "bin")
    monkeypatch.setattr(dev, "STAMP", folder / "dev.stamp")
    dev.STAMP.write_text(f"demo {dev._fingerprint()}\n")
    return folder


def test_a_prepared_environment_is_left_alone(venv: Path):
    assert dev._stamped("demo")


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt", ".venv/pyvenv.cfg"])
def test_a_changed_definition_prepares_again(venv: Path, changed: str):
    (venv.parent / changed).write_text("two")
    assert not dev._stamped("demo")


def test_the_tests_need_more_than_the_demo(venv: Path):
    assert not dev._stamped("dev")
    dev.STAMP.write_text(f"dev {dev._fingerprint()}\n")
    assert dev._stamped("dev")
    assert dev._stamped("demo")


@pytest.mark.parametrize("made", dev.KINDS)
def test_an_environment_serves_what_needs_no_more(venv: Path, made: str):
    dev.STAMP.write_text(f"{made} {dev._fingerprint()}\n")

    served = [kind for kind in dev.KINDS if dev._stamped(kind)]
    assert served == list(dev.KINDS[: dev.KINDS.index(made) + 1])


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ("", "demo"),
        ("--from en --to es", "demo"),
        ("--from=en-gb", "demo"),
        ("--to zh --file from.wav", "demo"),
        ("--from zh --to en", "demo-zh"),
        ("--json --from=zh-CN", "demo-zh"),
        ("--from", "demo"),
    ],
)
def test_only_a_demo_in_another_language_gets_the_large_model(arguments: str, kind: str):
    assert dev.demo_kind(arguments.split()) == kind


def test_the_default_demo_asks_for_no_more_than_it_needs():
    assert dev._requirements("demo") == ["pip", "-e", ".[demo]"]
    assert all(dev._requirements(kind)[:3] == ["pip", "-e", ".[demo,demo-zh]"] for kind in dev.KINDS[1:])


def test_a_vanished_interpreter_prepares_again(venv: Path):
    (venv / "bin/python").unlink()
    assert not dev._stamped("demo")


def test_a_command_that_takes_too_long_is_ended():
    assert dev.run("a nap", [sys.executable, "-c", "import signal; signal.pause()"], limit_s=0).code == dev.OUT_OF_TIME


def test_a_command_that_does_not_exist_is_told():
    finished = dev.run("nothing", [sources.ROOT / "no-such-program"])
    assert (finished.code, "no-such-program" in finished.output) == (dev.NOT_FOUND, True)


def test_the_output_of_a_failing_command_is_kept():
    finished = dev.run("a failure", [sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])
    assert (finished.code, finished.tail()) == (3, "why")


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["fly"], 2), (["--help"], 0)])
def test_usage_is_told(arguments: list[str], code: int):
    command = [sys.executable, sources.ROOT / "dev.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "dev.py demo" in done.stdout) == (code, True)


def test_a_missing_program_is_named_with_its_remedy(capsys: pytest.CaptureFixture[str]):
    absent = dev.Program("no-such-program", ("some-package",), "nothing")

    assert dev._missing([absent, dev.Program(sys.executable, (), "")]) == [absent]
    dev.name_missing([absent])
    assert "apt-get install some-package" in capsys.readouterr().err


@pytest.mark.parametrize(("ci", "failed"), [("", []), ("true", ["absent"])])
def test_a_check_that_cannot_run_fails_in_ci_only(monkeypatch: pytest.MonkeyPatch, ci: str, failed: list[str]):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(dev, "checks", lambda: {"good": [sys.executable, "--version"], "absent": ["no-such-program"]})

    assert dev.run_checks() == failed


def test_a_failing_check_is_named_with_its_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(dev, "checks", lambda: {"bad": [sys.executable, "-c", "import sys; sys.exit('crooked')"]})

    assert dev.run_checks() == ["bad"]
    assert "crooked" in capsys.readouterr().out
