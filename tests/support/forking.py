"""Processes that are there in milliseconds: forked from one that has imported their modules already.

`main` imports modules, then reads requests from its standard input, a line each, forks for each a process that calls
`main(argv)` of a module, and answers with its process id. What it forked is nobody else's child: it waits for it, and
writes the exit code to a file. When its input ends it ends too. It never has a second thread or an event loop, so what
is forked is as new as what is started. `Template` is the other side of it.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TypedDict, cast

import msgspec

_POLL_S = 0.005


class Request(TypedDict):
    """What to run and where its output goes; `code`: where its exit code goes."""

    module: str
    argv: list[str]
    env: dict[str, str]
    out: str
    err: str
    code: str


class Forked:
    """A forked process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, code: Path) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._code = code

    def poll(self) -> int | None:
        if self.returncode is None and self._code.exists():
            self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        give_up_at = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() >= give_up_at:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and that is not yet written
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Template:
    """The process that forks, as its user sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @staticmethod
    @contextlib.contextmanager
    def of(*modules: str) -> "Generator[Template]":
        command = [sys.executable, "-c", f"import sys; from {__name__} import main; main(sys.argv[1:])", *modules]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with process:
            yield Template(process)

    def fork(self, module: str, argv: tuple[str, ...], env: Mapping[str, str], at: Path) -> Forked:
        """`at`: its output goes to files of this name with other suffixes."""
        out, err, code = (at.with_suffix(suffix) for suffix in (".out", ".err", ".code"))
        out.touch()
        err.touch()
        request = Request(module=module, argv=list(argv), env=dict(env), out=str(out), err=str(err), code=str(code))
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()), code)


def _serve() -> Request | None:
    """In the template: None at its end. In each process that it forks: what that one is to run."""
    codes: dict[int, Path] = {}
    ended, ends = os.pipe()
    os.set_blocking(ends, False)
    signal.signal(signal.SIGCHLD, _woken)
    signal.set_wakeup_fd(ends, warn_on_full_buffer=False)
    requests = sys.stdin.buffer
    while True:
        ready, _, _ = select.select([requests, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap(codes)
        if requests not in ready:
            continue
        if not (line := requests.readline()):
            break
        request = cast("Request", msgspec.json.decode(line))
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(ended)
            os.close(ends)
            return request
        codes[pid] = Path(request["code"])
        sys.stdout.buffer.write(b"%d\n" % pid)
        sys.stdout.buffer.flush()
    _reap(codes)
    for pid in codes:
        os.kill(pid, signal.SIGKILL)
    return None


def _reap(codes: dict[int, Path]) -> None:
    """Write down how processes ended; whoever looks sees the whole code or none."""
    for pid, path in list(codes.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            written = path.with_suffix(".part")
            with contextlib.suppress(FileNotFoundError):  # nobody asks any more
                written.write_text(str(os.waitstatus_to_exitcode(status)))
                written.rename(path)
            del codes[pid]


def _woken(*_: object) -> None:
    """The number of the signal is in the pipe that `select` watches: nothing is done in between."""


def _become(request: Request) -> None:
    """As if this process had been started for the request."""
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY),
        (2, request["err"], os.O_WRONLY),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.argv = [request["module"], *request["argv"]]


def main(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    gc.freeze()
    if (wanted := _serve()) is not None:
        _become(wanted)
        sys.exit(importlib.import_module(wanted["module"]).main(wanted["argv"]))
