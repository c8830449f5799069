"""The units: known to systemd, hardened, patient with a drain, and their commands do what the units expect of them."""

import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from lingua_scheduler.node.app import DRAIN_S as NODE_DRAIN_S
from lingua_scheduler.scheduler.upkeep import CLOSE_S, DRAIN_S
from tests.deploy.conftest import DEPLOY, checked, program
from tests.support import Processes, free_port

UNITS = DEPLOY / "systemd"
LINGUA = str(Path(sys.executable).with_name("lingua"))
PLACE = "/opt/lingua/bin/lingua"
EXPOSURE_MAX = 20
"""In tenths; systemd calls 2.0 "OK", and a service without any hardening has 9.6."""


def unit(name: str) -> str:
    return (UNITS / name).read_text("utf-8")


def setting(name: str, key: str) -> str:
    [value] = re.findall(rf"^{key}=(.*)$", unit(name), re.MULTILINE)
    return value


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with the command where it is on this machine."""
    for path in UNITS.glob("*.service"):
        text = path.read_text("utf-8")
        assert PLACE in text
        (tmp_path / path.name).write_text(text.replace(PLACE, LINGUA), "utf-8")
    return tmp_path


def test_systemd_knows_every_line(installed: Path):
    units = [installed / "lingua-scheduler@5010.service", installed / "lingua-node.service"]
    assert checked(program("systemd-analyze"), "verify", "--man=no", *units) == ""


@pytest.mark.parametrize("name", ["lingua-scheduler@.service", "lingua-node.service"])
def test_a_service_that_is_broken_into_reaches_little(installed: Path, name: str):
    analyze = program("systemd-analyze")
    threshold = f"--threshold={EXPOSURE_MAX}"
    assert "Overall exposure level" in checked(analyze, "security", "--offline=true", threshold, installed / name)


def test_systemd_waits_for_the_drain():
    assert int(setting("lingua-scheduler@.service", "TimeoutStopSec")) > DRAIN_S + CLOSE_S
    assert int(setting("lingua-node.service", "TimeoutStopSec")) > NODE_DRAIN_S


async def test_the_commands_of_the_units_say_when_they_are_ready_and_leave_in_order(
    processes: Processes, tmp_path: Path
):
    """`Type=notify` would kill an instance that never says so."""
    redis = ("--port", "0", "--unixsocket", f"{processes.folder}/redis", "--save", "", "--dir", str(tmp_path))
    await processes.start(program("redis-server"), *redis).wait_output("eady to accept connections")
    port = free_port()
    configs = {
        "scheduler.toml": f'[scheduler.phase2.redis]\nurl = "unix://{processes.folder}/redis"\n',
        "node.toml": f'[node]\nurl = "ws://127.0.0.1:{port}/ws/node"\nengines = "scripted"\ncapacity = 2\n',
    }
    for name, text in configs.items():
        (tmp_path / name).write_text(text, "utf-8")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        at = str(processes.folder / "notify")
        manager.bind(at)
        manager.settimeout(30)
        started = [
            processes.start(LINGUA, *words(name, port, tmp_path), env={"NOTIFY_SOCKET": at})
            for name in ("lingua-scheduler@.service", "lingua-node.service")
        ]
        assert [manager.recv(100) for _ in started] == [b"READY=1"] * 2
    await started[1].wait_output("registered")
    for child in reversed(started):
        child.send(signal.Signals[setting("lingua-node.service", "KillSignal")])
        assert await child.wait_exit(45) == 0, child.story()
    (processes.folder / "notify").unlink()


def words(name: str, port: int, etc: Path) -> list[str]:
    """Of the unit's command, without the program."""
    command = setting(name, "ExecStart").replace("%i", str(port)).replace("/etc/lingua", str(etc))
    return command.split()[1:]
