"""On a pseudo-terminal people see bars, colours and a clean end; in a pipe nothing of it."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import wait_until

LINGUA = str(Path(sys.executable).with_name("lingua"))
COLOUR = re.compile(r"\x1b\[\d+m")
SIMULATE = (LINGUA, "simulate", "--seeds", "2", "--minutes", "0.2", "--faults", "none", "--jobs", "1")


class Terminal:
    """A command whose input, output and errors are a terminal."""

    def __init__(self, *argv: str, **env: str) -> None:
        self._seen = b""
        plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "TERM"}}
        plain |= {"TERM": "xterm", "COLUMNS": "80"}
        self._leader, follower = pty.openpty()
        os.set_blocking(self._leader, False)
        self.process = subprocess.Popen(
            argv, stdin=follower, stdout=follower, stderr=follower, env={**plain, **env}, start_new_session=True
        )
        os.close(follower)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)

    @property
    def screen(self) -> str:
        try:
            while part := os.read(self._leader, 65_536):
                self._seen += part
        except (BlockingIOError, OSError):  # nothing more yet, or nobody writes any more
            pass
        return self._seen.decode("utf-8", "replace")

    def children(self) -> list[str]:
        """The processes that it has started, by their ids."""
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()

    async def wait_exit(self) -> int:
        await wait_until(lambda: (self.screen, self.process.poll() is not None)[1], f"the end of {self.process.args}")
        return self.process.wait()


async def test_a_terminal_shows_a_bar_that_is_gone_at_the_end():
    with Terminal(*SIMULATE) as terminal:
        assert await terminal.wait_exit() == 0

        assert "2 of 2 seeds" in terminal.screen
        assert "━" in terminal.screen
        assert COLOUR.search(terminal.screen)
        last = terminal.screen.rstrip().splitlines()[-1].rpartition("\x1b[2K")[2]
        assert last.startswith("2 seeds, ")


async def test_no_color_leaves_the_bar_and_takes_its_colours():
    with Terminal(*SIMULATE, NO_COLOR="1") as terminal:
        assert await terminal.wait_exit() == 0

        assert "━" in terminal.screen
        assert not COLOUR.search(terminal.screen)


def test_a_pipe_gets_neither():
    done = subprocess.run(SIMULATE, capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.startswith("2 seeds, ")
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "argv", [("simulate", "--seeds", "1000", "--jobs", "2"), ("serve", "--embedded-redis", "--port", "0")]
)
async def test_ctrl_c_ends_without_a_traceback(argv: tuple[str, ...]):
    """And with all that it has started."""
    with Terminal(LINGUA, *argv) as terminal:
        await wait_until(lambda: "seeds" in terminal.screen or "nodes " in terminal.screen, f"work of {argv}")
        children = terminal.children()
        assert children
        os.killpg(terminal.process.pid, signal.SIGINT)  # as a terminal does: to all that the command started

        assert await terminal.wait_exit() == 130
        assert "Traceback" not in terminal.screen
        assert terminal.screen.endswith("interrupted\r\n")
        await wait_until(lambda: not any(Path("/proc", pid).exists() for pid in children), "the end of its processes")


async def test_ctrl_c_ends_a_demo_and_its_engines_without_a_traceback(tmp_path: Path):
    with Terminal(LINGUA, "demo", "--engines", "scripted", "--out", str(tmp_path)) as terminal:
        await wait_until(lambda: "s spoken" in terminal.screen, "the recording to be spoken")
        os.killpg(terminal.process.pid, signal.SIGINT)

        assert await terminal.wait_exit() == 130
        assert "Traceback" not in terminal.screen
        assert terminal.screen.endswith("interrupted\r\n")


async def test_a_terminal_that_knows_no_portuguese_gets_question_marks():
    with Terminal(LINGUA, "demo", "--help", PYTHONIOENCODING="ascii") as terminal:
        assert await terminal.wait_exit() == 0
        assert "examples:" in terminal.screen
