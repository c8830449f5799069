"""The machine a node runs on: its size at registration, its load in heartbeats.

Linux tells both in /proc; elsewhere what cannot be read is left out. GPUs are asked of `nvidia-smi` where there is one,
in a process that nothing waits for.
"""

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lingua_scheduler.protocol.node import Gpu, Hardware

_ASK_GPUS = ("--query-gpu=name,memory.total,memory.used,utilization.gpu", "--format=csv,noheader,nounits")
_GPU_TIMEOUT_S = 5.0
_KIB_PER_GIB = 1 << 20


@dataclass(frozen=True, slots=True)
class GpuState:
    name: str
    memory_mb: int
    used_mb: int
    busy_percent: float


class MachineLoad:
    """Percentages since the last look. `gpus` is as of the last `look_at_gpus`."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._before = self._ticks()
        self.gpus: tuple[GpuState, ...] = ()

    def hardware(self) -> Hardware:
        gpus = [Gpu(name=gpu.name, memory_gb=round(gpu.memory_mb / 1024, 1)) for gpu in self.gpus]
        return Hardware(
            cpu_cores=os.cpu_count() or 1,
            memory_gb=round(self._memory_kib().get("MemTotal", 0) / _KIB_PER_GIB, 1),
            gpus=gpus or None,
        )

    def cpu_percent(self) -> float | None:
        """The share of all processors that was busy since the last call; None where that cannot be read."""
        before, now = self._before, self._ticks()
        self._before = now
        if before is None or now is None or now[1] <= before[1]:
            return None
        return round(100 * (1 - (now[0] - before[0]) / (now[1] - before[1])), 1)

    def mem_percent(self) -> float | None:
        memory = self._memory_kib()
        if not memory.get("MemTotal"):
            return None
        return round(100 * (1 - memory.get("MemAvailable", 0) / memory["MemTotal"]), 1)

    def gpu_percent(self) -> float | None:
        return max((gpu.busy_percent for gpu in self.gpus), default=None)

    def gpu_mem_percent(self) -> float | None:
        return max((round(100 * gpu.used_mb / gpu.memory_mb, 1) for gpu in self.gpus if gpu.memory_mb), default=None)

    async def look_at_gpus(self) -> None:
        program = shutil.which("nvidia-smi")
        if program is None:
            return
        process = await asyncio.create_subprocess_exec(
            program,
            *_ASK_GPUS,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_GPU_TIMEOUT_S):
                said, _ = await process.communicate()
        except TimeoutError:
            return
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self.gpus = parse_gpus(said.decode("utf-8", "replace"))

    def _ticks(self) -> tuple[int, int] | None:
        """Idle ticks and all ticks since the machine started."""
        try:
            numbers = [int(one) for one in (self._proc / "stat").read_text().splitlines()[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None
        return sum(numbers[3:5]), sum(numbers)

    def _memory_kib(self) -> dict[str, int]:
        try:
            lines = (self._proc / "meminfo").read_text().splitlines()
            return {line.split(":")[0]: int(line.split()[1]) for line in lines}
        except (OSError, ValueError, IndexError):
            return {}


def parse_gpus(said: str) -> tuple[GpuState, ...]:
    """The cards in `nvidia-smi`'s answer; a line that is no card is passed over."""
    found: list[GpuState] = []
    for line in said.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        with contextlib.suppress(ValueError):
            name, total, used, busy = cells
            found.append(GpuState(name, int(total), int(used), float(busy)))
    return tuple(found)
