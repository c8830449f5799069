"""`lingua config`: every value with its source, secrets kept."""

import json
from pathlib import Path

import pytest

from lingua_scheduler.cli.main import main


def test_each_value_comes_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 6000\n")
    monkeypatch.setenv("LINGUA_NODE__CAPACITY", "3")
    assert main(["config", "--config", str(file), "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)["settings"]}
    assert rows["server.port"] == {"key": "server.port", "value": 6000, "source": str(file)}
    assert (rows["node.capacity"]["value"], rows["node.capacity"]["source"]) == (3, "environment")
    assert rows["server.host"]["source"] == "default"


def test_only_what_is_changed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LINGUA_SERVER__PORT", "7000")
    assert main(["config", "--changed"]) == 0
    assert capsys.readouterr().out == "server.port = 7000  (environment)\n"


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LINGUA_NODE__TOKEN", "hush")
    monkeypatch.setenv("LINGUA_SCHEDULER__PHASE2__REDIS__URL", "redis://user:hush@host:1")
    assert main(["config"]) == 0
    assert "hush" not in capsys.readouterr().out


def test_a_bad_value_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LINGUA_SERVER__PORT", "many")
    assert main(["config"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
