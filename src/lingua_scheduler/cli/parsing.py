"""The parser of command lines: a mistake is told in one sentence with its remedy, and close guesses are offered."""

import argparse
import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

from lingua_scheduler.cli.console import Console

WRONG_COMMAND_LINE = 2


class CommandLineError(SystemExit):
    """The command line is wrong, and that has been told on stderr."""

    def __init__(self, message: str) -> None:
        super().__init__(WRONG_COMMAND_LINE)
        self.message = message


class Parser(argparse.ArgumentParser):
    """argparse's, with `examples` below the flags."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        if examples:
            kwargs |= {
                "epilog": f"examples:\n{examples.rstrip()}",
                "formatter_class": argparse.RawDescriptionHelpFormatter,
            }
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        told = f"{message}{'' if message.endswith('?') else ';'} `{self.prog} --help` shows what there is"
        Console().fail(told)
        raise CommandLineError(told)

    def refuse_unknown(self, words: list[str]) -> NoReturn:
        """`words` were left over when all that this parser knows had been taken."""
        word = words[0].partition("=")[0]
        known = [flag for action in self._actions for flag in action.option_strings]
        self.error(f"there is no {'option' if word.startswith('-') else 'place for'} {word!r}{_guess(word, known)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            guess = _guess(str(value), known) or f": choose {' or '.join((', '.join(known[:-1]), known[-1]))}"
            raise argparse.ArgumentError(action, f"{value!r} is none of them{guess}")


def parse(parser: Parser, words: list[str] | None) -> argparse.Namespace:
    """CommandLineError where it is wrong; SystemExit 0 after help or the version."""
    args, rest = parser.parse_known_args(words)
    if rest:
        args.parser.refuse_unknown(rest)
    return args


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""
