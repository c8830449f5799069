"""The shared helpers of the tests, each shown to fail where it should."""

import os
import signal
import sys
import wave
from pathlib import Path

import pytest

from tests.support import Processes, free_port, read_wav, wait_until
from tests.support.processes import descriptors

_ORPHAN_MAKER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
"""
_SOCKET_MAKER = """
import os, socket
socket.socket(socket.AF_UNIX).bind(os.environ["TMPDIR"] + "/left.sock")
"""
_DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
signal.pause()
"""


async def test_wait_until_returns_the_first_true_value():
    values = iter([0, None, 7])

    assert await wait_until(lambda: next(values), "a number") == 7


async def test_wait_until_names_what_it_waited_for():
    with pytest.raises(AssertionError, match="for a miracle; last seen: 0"):
        await wait_until(lambda: 0, "a miracle", deadline_s=0.05)


async def test_a_child_is_watched_to_its_end(processes: Processes):
    child = processes.start(sys.executable, "-c", "import sys; print('ready'); sys.exit(3)")

    assert await child.wait_output("ready") == "ready"
    assert await child.wait_exit() == 3


async def test_waiting_for_output_fails_when_the_child_ends_without_it(processes: Processes):
    child = processes.start(sys.executable, "-c", "print('something else')")

    with pytest.raises(AssertionError, match=r"ended without 'ready'(.|\n)*something else"):
        await child.wait_output("ready")


async def test_a_running_child_is_ended_by_its_pid():
    """Looked at right after its start it was once not seen: until the kernel has laid it out, it has no environment."""
    with Processes() as runner:
        child = runner.start(sys.executable, "-c", "import signal; print('ready', flush=True); signal.pause()")
        await child.wait_output("ready")
        assert list(runner.alive()) == [child.pid]

    assert child.process.returncode == -signal.SIGTERM
    assert not runner.alive()


async def test_an_orphan_fails_the_test_and_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.support.processes._ORPHAN_GRACE_S", 0)
    runner = Processes()
    await runner.start(sys.executable, "-c", _ORPHAN_MAKER).wait_exit()

    with pytest.raises(AssertionError, match="processes left behind"):
        runner.close()

    await wait_until(lambda: not runner.alive(), "the orphan's end")


async def test_a_socket_left_behind_fails_the_test():
    runner = Processes()
    await runner.start(sys.executable, "-c", _SOCKET_MAKER).wait_exit()

    with pytest.raises(AssertionError, match="sockets left behind"):
        runner.close()


async def test_a_child_that_ignores_sigterm_fails_the_test(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.support.processes._TERM_GRACE_S", 0)
    runner = Processes()
    await runner.start(sys.executable, "-c", _DEAF).wait_output("deaf")

    with pytest.raises(AssertionError, match="ignored SIGTERM"):
        runner.close()


def test_an_open_file_shows_among_the_descriptors():
    before = descriptors()
    end, other_end = os.pipe()
    left = descriptors() - before
    os.close(end)
    os.close(other_end)

    assert len(left) == 2
    assert not descriptors() - before


def test_free_ports_are_not_privileged():
    assert free_port() > 1023


def test_a_wav_file_is_read(tmp_path: Path):
    path = tmp_path / "square.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"\x00\x40\x00\xc0" * 4000)

    sound = read_wav(path)

    assert (sound.sample_rate, sound.channels, sound.duration_ms, sound.loudness) == (16000, 1, 500, 0.5)
