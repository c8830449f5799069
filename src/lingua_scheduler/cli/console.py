"""The only place that prints: results to stdout, everything else to stderr.

Colours and the status line appear on terminals alone (never with `NO_COLOR`, nor where `TERM` is `dumb`). The status
line is one line at the bottom that is rewritten in place; whatever else is printed goes above it.
"""

import os
import shutil
import sys
import textwrap
from typing import Any, TextIO

import msgspec

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_ERASE = "\r\x1b[2K"


class Console:
    """Where a command prints. With `is_json`, people's lines go to stderr and stdout holds JSON alone."""

    def __init__(self, *, is_json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.is_json = is_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._people = self._err if is_json else self._out
        self._status = ""

    @property
    def width(self) -> int:
        return shutil.get_terminal_size((100, 24)).columns

    def line(self, text: str = "") -> None:
        """A line for people."""
        self._print(text, self._people)

    def json(self, value: Any) -> None:
        """One object on one line of stdout."""
        self._print(msgspec.json.encode(value).decode(), self._out)

    def note(self, text: str) -> None:
        """Something to know that is no result: a fallback, a reconnection."""
        self._print(f"{self.paint('note:', 'yellow')} {text}", self._err)

    def fail(self, text: str) -> None:
        """Why the command ends without having done its work, in one line."""
        self._print(f"{self.paint('error:', 'red')} {' '.join(text.split())}", self._err)

    def status(self, text: str) -> None:
        """Replace the status line; empty takes it away. Nothing where there is no terminal."""
        if not _is_terminal(self._people):
            return
        self._status = text[: self.width - 1]
        self._people.write(f"{_ERASE}{self._status}")
        self._people.flush()

    def paint(self, text: str, colour: str) -> str:
        """`text` in bold, dim, red, green, yellow or cyan, where colours are shown."""
        if not _is_terminal(self._people) or "NO_COLOR" in os.environ:
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

    def wrapped(self, head: str, text: str, colour: str = "") -> None:
        """A line that is folded to the width, its further lines indented as far as `head` goes."""
        room = max(20, min(self.width, 120) - len(head))
        folded = textwrap.wrap(text, room) or [""]
        for at, part in enumerate(folded):
            painted = self.paint(part, colour) if colour else part
            self.line((head if at == 0 else " " * len(head)) + painted)

    def _print(self, text: str, stream: TextIO) -> None:
        erase = _ERASE if self._status else ""
        if erase and stream is not self._people:
            self._people.write(_ERASE)
            self._people.flush()
            erase = ""
        print(f"{erase}{text}", file=stream, flush=True)
        if self._status:
            self._people.write(self._status)
            self._people.flush()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
