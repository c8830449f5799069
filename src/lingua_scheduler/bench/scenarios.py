"""Every scenario by its name on the command line."""

from collections.abc import Callable, Coroutine
from typing import Any

from lingua_scheduler.bench import dispatch, failover, memory, placement, resume, rooms, sessions
from lingua_scheduler.bench.report import Report
from lingua_scheduler.bench.settings import Settings

SCENARIOS: dict[str, Callable[[Settings], Coroutine[Any, Any, Report]]] = {
    "sessions": sessions.run,
    "dispatch": dispatch.run,
    "failover": failover.run,
    "resume": resume.run,
    "rooms": rooms.run,
    "placement": placement.run,
    "memory": memory.run,
}
