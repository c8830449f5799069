"""`lingua doctor`: looks at everything that has to be right before a start, and tells what to do where it is not."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console

if TYPE_CHECKING:
    from lingua_scheduler.cli.findings import Finding
    from lingua_scheduler.runtime.config import Config

_EXAMPLES = """\
  lingua doctor                                       # this machine, for an instance and a node
  lingua doctor serve --redis redis://redis.example:6379 --host 0.0.0.0 --keys keys.toml
  lingua doctor node --url ws://scheduler.example:5010/ws/node --engines whisper,bergamot,espeak
  lingua doctor --config config.toml --json | jq '.findings[] | select(.status != "ok")'"""
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "doctor", "check Redis, ports, limits, clocks, keys and models", _EXAMPLES)
    parser.add_argument(
        "what", nargs="?", choices=("serve", "node"), help="what this machine is to run (default: both)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file, as `lingua serve` would read it")
    parser.add_argument("--host", help="the address that an instance would listen on")
    parser.add_argument("--port", type=arguments.port, help="the port that an instance would listen on")
    redis = parser.add_mutually_exclusive_group()
    redis.add_argument("--redis", metavar="URL", help="the Redis that an instance would use")
    redis.add_argument("--embedded-redis", action="store_true", help="an instance would bring its own: look for none")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the keys that an instance would check tokens with")
    parser.add_argument("--url", metavar="URL", help="the scheduler that a node would work for")
    parser.add_argument("--engines", metavar="LIST", help="the engines that a node would load")
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """1 where anything failed."""
    from lingua_scheduler.cli.findings import Status
    from lingua_scheduler.runtime import loop

    findings: list[Finding] = []

    async def look() -> int:
        async for finding in _findings(args):
            findings.append(finding)
            _tell(console, finding)
        return 0

    if code := loop.run(look()):
        return code
    failures = sum(one.status is Status.FAILURE for one in findings)
    warnings = sum(one.status is Status.WARNING for one in findings)
    console.line(f"{len(findings)} checks, {failures} failed, {warnings} could be better")
    if console.is_json:
        rows = [
            {"check": one.check, "status": one.status.value, "told": one.told, "remedy": one.remedy} for one in findings
        ]
        console.json({"failures": failures, "warnings": warnings, "findings": rows})
    return 1 if failures else 0


async def _findings(args: argparse.Namespace):  # noqa: ANN202 - an async generator of Finding
    from lingua_scheduler.cli import machine_checks as machine
    from lingua_scheduler.cli.findings import failure, ok
    from lingua_scheduler.cli.redis_checks import check_redis
    from lingua_scheduler.runtime.config import ConfigError

    is_scheduler, is_node = args.what != "node", args.what != "serve"
    for finding in (*machine.check_python(), *machine.check_limits()):
        yield finding
    try:
        config = _config(args)
    except ConfigError as error:
        yield failure("configuration", str(error), "mend it; config.example.toml has every key")
        return
    yield ok("configuration", str(args.config) if args.config else "defaults, the environment and flags")
    if is_scheduler:
        yield machine.check_port(config)
        for finding in (
            *machine.check_access(config), *machine.check_tls(config.server), *machine.check_proxies(config)
        ):  # fmt: skip
            yield finding
        for finding in [] if args.embedded_redis else await check_redis(config.scheduler.phase2.redis):
            yield finding
    for finding in machine.check_node(config.node, must_work=args.what == "node") if is_node else ():
        yield finding


def _config(args: argparse.Namespace) -> "Config":
    from lingua_scheduler.runtime.config import load_config

    flags = {
        "server.host": args.host,
        "server.port": args.port,
        "security.keys_file": str(args.keys.resolve()) if args.keys else None,
        "scheduler.phase2.redis.url": args.redis,
        "scheduler.phase2.redis.mode": "single" if args.redis else None,
        "node.url": args.url,
        "node.engines": args.engines,
    }
    return load_config(args.config, os.environ, flags)


def _tell(console: Console, finding: "Finding") -> None:
    mark, colour = _MARKS[finding.status.value]
    console.line(f"{console.paint(mark, colour)} {finding.check:<18} {finding.told}")
    if finding.remedy:
        console.wrapped(f"{'':21}→ ", finding.remedy)
