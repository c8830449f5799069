"""`lingua serve`: a scheduler instance, or several that share one port."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console

if TYPE_CHECKING:
    from lingua_scheduler.runtime.config import Config

_EXAMPLES = """\
  lingua serve --embedded-redis
  lingua serve --redis redis://localhost:6379 --host 0.0.0.0 --keys keys.toml
  lingua serve --config config.toml --workers 4
  lingua serve --embedded-redis --port 0 --json"""
_READY = "ready"
"""What a worker prints once it listens."""


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "serve", "run a scheduler", _EXAMPLES)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a TOML file; the environment and flags win over it"
    )
    parser.add_argument("--host", help="the address to listen on (default 127.0.0.1; 0.0.0.0 for every one)")
    parser.add_argument("--port", type=arguments.port, help="default 5010; 0 for any that is free")
    redis = parser.add_mutually_exclusive_group()
    redis.add_argument("--redis", metavar="URL", help="default redis://localhost:6379")
    redis.add_argument("--embedded-redis", action="store_true", help="start a Redis that ends with this command")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="keys of access tokens; needed beyond loopback")
    parser.add_argument("--workers", type=arguments.positive, metavar="N", help="instances that share the port")
    arguments.add_json(parser, "one object on a line of its own once it listens, with its addresses")
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.runtime import loop
    from lingua_scheduler.runtime.clock import Clock
    from lingua_scheduler.runtime.config import ConfigError, load_config
    from lingua_scheduler.runtime.logs import configure_logs
    from lingua_scheduler.scheduler.auth.guard import Guard
    from lingua_scheduler.store.configured import finder_of, keys_of

    flags = {
        "server.host": args.host,
        "server.port": args.port,
        "server.workers": args.workers,
        "security.keys_file": str(args.keys.resolve()) if args.keys else None,
        "scheduler.phase2.redis.url": args.redis,
        "scheduler.phase2.redis.mode": "single" if args.redis else None,
    }
    config = load_config(args.config, os.environ, flags)
    if not args.embedded_redis:
        finder_of(config.scheduler.phase2.redis)
        keys_of(config.scheduler.phase2.redis)
    configure_logs(config.observability.log_level, config.observability.log_format)
    is_worker = args.until_stdin_closes
    is_open = not Guard(config, Clock()).is_on
    if config.server.workers > 1 and not is_worker:
        if config.server.port == 0:
            raise ConfigError("several workers cannot share a port that each chooses for itself: name one with --port")
        return loop.run(_serve_many(args, config, console, is_open=is_open))
    return loop.run(_serve_one(config, console, is_embedded=args.embedded_redis, is_worker=is_worker))


async def _serve_one(config: "Config", console: Console, *, is_embedded: bool, is_worker: bool) -> int:
    from lingua_scheduler.runtime import memory
    from lingua_scheduler.runtime.supervisor import tell_ready
    from lingua_scheduler.scheduler.app import Scheduler

    async with (
        _redis(console, is_embedded=is_embedded) as url,
        Scheduler.start(config, redis_url=url) as scheduler,
    ):
        memory.keep_still()
        if is_worker:
            console.line(_READY)
            async with asyncio.TaskGroup() as group:
                ends = {group.create_task(_wait_stdin_closed()), group.create_task(scheduler.wait_stopped())}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                for end in ends:
                    end.cancel()
            return 0
        _tell(console, scheduler.url, is_open=not scheduler.context.guard.is_on)
        tell_ready()
        await scheduler.wait_stopped()
    return 0


async def _serve_many(args: argparse.Namespace, config: "Config", console: Console, *, is_open: bool) -> int:
    """Start the workers and stay until one of them ends; then end the others."""
    from lingua_scheduler.runtime.supervisor import tell_ready

    async with _redis(console, is_embedded=args.embedded_redis) as url:
        command = [sys.executable, "-m", "lingua_scheduler.cli.main", "serve", "--until-stdin-closes"]
        named = url or args.redis
        command += ["--config", str(args.config)] if args.config else []
        command += ["--keys", config.security.keys_file] if config.security.keys_file else []
        command += ["--host", config.server.host, "--port", str(config.server.port)]
        command += ["--workers", str(config.server.workers), *(["--redis", named] if named else [])]
        async with contextlib.AsyncExitStack() as stack:
            starting = [await stack.enter_async_context(_worker(command)) for _ in range(config.server.workers)]
            workers = [await worker.wait_ready() for worker in starting]
            pids = [worker.pid for worker in workers]
            scheme = "https" if config.server.tls_cert_file else "http"
            _tell(console, f"{scheme}://{config.server.host}:{config.server.port}", is_open=is_open, pids=pids)
            tell_ready()
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(worker.wait()) for worker in workers]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                ended = next(worker for worker in workers if worker.returncode is not None)
                for task in waiting:
                    task.cancel()
            if ended.returncode == 0:  # drained: the others share its port, so they leave too
                return 0
            console.fail(f"worker {ended.pid} ended (exit code {ended.returncode}); its own lines above say why")
    return 1


class _Worker:
    """One instance in a process of its own, that all start side by side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.is_ready = False

    async def wait_ready(self) -> asyncio.subprocess.Process:
        """Until it listens. ConfigError where it ended instead."""
        from lingua_scheduler.runtime.config import ConfigError

        assert self.process.stdout
        if (await self.process.stdout.readline()).decode().strip() != _READY:
            raise ConfigError("a worker did not start; its own lines above say why")
        self.is_ready = True
        return self.process


@contextlib.asynccontextmanager
async def _worker(command: list[str]) -> AsyncGenerator[_Worker]:
    """A worker that is starting. It ends when its standard input closes: with this block, or with this process."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
    worker = _Worker(process)
    assert process.stdin
    try:
        yield worker
    finally:
        process.stdin.close()
        if not worker.is_ready and process.returncode is None:
            process.terminate()  # it does not look at its input yet
        await process.wait()


@contextlib.asynccontextmanager
async def _redis(console: Console, *, is_embedded: bool) -> AsyncGenerator[str | None]:
    """The URL of an embedded Redis, or None: the configured one is used."""
    if not is_embedded:
        yield None
        return
    from lingua_scheduler.store.embedded import EmbeddedRedis

    async with EmbeddedRedis.start() as redis:
        console.line(f"  redis      {redis.description}")
        yield redis.url


def _tell(console: Console, url: str, *, is_open: bool, pids: Sequence[int] = ()) -> None:
    from lingua_scheduler.scheduler.auth.guard import OPEN_DOOR

    socket = url.replace("http", "ws", 1)
    console.line(f"{console.paint('listening', 'green')} on {console.paint(url, 'bold')}")
    console.line(f"  web page   {url}/")
    console.line(f"  dashboards {url}/dashboard")
    console.line(f"  clients    {socket}/ws/session      lingua translate FILE --url {socket} --from en --to pt")
    console.line(f"  nodes      {socket}/ws/node         lingua node --url {socket}/ws/node")
    if pids:
        console.line(f"  workers    {', '.join(map(str, pids))}")
    if is_open:
        console.note(OPEN_DOOR)
    if console.is_json:
        console.json({
            "url": url, "dashboards": f"{url}/dashboard", "clients": f"{socket}/ws/session",
            "nodes": f"{socket}/ws/node", "authentication": not is_open, "workers": list(pids),
        })  # fmt: skip


async def _wait_stdin_closed() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        await reader.read()
    finally:
        transport.close()
