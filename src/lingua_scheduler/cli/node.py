"""`lingua node`: a worker that recognises, translates and speaks for a scheduler."""

import argparse
import os
from pathlib import Path

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.activity import Activity
from lingua_scheduler.cli.console import Console

_EXAMPLES = """\
  lingua node
  lingua node --url ws://scheduler.example:5010/ws/node --engines whisper,bergamot,espeak
  lingua node --url ws://a.example:5010/ws/node,ws://b.example:5010/ws/node
  lingua node --engines scripted --capacity 8"""


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "node", "run a worker node", _EXAMPLES)
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the scheduler's ws://HOST:PORT/ws/node; several of a fleet with commas between them",
    )
    parser.add_argument(
        "--engines", metavar="LIST", help="`demo` (the best that is installed), or engines with commas between them"
    )
    parser.add_argument("--capacity", type=arguments.natural, metavar="N", help="jobs at once (0: measured at start)")
    parser.add_argument("--node-id", metavar="ID", help="a name that stays (default: a fresh one)")
    parser.add_argument("--zone", metavar="NAME", help="where it stands; schedulers prefer nodes near by")
    arguments.add_token(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file; flags win over it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.node.app import NodeApp
    from lingua_scheduler.runtime import loop
    from lingua_scheduler.runtime.clock import Clock
    from lingua_scheduler.runtime.config import load_config
    from lingua_scheduler.runtime.logs import configure_logs
    from lingua_scheduler.runtime.traces import open_traces

    names = ("url", "engines", "capacity", "node_id", "zone")
    flags = {f"node.{name}": getattr(args, name) for name in names}
    config = load_config(args.config, os.environ, {**flags, "node.token": arguments.token(args)})
    configure_logs(config.observability.log_level, config.observability.log_format)

    async def work() -> int:
        activity = Activity(console)
        try:
            async with open_traces(config.observability, Clock(), "lingua-node", config.node.node_id) as traces:
                await NodeApp(config.node, activity.report, traces=traces).run()
        finally:
            activity.close()
        return 0

    return loop.run(work())
