"""How much memory the process has, and how much it may have."""

import os
from pathlib import Path

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


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
