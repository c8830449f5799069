"""Puts a server under load: each part in a process of its own, pinned, and what each used of its core.

Servers have the first core (one each where there are enough), the load and Redis have the others: what the load costs
is then not taken from the server, nor counted as its own.
"""

import asyncio
import contextlib
import re
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from lingua_scheduler.bench import machine
from lingua_scheduler.bench.peers import Pair
from lingua_scheduler.bench.plan import Outcome, Plan
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.keys import Keys, lane_of

Library = Literal["own", "aiohttp"]
"""What a floor's sockets are: the endpoint that the scheduler serves by itself is the one that counts."""
_PIPE = asyncio.subprocess.PIPE
_END_S = 10.0
_POLL_S = 0.005
_LINE_MAX = 1 << 22


class BenchError(Exception):
    """A run that came to nothing, in one line."""


@dataclass(frozen=True, slots=True)
class Server:
    """Something under load."""

    name: str
    host: str
    port: int
    pids: tuple[int, ...]
    redis: "Redis | None" = None
    """That of a scheduler."""

    async def serves(self, pair: Pair, node_id: str) -> None:
        """Until a node is selectable for a pair of languages; at once where no Redis says. TimeoutError after 10 s.

        Who speaks before may be told that no node serves them.
        """
        if self.redis is None:
            return
        src, tgt = pair
        lane = Keys().lane(lane_of(((Language(src), Language(tgt)),)))
        async with asyncio.timeout(_END_S):
            while await self.redis.client.call("ZSCORE", lane, node_id) is None:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(_POLL_S)

    def cpu_s(self) -> float:
        """Of all of its processes, so far."""
        return sum(machine.cpu_s(pid) for pid in self.pids)

    def resident_bytes(self) -> int:
        return sum(machine.resident_bytes(pid) for pid in self.pids)

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Redis:
    """The Redis of a run; commands on a connection of ours."""

    url: str
    description: str
    client: RedisClient = field(repr=False)

    async def usage(self) -> "RedisUsage":
        told = str(await self.client.call("INFO", "everything"))
        seconds = sum(float(one) for one in re.findall(r"^used_cpu_(?:sys|user):([\d.]+)", told, re.MULTILINE))
        calls = {name: int(count) for name, count in re.findall(r"^cmdstat_(\S+?):calls=(\d+)", told, re.MULTILINE)}
        reads = re.search(r"^total_reads_processed:(\d+)", told, re.MULTILINE)
        return RedisUsage(seconds, calls, int(reads[1]) if reads else 0)


