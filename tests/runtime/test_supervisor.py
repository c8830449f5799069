"""`Type=notify` of systemd: the socket that it listens on, played here."""

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from lingua_scheduler.runtime.supervisor import tell_ready
from tests.support import Processes


@contextlib.contextmanager
def supervisor(address: str) -> Generator[socket.socket]:
    """It listens at `address`; one that begins with NUL is no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(30)
        yield listening
    if not address.startswith("\0"):
        Path(address).unlink()


def test_nobody_asked_nobody_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    tell_ready()


@pytest.mark.parametrize("is_abstract", [False, True])
async def test_an_instance_says_when_it_listens(processes: Processes, is_abstract: bool):
    path = str(processes.folder / "notify")
    with supervisor(f"\0{path}" if is_abstract else path) as told:
        env = {"NOTIFY_SOCKET": f"@{path}" if is_abstract else path}
        serve = processes.lingua("serve", "--embedded-redis", "--port", "0", env=env)
        await serve.wait_output("listening on")
        assert told.recv(100) == b"READY=1"


async def test_a_node_says_when_its_engines_are_loaded(processes: Processes):
    path = str(processes.folder / "notify")
    with supervisor(path) as told:
        url = "ws://127.0.0.1:1/ws/node"  # nobody is there: no reason to start it anew
        node = processes.lingua("node", "--engines", "scripted", "--url", url, env={"NOTIFY_SOCKET": path})
        await node.wait_output("capacity:")
        assert told.recv(100) == b"READY=1"
