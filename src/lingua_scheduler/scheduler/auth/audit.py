"""The record of control actions: who asked for what, from where, and whether it was done. Times are the log's own.

It goes to the logger `scheduler.audit`: one JSON line each where `observability.log_format = "json"`.
"""

from aiohttp import web

from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.auth.guard import Guard

_log = get_logger("scheduler.audit")

LOCAL = "a program of this machine"


def obeyed(request: web.Request, guard: Guard | None, action: str, about: str) -> None:
    """`action` will be done to `about`, an instance, node or dead letter."""
    who = guard.name(request.headers.get("Authorization", "")) if guard is not None and guard.is_on else LOCAL
    _log.info("control action", action=action, about=about, who=who, address=request.remote or "")


def turned_away(request: web.Request, status: int, guard: Guard | None) -> None:
    """Somebody asked for a control action who may not, or not so."""
    who = guard.name(request.headers.get("Authorization", "")) if guard is not None and guard.is_on else ""
    asked = f"{request.method} {request.path[:200]}"
    _log.warning("control refused", asked=asked, status=status, who=who, address=request.remote or "")
