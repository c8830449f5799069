"""Keys and tokens from the command line are those that an instance takes, and nothing secret is shown beside them."""

import stat
from pathlib import Path

import pytest

from lingua_scheduler.cli.main import main
from lingua_scheduler.scheduler.auth.keys import read_keys


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_key_signs_what_its_file_verifies(algorithm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "keys.toml"
    assert main(["token", "key", "--keys", str(path), "--kid", "other"]) == 0
    assert main(["token", "key", "--keys", str(path), "--kid", "mine", "--alg", algorithm]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    capsys.readouterr()
    sign = ["--keys", str(path), "--kid", "mine", "--expires", "15m"]
    assert main(["token", "client", "--tenant", "acme", "--scopes", "session", "--languages", "en,PT", *sign]) == 0
    out, err = capsys.readouterr()
    grant = read_keys(path).verify(out.strip())
    claims = grant.claims
    assert (grant.kid, claims.tenant, claims.scopes, claims.languages) == ("mine", "acme", ("session",), ("en", "pt"))
    assert claims.exp - claims.iat == 15 * 60
    assert claims.jti in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["client", "--tenant", "a b"], "lacks a claim"),
        (["node", "--node", "/x"], "lacks a claim"),
        (["admin", "--kid", "nobody"], "no key 'nobody'"),
    ],
)
def test_what_no_instance_would_take_is_not_made(
    arguments: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "keys.toml"
    assert main(["token", "key", "--keys", str(path)]) == 0
    capsys.readouterr()
    assert main(["token", *arguments, "--keys", str(path)]) == 1
    out, err = capsys.readouterr()
    assert why in err
    assert out == ""


def test_without_keys_nothing_is_signed(capsys: pytest.CaptureFixture[str]):
    assert main(["token", "admin"]) == 1
    assert "which keys?" in capsys.readouterr().err


def test_the_configuration_is_shown_without_keys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("LINGUA_SECURITY__KEYS", "a:HS256:c2VjcmV0")
    monkeypatch.setenv("LINGUA_NODE__TOKEN", "eyJ.secret.x")
    assert main(["config", "--changed"]) == 0
    shown = capsys.readouterr().out
    assert "security.keys = '…'" in shown
    assert "c2VjcmV0" not in shown
    assert "eyJ" not in shown
