"""An instance that keeps a history of what its sessions do: `python -m tests.e2e.chaos.instance HISTORY serve …`.

Production code, watched as in a simulation: every machine checks its invariants after each event. An event is one line
in the file, written before anything else happens: a kill loses none.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from lingua_scheduler.cli import main as command
from lingua_scheduler.scheduler.snapshots import Snapshots
from lingua_scheduler.sim.history import Event, History
from lingua_scheduler.sim.observe import watching
from tests.e2e.chaos import numbered

PLANT = "CHAOS_PLANT"
"""In the environment: a bug of `tests/sim/test_planted_bugs.py` that this instance is to have."""


class WallHistory(History):
    """By the wall clock, which all processes of a machine share."""

    def __init__(self) -> None:
        self.events = []

    def note(self, what: str, who: str, *facts: Any) -> None:
        self.add(Event(wall_ms(), what, who, facts))

    def add(self, event: Event) -> None:
        self.events.append(event)


class FileHistory(WallHistory):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("ab", buffering=0)

    def add(self, event: Event) -> None:
        self._file.write(msgspec.json.encode(event) + b"\n")


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def read_history(path: Path) -> list[Event]:
    """What a `FileHistory` wrote; a last line that a kill left half is no event."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [Event(at_ms, what, who, tuple(facts)) for at_ms, what, who, facts in map(msgspec.json.decode, lines)]


def plant(bug: str) -> None:
    import pytest

    from tests.sim.test_planted_bugs import BUGS

    BUGS[bug][0](pytest.MonkeyPatch())


def main(argv: list[str]) -> int:
    if bug := os.environ.get(PLANT):
        plant(bug)
    look = Snapshots.refresh
    with watching(FileHistory(Path(argv[0])), checks=True, hear=numbered.hear):
        Snapshots.refresh = look  # pages are made here, other than in a simulation
        return command.main(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
