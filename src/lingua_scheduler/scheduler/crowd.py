"""Before any request is looked at: does it name this instance, and does its sender ask no more often than he may?"""

from aiohttp import web
from aiohttp.typedefs import Middleware

from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.limits import crowded, of_whom
from lingua_scheduler.scheduler.pages import Handler

_ALWAYS = frozenset({"/health", "/ready"})
"""They tell nothing, and balancers ask for them under any name."""


def only_guests(context: Context) -> Middleware:
    """A middleware."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if wait_ms := context.limits.request(of_whom(request.remote or "")):
            return crowded(context.metrics, wait_ms)
        if request.path not in _ALWAYS and not context.guard.is_own_name(request):
            context.metrics.denied.labels("origin").inc()
            return web.Response(
                status=403, text="address the instance as localhost (or see security.allowed_origins)\n"
            )
        return await handler(request)

    return check
