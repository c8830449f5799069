"""Seeds in worker processes: a world has one thread and shares nothing with another.

`python -m lingua_scheduler.sim.crew '{"size": {…}}'` is a worker: a seed comes in on a line and its verdict goes out on
another. The end of its input is its own: no worker outlives who started it by more than a seed.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import msgspec

from lingua_scheduler.sim.plan import Size
from lingua_scheduler.sim.runner import Verdict, judge_seeds


class CrewError(Exception):
    """A worker ended that had a seed in hand."""


@dataclass(frozen=True, slots=True)
class Work:
    size: Size
    checks: bool = True


class Crew:
    """Plays seeds in so many processes; one is this process."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        # In groups of their own: Ctrl-C is for whoever started them.
        command, pipe = [sys.executable, "-m", "lingua_scheduler.sim.crew", msgspec.json.encode(work)], subprocess.PIPE
        self._workers = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, process_group=0) for _ in range(jobs if jobs > 1 else 0)
        ]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def verdicts(self, first: int, count: int) -> Iterator[Verdict]:
        """In the order of seeds; those of other processes without their runs. CrewError."""
        if not self._workers:
            yield from judge_seeds(range(first, first + count), self._work.size, checks=self._work.checks)
            return
        for worker in self._workers:
            self._idle.put(worker)
        pool = ThreadPoolExecutor(len(self._workers))
        try:
            yield from pool.map(self._play, range(first, first + count))
        finally:
            self.kill()
            pool.shutdown(cancel_futures=True)

    def kill(self) -> None:
        """At once, whatever they have in hand."""
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        self.kill()
        for worker in self._workers:
            with worker:  # waits for it and closes its pipes
                pass

    def _play(self, seed: int) -> Verdict:
        worker = self._idle.get()
        try:
            assert worker.stdin is not None
            assert worker.stdout is not None
            # Not through its buffer, which would complain of the same once more when it is closed.
            os.write(worker.stdin.fileno(), b"%d\n" % seed)
            told = worker.stdout.readline()
        except BrokenPipeError:
            told = b""
        finally:
            self._idle.put(worker)
        if not told.endswith(b"\n"):
            raise CrewError(f"the process that played seed {seed} died: exit code {worker.wait()}")
        return msgspec.json.decode(told, type=Verdict)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _work() -> None:
    work, out = msgspec.json.decode(sys.argv[1], type=Work), sys.stdout.buffer
    for verdict in judge_seeds(map(int, sys.stdin.buffer), work.size, checks=work.checks):
        out.write(msgspec.json.encode(replace(verdict, run=None)) + b"\n")
        out.flush()


if __name__ == "__main__":
    _work()
