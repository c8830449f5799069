"""What can be typed: the tree of commands with their flags, read off the parser for documents and completion."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import cast

from lingua_scheduler.cli.parsing import Parser


class Takes(Enum):
    """What follows a flag."""

    NOTHING = "nothing"
    VALUE = "value"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, or a positional argument: then `names` is empty."""

    names: tuple[str, ...]
    shown: str
    """What stands for its value; empty where it takes none."""
    what: str
    takes: Takes
    choices: tuple[str, ...]
    is_required: bool


@dataclass(frozen=True, slots=True)
class Command:
    """`words` are those behind `lingua`; the root has none."""

    words: tuple[str, ...]
    what: str
    flags: tuple[Flag, ...]
    commands: tuple["Command", ...]
    examples: tuple[str, ...]

    @property
    def options(self) -> tuple[Flag, ...]:
        return tuple(flag for flag in self.flags if flag.names)

    @property
    def positionals(self) -> tuple[Flag, ...]:
        return tuple(flag for flag in self.flags if not flag.names)

    def walk(self) -> Iterator["Command"]:
        """This one, then those below it, in the order of `--help`."""
        yield self
        for command in self.commands:
            yield from command.walk()


def grammar(parser: Parser, words: tuple[str, ...] = ()) -> Command:
    """The tree below `parser`."""
    flags: list[Flag] = []
    commands: list[Command] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            below = cast("dict[str, Parser]", action.choices)
            commands += [grammar(one, (*words, name)) for name, one in below.items()]
        elif action.help != argparse.SUPPRESS:
            flags.append(_flag(action))
    examples = tuple(line.strip() for line in parser.examples.splitlines())
    return Command(words, (parser.description or "").rstrip("."), tuple(flags), tuple(commands), examples)


def _flag(action: argparse.Action) -> Flag:
    shown = action.metavar if isinstance(action.metavar, str) else ""
    choices = tuple(str(choice) for choice in action.choices or ())
    is_switch = action.nargs == 0
    takes = {"FILE": Takes.FILE, "DIR": Takes.FOLDER}.get(shown, Takes.VALUE)
    return Flag(
        names=tuple(action.option_strings),
        shown="" if is_switch else shown or "|".join(choices) or action.dest.upper(),
        what=action.help or "",
        takes=Takes.NOTHING if is_switch else takes,
        choices=choices,
        is_required=action.required,
    )
