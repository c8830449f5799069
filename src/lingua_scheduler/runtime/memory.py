"""How much memory the process has, how much it may have, and how seldom it is searched for garbage."""

import gc
import os
from pathlib import Path

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


_COLLECT_AFTER = (2_000, 500, 50)
"""Net allocations before the youngest objects are looked at, and rounds of that before older ones are.

Python's own (700, 10, 10) suit programs that keep little: thousands of sessions are a million objects, a look at all of
them holds the loop up for half a second, and what is merely on its way (audio, jobs) brings on the next. References
free nearly all of it; cycles are left by sessions that ended, a few hundred objects each. A look at the youngest takes
half a millisecond for each thousand of them, for they are in no cache any more: so it comes often, and is short.
"""


def keep_still() -> None:
    """Called once, when the process has loaded what it runs on: that is never garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def used_bytes() -> int:
    """Resident; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def available_bytes() -> int:
    """Of the container, or of the machine where it has less."""
    machine = _PAGE * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        try:
            return min(machine, int(path.read_text("ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return machine
