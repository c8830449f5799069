"""Schedulers, nodes and Redis as real processes, to be killed and stopped; and the checks that nothing of them is left.

A fleet ends with `finish`: slots are free, descriptors are not more than at the start, instances end with 0 and without
a traceback, and every key that is left in Redis is in the key table and expires.
"""

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import KEY_TABLE
from tests.support import wait_until
from tests.support.processes import Child, Processes

PATIENT_MS = 15_000
"""For an answer of Redis to a test: on a machine that has much else to do it may take seconds."""
STEADY = 15
"""Looks at a number, one each 20 ms, that agree."""
ROOT = Path(__file__).parents[2]
SERVE, AGENT = "lingua_scheduler.cli.main", "tests.e2e.node_agent"
IMPORTED = (SERVE, "lingua_scheduler.cli.serve", "lingua_scheduler.scheduler.app", "uvloop", AGENT)
"""What instances and nodes of tests import."""
BLOCK_MS = 100
"""Of a read of an inbox: an instance that is told to stop waits for the end of one."""
_BUGS = re.compile(r"Traceback|machine failed|background task failed|message failed|never awaited|never retrieved")

Reply = str | int | list[str] | None


@dataclass(slots=True)
class Redis:
    """One server on a unix socket: empty after each start, unless it `keeps` its data."""

    processes: Processes
    keeps: bool = False
    child: Child = field(init=False)
    env: dict[str, str] = field(default_factory=dict[str, str])
    """What instances that use it have in their environment."""

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def serve_options(self) -> tuple[str, ...]:
        """By which an instance finds it."""
        return ("--redis", self.url)

    @property
    def socket(self) -> Path:
        return self.processes.folder / "redis"

    async def start(self) -> None:
        keeping = ("--appendonly", "yes", "--appendfsync", "always") if self.keeps else ("--appendonly", "no")
        self.child = self.processes.start(
            "redis-server", "--port", "0", "--unixsocket", str(self.socket), "--save", "", *keeping,
            "--dir", str(self.processes.folder), "--loglevel", "warning",
        )  # fmt: skip
        await wait_until(self._answers, "Redis")

    async def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        await self.child.wait_exit()

    async def restart(self) -> None:
        """Start anew, with another way of keeping data."""
        await self.kill()
        await self.start()

    async def ask(self, *words: str) -> Reply:
        async with RedisClient.open(self.url, timeout_ms=PATIENT_MS) as client:
            return cast("Reply", await client.call(*words))

    async def keys(self, pattern: str = "*") -> list[str]:
        return sorted(cast("list[str]", await self.ask("KEYS", pattern)))

    async def unexplained(self, allowed: frozenset[str] = frozenset()) -> dict[str, str]:
        """Keys that are not in the table, or stay for ever, with what they hold."""
        found: dict[str, str] = {}
        for key in await self.keys():
            expires = cast("int", await self.ask("PTTL", key)) != -1
            if key not in allowed and not (expires and _is_in_table(key)):
                found[key] = str(await self.ask("TYPE", key))
        return found

    async def _answers(self) -> bool:
        try:
            return await self.ask("PING") == "PONG"
        except StoreError:
            return False


@dataclass(slots=True)
class Instance:
    """One `lingua serve`."""

    child: Child
    url: str
    descriptors_at_start: int = 0
    mib_at_start: float = 0.0

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))  # noqa: PTH208 - of another process: only their number

    def resident_mib(self) -> float:
        """Memory that it has, as the system counts it."""
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    async def settled_descriptors(self) -> int:
        """Their number once the connections of the start have gone."""
        seen = deque[int](maxlen=STEADY)

        def number() -> int:
            seen.append(self.descriptors())
            return seen[-1] if len(seen) == STEADY and len(set(seen)) == 1 else 0

        return await wait_until(number, "the number of descriptors to be steady")

    async def status(self, path: str = "/ready") -> int:
        async with aiohttp.ClientSession() as http, http.get(self.url + path) as response:
            return response.status

    async def wait_ready(self, wanted: int = 200) -> None:
        async def is_so() -> bool:
            return await self.status() == wanted

        await wait_until(is_so, f"/ready to say {wanted}\n{self.child.story()}")

    async def wait_peers(self, count: int) -> None:
        """Until it has seen so many instances alive, itself included: only whom it has seen can it miss."""

        async def is_so() -> bool:
            async with aiohttp.ClientSession() as http, http.get(self.url + "/api/v1/cluster") as response:
                return len((await response.json()).get("instances", ())) >= count

        await wait_until(is_so, f"{count} instances to be seen\n{self.child.story()}")

    @property
    def instance_id(self) -> str:
        found = re.search(r"instance='([^']+)'", self.child.stderr)
        assert found, self.child.story()
        return found[1]


@dataclass(slots=True)
class NodeProcess:
    """One `node_agent`."""

    node_id: str
    child: Child

    def jobs(self) -> list[tuple[int, int]]:
        """(index, attempt) of each job it was given."""
        return [
            (int(index), int(attempt))
            for attempt, index in re.findall(r"^job \S+ (\d+) (\d+)$", self._out, re.MULTILINE)
        ]

    def registrations(self) -> list[str]:
        return re.findall(r"^registered (\S+)$", self._out, re.MULTILINE)

    def release(self) -> None:
        """Let it answer: what it has, and what comes."""
        self.child.send(signal.SIGUSR1)

    async def wait_jobs(self, count: int = 1) -> None:
        await wait_until(lambda: len(self.jobs()) >= count, f"job {count} at {self.child.story()}", 30)

    async def wait_registered(self, times: int = 1) -> None:
        await wait_until(
            lambda: len(self.registrations()) >= times, f"registration {times} of {self.child.story()}", 30
        )

    @property
    def _out(self) -> str:
        return self.child.stdout


