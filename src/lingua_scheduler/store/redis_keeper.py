"""Keeps one Redis server alive exactly as long as the process that asked for it: a program of its own.

It uses the standard library alone. `python -I -S redis_keeper.py SERVER_BINARY MEMORY_MB` makes a private folder, runs
the server in it on a unix socket, prints one JSON line (`{"folder": …, "socket": …}` or `{"error": …}`) and then waits
for the first of

- the end of its standard input: the parent closed the pipe, or died and the kernel closed it (SIGKILL included);
- another parent than at the start: something the parent forked still holds the pipe open; looked at once a second;
- SIGTERM, or the end of the server.

Then it ends the server and removes the folder. The keeper has a session of its own, so a terminal's Ctrl-C does not
take Redis away from a parent that is still draining; and the kernel ends the server where the keeper itself is killed.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_READY_S = 10.0
_END_S = 5.0
_SOCKET_PATH_MAX = 100  # the kernel's limit is 107 bytes


class _Stopped(Exception):  # noqa: N818 - a request, not an error
    pass


def _folder() -> Path:
    made = tempfile.mkdtemp(prefix="lingua-redis-")
    if len(made) + len("/redis.sock") > _SOCKET_PATH_MAX:
        Path(made).rmdir()
        made = tempfile.mkdtemp(prefix="lingua-redis-", dir="/tmp")
    return Path(made)


def _die_with_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start(binary: str, memory_mb: int, folder: Path) -> "subprocess.Popen[bytes]":
    options = {
        "port": "0",
        "unixsocket": str(folder / "redis.sock"),
        "unixsocketperm": "700",
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "set-proc-title": "no",  # it would write over the environment, by which process tools and tests know a process
        "maxmemory": f"{memory_mb}mb",
        "maxmemory-policy": "noeviction",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [binary, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_keeper,  # noqa: PLW1509 - this program has one thread
        )


def _wait_ready(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Until it answers a PING. Raises RuntimeError with the end of its log where it does not."""
    give_up_at = time.monotonic() + _READY_S  # noqa: TID251 - a program of its own
    while server.poll() is None and time.monotonic() < give_up_at:  # noqa: TID251
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            probe.connect(str(folder / "redis.sock"))
            probe.sendall(b"PING\r\n")
            if probe.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.01)
    log = (folder / "server.log").read_text("utf-8", "replace").strip().splitlines()
    raise RuntimeError("; ".join(log[-3:]) or "it ended without a word")


def _watch(server: "subprocess.Popen[bytes]", parent: int) -> None:
    while server.poll() is None and os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 1024):
            return


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _on_signal(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: the clearing up must not be interrupted
    raise _Stopped


def _tell(**what: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(what).encode() + b"\n")


def main(binary: str, memory_mb: int) -> None:
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _on_signal)
    folder = _folder()
    server = None
    try:
        server = _start(binary, memory_mb, folder)
        _wait_ready(server, folder)
        _tell(folder=str(folder), socket=str(folder / "redis.sock"))
        _watch(server, parent)
    except (OSError, RuntimeError) as fault:
        _tell(error=str(fault))
    except _Stopped:
        pass
    finally:
        if server is not None:
            _end(server)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
