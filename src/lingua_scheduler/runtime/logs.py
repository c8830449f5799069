"""Structured log lines: a static message and named values, as JSON for machines or text for people.

Never audio, recognised text, names or tokens at INFO. `cause` names the event that set a line off.
"""

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any, Literal

_ROOT = "lingua"
CHARS_MAX = 1000
"""Of one value."""
_UNPRINTED = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON leaves as it is and a terminal or a reader of lines obeys."""


class Logger:
    """A logger with ids bound once: `log.bind(session=…).info("session opened", languages=…)`."""

    def __init__(self, logger: logging.Logger, bound: dict[str, Any]) -> None:
        self._logger = logger
        self._bound = bound

    def bind(self, **values: Any) -> "Logger":
        return Logger(self._logger, {**self._bound, **values})

    def debug(self, message: str, **values: Any) -> None:
        self._log(logging.DEBUG, message, values)

    def info(self, message: str, **values: Any) -> None:
        self._log(logging.INFO, message, values)

    def warning(self, message: str, **values: Any) -> None:
        self._log(logging.WARNING, message, values)

    def error(self, message: str, **values: Any) -> None:
        self._log(logging.ERROR, message, values)

    def _log(self, level: int, message: str, values: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, extra={"values": {**self._bound, **values}})


def get_logger(name: str) -> Logger:
    return Logger(logging.getLogger(f"{_ROOT}.{name}"), {})


def library_logger(name: str) -> logging.Logger:
    """For a library that wants one of its own. Where it reports an error, the kind and place are told and no more."""
    return logging.getLogger(f"{_ROOT}.{name}")


def configure_logs(level: str, form: Literal["text", "json"]) -> None:
    """Send log lines to stderr. Called once by the command line; libraries and tests leave logging alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if form == "json" else _TextFormatter())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def _values(record: logging.LogRecord) -> dict[str, Any]:
    values: dict[str, Any] = {name: _cut(value) for name, value in getattr(record, "values", {}).items()}
    return {**values, **_fault(record.exc_info)} if record.exc_info else values


def _cut(value: Any) -> Any:
    """A peer may write an id of megabytes: not into our log."""
    is_long = isinstance(value, str) and len(value) > CHARS_MAX
    return f"{value[:CHARS_MAX]}… ({len(value)} characters)" if is_long else value


def _fault(info: Any) -> dict[str, str]:
    """The text of an exception may hold what a peer sent: a header, and with it a token."""
    kind, _, trace = info
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    return {"error": getattr(kind, "__name__", ""), "place": place}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_values(record),
        }
        return _UNPRINTED.sub(
            lambda found: f"\\u{ord(found[0]):04x}", json.dumps(line, default=str, ensure_ascii=False)
        )


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # repr keeps a peer's newlines and escapes from forging a line of ours.
        values = " ".join(f"{name}={value!r}" for name, value in _values(record).items())
        clock = self.formatTime(record, "%H:%M:%S")
        name = record.name.removeprefix(f"{_ROOT}.")
        return f"{clock} {record.levelname:7} {name}: {record.getMessage()} {values}".rstrip()
