"""What a check of `lingua doctor` comes to."""

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """FAILURE: it will not work, or not for long. WARNING: it works, less well than it could."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to do; empty where nothing is."""

    check: str
    status: Status
    told: str
    remedy: str = ""


def ok(check: str, told: str) -> Finding:
    return Finding(check, Status.OK, told)


def warning(check: str, told: str, remedy: str) -> Finding:
    return Finding(check, Status.WARNING, told, remedy)


def failure(check: str, told: str, remedy: str) -> Finding:
    return Finding(check, Status.FAILURE, told, remedy)
