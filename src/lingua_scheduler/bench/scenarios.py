"""Every scenario by its name on the command line."""

from collections.abc import Callable, Coroutine
from typing import Any

from lingua_scheduler.bench import sessions
from lingua_scheduler.bench.report import Report
from lingua_scheduler.bench.settings import Settings

SCENARIOS: dict[str, Callable[[Settings], Coroutine[Any, Any, Report]]] = {"sessions": sessions.run}
