"""The only place that prints: results to stdout, everything else to stderr.

Colours are for terminals alone, each stream judged by itself (never with `NO_COLOR`, nor where `TERM` is `dumb`). The
status line, on a terminal's stderr, is one line at the bottom that is rewritten in place; what else is printed goes
above it.
"""

import os
import re
import shutil
import sys
import textwrap
from typing import Any, TextIO

import msgspec

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_ERASE = "\r\x1b[2K"
_PAINT = re.compile(r"\x1b\[\d+m")
_BAR_CELLS = 24
INTERRUPTED = 130
"""The exit code after Ctrl-C."""


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

    @property
    def has_status(self) -> bool:
        """Whether a status line is seen by anybody."""
        return _is_terminal(self._err)

    def line(self, text: str = "") -> None:
        """A line for people."""
        self._print(text, self._people)

    def json(self, value: Any) -> None:
        """One object on one line of stdout."""
        self._print(msgspec.json.encode(value).decode(), self._out)

    def note(self, text: str) -> None:
        """Something to know that is no result: a fallback, a reconnection."""
        self._print(f"{_painted('note:', 'yellow', self._err)} {text}", self._err)

    def fail(self, text: str) -> None:
        """Why the command ends without having done its work, in one line."""
        self._print(f"{_painted('error:', 'red', self._err)} {' '.join(text.split())}", self._err)

    def interrupted(self) -> None:
        """The last words after Ctrl-C."""
        self.status("")
        self.note("interrupted")
        self.error_json("INTERRUPTED", "interrupted")

    def error_json(self, code: str, message: str) -> None:
        """An error for machines, where they are the ones that read."""
        if self.is_json:
            self.json({"error": {"code": code, "message": " ".join(message.split())}})

    def status(self, text: str) -> None:
        """Replace the status line; empty takes it away. Nothing where stderr is no terminal."""
        if not self.has_status or (not text and not self._status):
            return
        self._status = _cut(text, self.width - 1)
        self._err.write(f"{_ERASE}{self._status}")
        self._err.flush()

    def progress(self, done: float, total: float, text: str) -> None:
        """A status line that begins with how much of `total` is done."""
        filled = round(_BAR_CELLS * min(1.0, done / total)) if total > 0 else _BAR_CELLS
        rest = _painted("─" * (_BAR_CELLS - filled), "dim", self._err)
        self.status(f"{_painted('━' * filled, 'cyan', self._err)}{rest} {text}")

    def paint(self, text: str, colour: str) -> str:
        """`text`, for a line to people, in bold, dim, red, green, yellow or cyan, where colours are shown."""
        return _painted(text, colour, self._people)

    def wrapped(self, head: str, text: str, colour: str = "") -> None:
        """A line that is folded to the width, its further lines indented as far as `head` goes."""
        room = max(20, min(self.width, 120) - len(head))
        folded = textwrap.wrap(text, room) or [""]
        for at, part in enumerate(folded):
            painted = self.paint(part, colour) if colour else part
            self.line((head if at == 0 else " " * len(head)) + painted)

    def _print(self, text: str, stream: TextIO) -> None:
        if self._status:
            self._err.write(_ERASE)
            self._err.flush()
        print(text, file=stream, flush=True)
        if self._status:
            self._err.write(self._status)
            self._err.flush()


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _painted(text: str, colour: str, stream: TextIO) -> str:
    # An empty NO_COLOR counts as none: https://no-color.org
    if not text or not _is_terminal(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def _cut(text: str, cells: int) -> str:
    """The first `cells` characters that are seen; colours take no room, and end with the text."""
    if len(_PAINT.sub("", text)) <= cells:
        return text
    kept, room = "", cells
    for part in re.split(f"({_PAINT.pattern})", text):
        if _PAINT.fullmatch(part):
            kept += part
        else:
            kept += part[:room]
            room -= min(room, len(part))
    return kept