@dataclass(slots=True)
class Fleet:
    """Everything that runs in one test."""

    processes: Processes
    redis: Redis
    instances: list[Instance] = field(default_factory=list[Instance])
    nodes: list[NodeProcess] = field(default_factory=list[NodeProcess])

    async def serve(self, count: int = 1, *, redis_url: str = "", port: int = 0, **settings: object) -> list[Instance]:
        """Instances, started side by side; `settings` are configuration keys with `__` between sections.

        `redis_url`: another way to the fleet's Redis. `port`: of the one instance.
        """
        env = {f"LINGUA_{key.upper()}": str(value) for key, value in settings.items()}
        redis = ("--redis", redis_url) if redis_url else self.redis.serve_options
        return list(await asyncio.gather(*(self._serve(env, redis, port) for _ in range(count))))

    async def _serve(self, env: Mapping[str, str], redis: tuple[str, ...], port: int) -> Instance:
        env = {"LINGUA_SCHEDULER__PHASE2__STREAM_BLOCK_MS": str(BLOCK_MS), **self.redis.env, **env}
        child = self.processes.fork(SERVE, "serve", "--port", str(port), *redis, env=env)
        return await self.joined_by(child)

    async def joined_by(self, child: Child) -> Instance:
        """An instance that was started just now, once it is ready."""
        instance = Instance(child, (await child.wait_output("listening on")).split()[-1])
        await instance.wait_ready()
        instance.descriptors_at_start = await instance.settled_descriptors()
        instance.mib_at_start = instance.resident_mib()
        self.instances.append(instance)
        return instance

    async def node(
        self,
        node_id: str,
        *at: Instance,
        capacity: int = 4,
        work_ms: int = 0,
        heeds_cancel: bool = True,
        spoken_bytes: int = 0,
    ) -> NodeProcess:
        """A registered node; of several instances it goes to the next when it loses one. `work_ms`: see `release`."""
        child = self.processes.fork(
            AGENT, node_id, str(capacity), str(work_ms), str(int(heeds_cancel)),
            str(spoken_bytes),
            *(one.ws for one in at),
        )  # fmt: skip
        node = NodeProcess(node_id, child)
        self.nodes.append(node)
        await node.wait_registered()
        await self.wait_selectable(node_id)
        return node

    async def wait_selectable(self, *node_ids: str, deadline_s: float = 15) -> None:
        """Until the store has taken a heartbeat of each."""

        async def are() -> bool:
            return all([
                await self.redis.ask("EXISTS", f"lingua:v1:node:{node_id}:pools") == 1 for node_id in node_ids
            ])  # fmt: skip

        await wait_until(are, f"{node_ids} to be selectable", deadline_s)

    async def slots_taken(self) -> int:
        return sum([len(jobs) for jobs in (await self._taken()).values()])

    async def _taken(self) -> dict[str, list[str]]:
        """Jobs that have a slot, by the key of their node's slots."""
        keys = await self.redis.keys("lingua:v1:node:*:jobs")
        return {key: cast("list[str]", await self.redis.ask("ZRANGE", key, "0", "-1")) for key in keys}

    async def finish(self, slots_within_s: float = 30) -> None:
        """End all and look for what is left; clients are gone already."""

        async def are_free() -> bool:
            return await self.slots_taken() == 0

        try:
            await wait_until(are_free, "every slot to be free", slots_within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self._taken()}") from None
        for node in self.nodes:
            assert "OVER CAPACITY" not in node.child.stdout, node.child.story()
            assert "Traceback" not in node.child.stderr, node.child.story()
            node.child.send(signal.SIGCONT)
            node.child.send(signal.SIGTERM)
        await asyncio.gather(*(node.child.wait_exit() for node in self.nodes))
        running = [one for one in self.instances if one.child.running]
        for one in running:
            await wait_until(
                lambda one=one: one.descriptors() <= one.descriptors_at_start,
                f"descriptors to be closed: {one.descriptors_at_start} at the start",
            )
        for one in running:
            one.child.send(signal.SIGTERM)
        for one in running:
            assert await one.child.wait_exit(60) == 0, one.child.story()
        for one in self.instances:
            assert not _BUGS.search(one.child.stderr), one.child.story()
        # Of an instance that was killed its name and its inbox stay until a peer has seen its presence expire.
        dead = [one for one in self.instances if one.child.process.returncode == -signal.SIGKILL]
        allowed = {f"lingua:streams:{{instance:{one.instance_id}}}:inbox" for one in dead}
        left = await self.redis.unexplained(frozenset(allowed | {"lingua:schedulers:all"} if dead else allowed))
        assert not left, f"left in Redis: {left}"


def _is_in_table(key: str) -> bool:
    return any(pattern.fullmatch(key) for pattern in _PATTERNS)


_PATTERNS = [
    re.compile(
        "".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<[^>]+>)", key.pattern))
    )
    for key in KEY_TABLE
]
