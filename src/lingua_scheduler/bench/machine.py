"""The machine: which core a process runs on, what it used of it, and what everything is called."""

import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PACKAGES = ("aiohttp", "uvloop", "msgspec", "pybase64", "hiredis")


def clock_s() -> float:
    """One clock for all processes of the machine, which never goes back."""
    return time.monotonic()


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, all of its threads, to the nanosecond. ProcessLookupError once it is gone."""
    # Linux makes the clock of a process from its number: clock_getcpuclockid(3).
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError as error:
        raise ProcessLookupError(f"no process {pid}") from error


def resident_bytes(pid: int) -> int:
    """Of a process, what it shares with others included."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE


def pin(pid: int, cores: Sequence[int]) -> None:
    """The process and what it starts from now on stay on these cores."""
    os.sched_setaffinity(pid, cores)


def split_cores(servers: int) -> tuple[list[int], list[int]]:
    """Cores for so many servers, and those that are left for the load; on few cores they share the last one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return cores, cores
    mine = cores[: max(1, min(servers, len(cores) - 1))]
    return mine, cores[len(mine) :]


def allow_sockets() -> int:
    """As many open files as the system lets us have; how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def described() -> dict[str, str]:
    """Processor, system and versions, for a report."""
    told = {
        "cpu": _cpu_name(),
        "cores": f"{os.cpu_count()}",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    for name in _PACKAGES:
        try:
            told[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            told[name] = "not installed"
    return told


def compiler() -> str | None:
    """A C compiler of this machine."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(source: Path, into: Path) -> Path | None:
    """The program of a C file; None where there is no compiler, or it does not manage."""
    program = into / source.stem
    if (cc := compiler()) is None:
        return None
    done = subprocess.run([cc, "-O2", "-o", program, source], capture_output=True, check=False)
    return program if done.returncode == 0 else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
