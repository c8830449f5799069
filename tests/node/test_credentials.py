"""The token that a node shows."""

from pathlib import Path

import pytest

from lingua_scheduler.node.credentials import Credentials
from lingua_scheduler.runtime.config import ConfigError, NodeConfig


def test_a_token_file_is_read_for_each_registration(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("first\n")
    credentials = Credentials(NodeConfig(token_file=str(file)))
    assert credentials.token() == "first"

    file.write_text("second\n")
    assert credentials.token() == "second"

    file.unlink()
    assert credentials.token() == "second", "a file that is being replaced costs nobody the node"


def test_the_token_itself_wins_and_none_is_none(tmp_path: Path):
    assert Credentials(NodeConfig(token="mine", token_file=str(tmp_path / "none"))).token() == "mine"
    assert Credentials(NodeConfig()).token() == ""


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"", "is empty"), (b"\xff", "is not text")])
def test_a_file_that_cannot_be_used_refuses_the_start(tmp_path: Path, content: bytes | None, why: str):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        Credentials(NodeConfig(token_file=str(file)))
