"""`lingua config`: the effective configuration, and where each value comes from."""

import argparse
import os
from pathlib import Path

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console

_EXAMPLES = """\
  lingua config
  lingua config --config config.toml --changed
  lingua config --json"""
_SECRETS = ("token", "password", "secret", "keys")


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "config", "show the effective configuration", _EXAMPLES)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file, as `lingua serve` would read it")
    parser.add_argument("--changed", action="store_true", help="only what is not a default")
    arguments.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.runtime.config import load_with_sources

    rows: list[dict[str, object]] = []
    for setting in load_with_sources(args.config, os.environ).settings:
        if args.changed and setting.source == "default":
            continue
        value = _shown(setting.key, setting.value)
        rows.append({"key": setting.key, "value": value, "source": setting.source})
        console.line(f"{setting.key} = {value!r}  {console.paint(f'({setting.source})', 'dim')}")
    if console.is_json:
        console.json({"settings": rows})
    return 0


def _shown(key: str, value: object) -> object:
    """The value, unless it is a secret; a URL without its password."""
    from lingua_scheduler.store.servers import without_password

    if not isinstance(value, str) or not value:
        return value
    if key.rpartition(".")[2] in _SECRETS:
        return "…"
    return without_password(value) if "://" in value else value