@dataclass(frozen=True, slots=True)
class RedisUsage:
    """Since the server's start, or between two readings. What scripts call is counted too."""

    cpu_s: float
    calls: dict[str, int]
    reads: int = 0
    """Times that it read from a client: however much stands in one read, it is one round trip."""

    def since(self, earlier: "RedisUsage") -> "RedisUsage":
        calls = {name: count - earlier.calls.get(name, 0) for name, count in self.calls.items()}
        calls = {name: count for name, count in calls.items() if count}
        return RedisUsage(self.cpu_s - earlier.cpu_s, calls, self.reads - earlier.reads)


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run came to."""

    outcome: Outcome
    server_cpu_s: float
    redis: RedisUsage
    resident_bytes: tuple[int, int, int, int]
    """Of the server: before anybody came, with all connected, at the begin and at the end of the time that counts."""
    warm_s: float

    @property
    def cpu_us_per_frame(self) -> float:
        return self.server_cpu_s / max(1, self.outcome.frames) * 1e6

    @property
    def cpu_us_per_utterance(self) -> float:
        return self.server_cpu_s / max(1, self.outcome.utterances) * 1e6

    @property
    def server_load(self) -> float:
        """Cores that the server used."""
        return self.server_cpu_s / self.outcome.seconds

    @property
    def load_load(self) -> float:
        """Cores that the load used, its warm-up included."""
        return self.outcome.load_cpu_s / (self.outcome.seconds + self.warm_s)


class Stand:
    """Starts what a scenario asks for: `async with Stand.open() as stand`."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self.server_cores, self.load_cores = machine.split_cores(workers)

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(workers: int = 1) -> "AsyncGenerator[Stand]":
        """For the block this process, and what it starts, stays on the load's cores."""
        machine.allow_sockets()
        with tempfile.TemporaryDirectory(prefix="lingua-bench-") as folder:
            stand = Stand(Path(folder), workers)
            machine.pin(0, stand.load_cores)
            try:
                yield stand
            finally:
                machine.pin(0, sorted({*stand.server_cores, *stand.load_cores}))

    @contextlib.asynccontextmanager
    async def redis(self) -> AsyncGenerator[Redis]:
        """One of our own, on the load's cores. StoreError where none can be started."""
        async with EmbeddedRedis.start(memory_mb=2048) as redis, RedisClient.open(redis.url) as client:
            yield Redis(redis.url, redis.description, client)

    @contextlib.asynccontextmanager
    async def scheduler(self, redis: Redis, workers: int = 1) -> AsyncGenerator[Server]:
        """`lingua serve`. BenchError where it does not start."""
        port = 0 if workers == 1 else _free_port()
        words = ["serve", "--json", "--port", f"{port}", "--redis", redis.url, "--workers", f"{workers}"]
        command = [sys.executable, "-m", "lingua_scheduler.cli.main", *words]
        async with self._started(command, stops_by_signal=True) as (process, line):
            told = msgspec.json.decode(line)
            pids: tuple[int, ...] = tuple(told["workers"]) or (process.pid,)
            for number, pid in enumerate(pids):
                machine.pin(pid, [self.server_cores[number % len(self.server_cores)]])
            yield Server("scheduler", "127.0.0.1", int(told["url"].rpartition(":")[2]), pids, redis)

    @contextlib.asynccontextmanager
    async def floor(self, library: Library = "own") -> AsyncGenerator[Server]:
        """A relay on the same socket library, or on aiohttp, and next to nothing else."""
        async with self._started([sys.executable, "-m", "lingua_scheduler.bench.floor", library]) as (process, line):
            yield Server("floor", "127.0.0.1", int(line), (process.pid,))

    @contextlib.asynccontextmanager
    async def limit(self) -> AsyncGenerator[Server | None]:
        """The C loop; None where there is no C compiler."""
        program = machine.compiled(Path(__file__).with_name("limit.c"), self._folder)
        if program is None:
            yield None
            return
        async with self._started([str(program)]) as (process, line):
            yield Server("limit", "127.0.0.1", int(line), (process.pid,))

    @contextlib.asynccontextmanager
    async def _started(
        self, command: Sequence[str], *, stops_by_signal: bool = False
    ) -> AsyncGenerator[tuple[asyncio.subprocess.Process, bytes]]:
        """A server process on the servers' cores, and the line that it says once it listens."""
        log = self._folder / "server.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(*command, stdin=_PIPE, stdout=_PIPE, stderr=errors)
        machine.pin(process.pid, self.server_cores)
        assert process.stdout
        assert process.stdin
        try:
            if not (line := await process.stdout.readline()):
                raise BenchError(f"no server: {log.read_text('utf-8', errors='replace').strip()[-300:] or command}")
            yield process, line
        finally:
            process.stdin.close()
            if stops_by_signal and process.returncode is None:
                process.terminate()
            await _ended(process)

    async def load(self, server: Server, plan: Plan, redis: Redis | None = None) -> Measured:
        """Run the load against a server. BenchError where it fails."""
        before = server.resident_bytes()
        nothing = RedisUsage(0.0, {})
        command = [sys.executable, "-m", "lingua_scheduler.bench.load"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=_PIPE, stdout=_PIPE, stderr=_PIPE, limit=_LINE_MAX
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        try:
            process.stdin.write(msgspec.json.encode(plan) + b"\n")
            await self._expect(process, b"open")
            connected = server.resident_bytes()
            process.stdin.write(b"go\n")
            await self._expect(process, b"begin")
            cpu_s, began = server.cpu_s(), server.resident_bytes()
            redis_began = await redis.usage() if redis else nothing
            await self._expect(process, b"end")
            cpu_s, ended = server.cpu_s() - cpu_s, server.resident_bytes()
            redis_used = (await redis.usage()).since(redis_began) if redis else nothing
            outcome = msgspec.json.decode(await process.stdout.readline(), type=Outcome)
        finally:
            process.stdin.close()
            await _ended(process)
        return Measured(outcome, cpu_s, redis_used, (before, connected, began, ended), plan.warm_s)

    @staticmethod
    async def _expect(process: asyncio.subprocess.Process, word: bytes) -> None:
        assert process.stdout
        assert process.stderr
        line = await process.stdout.readline()
        if line.strip() != word:
            why = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            raise BenchError(f"the load failed before {word.decode()!r}: {why[-1] if why else 'no word of it'}")


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
