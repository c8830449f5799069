"""Flags that several commands share, checked where they are read: a wrong one is told before anything starts."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli.parsing import Parser
from lingua_scheduler.protocol.ids import language

if TYPE_CHECKING:
    from lingua_scheduler.client.speaking import Pace

    # What `add_subparsers` returns; it has no public name, and takes no parameter when it runs.
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001
else:
    Commands = argparse.Action

PAUSE_MS = 500
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class UsageError(Exception):
    """What was asked cannot be done, in one line. `code` is for machines."""

    def __init__(self, message: str, code: str = "BAD_INPUT") -> None:
        super().__init__(message)
        self.code = code


def add_command(commands: Commands, name: str, what: str, examples: str) -> Parser:
    """A sub-command's parser, its examples below its flags."""
    return commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".", examples=examples)


def add_json(parser: Parser, what: str = "the result as JSON on the last line of stdout") -> None:
    """What the user asks for who is a program: stdout holds JSON alone, an error too."""
    parser.add_argument("--json", action="store_true", help=what)


def language_code(text: str) -> str:
    code = language(text)
    if code is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a language code such as en, pt or zh")
    return code


def port(text: str) -> int:
    return _number(text, 0, 65_535)


def positive(text: str) -> int:
    return _number(text, 1, 100_000)


def natural(text: str) -> int:
    return _number(text, 0, 100_000)


def speed(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed: 1 is real time, 0 as fast as it is taken")
    return value


def add_pace(parser: argparse.ArgumentParser) -> None:
    """How a recording is spoken."""
    group = parser.add_argument_group("pace")
    group.add_argument("--speed", type=speed, default=1.0, metavar="X", help="times real time (default 1; 0: no limit)")
    group.add_argument(
        "--pause-ms",
        type=positive,
        default=PAUSE_MS,
        metavar="MS",
        help=f"a pause ends a sentence (default {PAUSE_MS})",
    )
    group.add_argument(
        "--no-vad", action="store_true", help="send silence too and let the scheduler alone find the ends of sentences"
    )


def pace(args: argparse.Namespace) -> "Pace":
    from lingua_scheduler.client.speaking import Pace

    return Pace(speed=args.speed, pause_ms=args.pause_ms, is_gated=not args.no_vad)


def check_sound_file(path: Path) -> int | None:
    """Its duration in ms. SoundError where it cannot be read: told before anything is started for it."""
    from lingua_scheduler.client.sound import read_sound_file, sound_duration_ms

    duration_ms = sound_duration_ms(path)
    next(read_sound_file(path))
    return duration_ms


def _number(text: str, lowest: int, highest: int) -> int:
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest} to {highest}")
    return int(text)


def add_token(parser: argparse.ArgumentParser) -> None:
    """What the command shows where a scheduler asks who it is."""
    parser.add_argument(
        "--token", metavar="TOKEN", help="what it proves itself with (better in LINGUA_TOKEN: command lines are seen)"
    )


def token(args: argparse.Namespace) -> str | None:
    """From the command line, else from the environment."""
    return args.token or os.environ.get("LINGUA_TOKEN") or None


def seconds(text: str) -> int:
    """`90s`, `15m`, `12h`, `30d`."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNIT_S or not number.isascii() or not number.isdigit() or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 15m, 12h or 30d")
    return int(number) * _UNIT_S[unit]


def made_folder(path: Path | None) -> Path | None:
    """The folder, made where it was missing. UsageError where that cannot be."""
    if path is not None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {(error.strerror or '').lower()}") from None
    return path
