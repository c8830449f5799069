"""Before any request is looked at: does it name this instance, and does its sender ask no more often than he may?"""

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from lingua_scheduler.protocol.handshake import Denial
from lingua_scheduler.runtime.doorman import Serve
from lingua_scheduler.runtime.library_sockets import as_response
from lingua_scheduler.runtime.sockets import Caller
from lingua_scheduler.scheduler.answers import Refusal
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.limits import crowded, of_whom
from lingua_scheduler.scheduler.pages import Handler

_ALWAYS = frozenset({"/health", "/ready"})
"""They tell nothing, and balancers ask for them under any name."""


def only_guests(context: Context) -> Middleware:
    """A middleware."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        named = None if request.path in _ALWAYS else request.headers.get("Host")
        denial = _denial(context, request.remote or "", named)
        if denial is None:
            return await handler(request)
        response = as_response(denial)
        if request.path.startswith("/api/"):
            response.body = msgspec.json.encode(Refusal(error=denial.text.strip()))
            response.content_type = "application/json"
        return response

    return check


def for_guests(context: Context, serve: Serve) -> Serve:
    """The same for a WebSocket that no middleware sees."""

    async def check(caller: Caller) -> Denial | None:
        denial = _denial(context, caller.remote, caller.host)
        return await serve(caller) if denial is None else denial

    return check


def _denial(context: Context, remote: str, named: str | None) -> Denial | None:
    if wait_ms := context.limits.request(of_whom(remote)):
        return crowded(context.metrics, wait_ms)
    if not context.guard.is_own_name(named):
        context.metrics.denied.labels("origin").inc()
        return Denial(403, "address the instance as localhost (or see security.allowed_origins)\n")
    return None
