"""Real child processes: started for one test, watched through their output, ended by their pid, checked for leaks.

Every child carries a token of this runner in its environment, and so does whatever it starts in turn. That finds
orphans that changed their parent or their session, and never touches a process that the test did not cause. Children
get a short private temporary folder (a unix socket's path may have 107 bytes), which must hold no socket once they
have ended.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.support.forking import Template
from tests.support.waiting import wait_until

_TOKEN = "LINGUA_TEST_TOKEN"
_TERM_GRACE_S = 10
_ORPHAN_GRACE_S = 5


class Process(Protocol):
    """What is asked of a started program, however it was started."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


@dataclass(slots=True)
class Child:
    """One started program. What it prints goes to two files, so a chatty child never blocks on a full pipe."""

    name: str
    process: Process
    stdout_path: Path
    stderr_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text("utf-8", "replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def send(self, what: signal.Signals) -> None:
        """Signal this child alone; one that has ended is left in peace."""
        if self.running:
            self.process.send_signal(what)

    async def wait_output(self, text: str, deadline_s: float = 30) -> str:
        """The first whole line, of either stream, that holds `text`. Fails at once where the child ends without it."""

        def line() -> str | None:
            ended = not self.running
            lines = (self.stdout + "\n" + self.stderr).splitlines(keepends=not ended)
            found = next((one.strip() for one in lines if text in one and (ended or one.endswith("\n"))), None)
            assert found or not ended, f"{self.name} ended without {text!r}\n{self.story()}"
            return found

        return await wait_until(line, f"{text!r} from {self.name}\n{self.story()}", deadline_s)

    async def wait_exit(self, deadline_s: float = 30) -> int:
        """Its exit code: negative where a signal ended it."""
        await wait_until(lambda: not self.running, f"the end of {self.name}\n{self.story()}", deadline_s)
        return self.process.wait()

    def story(self) -> str:
        """What a reader of a failure needs: the state and the last output."""
        state = "running" if self.running else f"exit code {self.process.returncode}"
        return f"--- {self.name} (pid {self.pid}, {state})\n{self.stdout[-2000:]}{self.stderr[-4000:]}"


class Processes:
    """Starts children and answers for them. Use it as a context manager, or take the fixture `processes`.

    `folder` is where children keep temporary files and sockets; what they print is kept beside it under `out/`.
    """

    def __init__(self, template: Template | None = None) -> None:
        """`template`: what `fork` forks."""
        self._template = template
        self._token = secrets.token_hex(8)
        self._home = Path(tempfile.mkdtemp(prefix="lt-"))
        self.folder = self._home / "tmp"
        self._out = self._home / "out"
        self.folder.mkdir()
        self._out.mkdir()
        self.children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lingua(self, *arguments: str, env: Mapping[str, str] | None = None) -> Child:
        """Start the `lingua` command that is installed beside this interpreter."""
        return self.start(str(Path(sys.executable).with_name("lingua")), *arguments, env=env)

    def start(self, program: str, *arguments: str, env: Mapping[str, str] | None = None) -> Child:
        """Start any program, without a terminal or input; `env` adds to this process's environment."""
        name = " ".join([Path(program).name, *arguments[:2]])
        at = self._next()
        out_path, err_path = at.with_suffix(".out"), at.with_suffix(".err")
        with out_path.open("wb") as out, err_path.open("wb") as err:
            process = subprocess.Popen(
                [program, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._env(env)
            )
        return self._started(name, process, at)

    def fork(self, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Child:
        """`python -m module`, without the second that its imports take: it has `main(argv)`."""
        if self._template is None:
            return self.start(sys.executable, "-m", module, *arguments, env=env)
        at = self._next()
        process = self._template.fork(module, arguments, self._env(env), at)
        return self._started(" ".join([module, *arguments[:2]]), process, at)

    def _next(self) -> Path:
        """Where the output of the next child goes, but for the suffix."""
        return self._out / str(len(self.children))

    def _env(self, env: Mapping[str, str] | None) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
            _TOKEN: self._token,
            **(env or {}),
        }

    def _started(self, name: str, process: Process, at: Path) -> Child:
        child = Child(name, process, at.with_suffix(".out"), at.with_suffix(".err"))
        self.children.append(child)
        return child

    def alive(self) -> dict[int, str]:
        """Every process, by pid, that one of the children started or is: its command line. Zombies do not count."""
        return dict(_carriers(self._token))

    def sockets(self) -> list[Path]:
        """Unix sockets in the children's temporary folder."""
        return [path for path in self.folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]

    def close(self) -> None:
        """End what still runs (SIGTERM, then SIGKILL), then fail where a process or a socket was left behind."""
        for child in self.children:
            child.send(signal.SIGTERM)
        give_up_at = time.monotonic() + _TERM_GRACE_S
        stubborn = [child for child in self.children if not _ended(child, give_up_at)]
        for child in stubborn:
            child.process.kill()
            child.process.wait()
        orphans = self._end_orphans()
        sockets = self.sockets()
        told = "\n".join(child.story() for child in self.children)
        shutil.rmtree(self._home, ignore_errors=True)
        assert not stubborn, f"ignored SIGTERM for {_TERM_GRACE_S} s: {[child.name for child in stubborn]}\n{told}"
        assert not orphans, f"processes left behind: {orphans}\n{told}"
        assert not sockets, f"sockets left behind: {sockets}\n{told}"

    def _end_orphans(self) -> dict[int, str]:
        """What outlives the children for longer than a moment; it is killed, each by its pid."""
        give_up_at = time.monotonic() + _ORPHAN_GRACE_S
        while (orphans := self.alive()) and time.monotonic() < give_up_at:
            time.sleep(0.02)
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        return orphans


def _ended(child: Child, give_up_at: float) -> bool:
    try:
        child.process.wait(max(0.0, give_up_at - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _carriers(token: str) -> list[tuple[int, str]]:
    wanted = f"{_TOKEN}={token}".encode()
    found: list[tuple[int, str]] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except (OSError, ValueError):
            continue  # it ended while it was looked at, or belongs to somebody else
    return found


def descriptors() -> set[str]:
    """What this process holds open, each as `number target`: compare two of these to find a leak."""
    found: set[str] = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{link.name} {link.readlink()}")
        except FileNotFoundError:
            continue  # the descriptor that lists the folder
    return found
