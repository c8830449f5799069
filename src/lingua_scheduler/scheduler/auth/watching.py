"""Who may look at a running fleet over HTTP: where there are keys, whoever brings an administrator's token.

A job's story is also told to clients of its tenant. Open to everybody are health and readiness, the pages themselves
(they show nothing without the rest), the description of this API, and which languages can be translated, which the web
page asks before anybody has shown a token.
"""

from aiohttp import web
from aiohttp.typedefs import Middleware

from lingua_scheduler.scheduler.auth.guard import Guard
from lingua_scheduler.scheduler.pages import Handler

_OPEN = frozenset({"/api/v1/pools", "/api/v1/openapi.json"})
_STORIES = "/api/v1/jobs/"


def only_operators(guard: Guard) -> Middleware:
    """A middleware. Requests that change something are checked where they are handled."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        why = _refusal(guard, request)
        if why is None:
            return await handler(request)
        response = web.json_response({"error": f"{why}; an administrator's token is needed"}, status=401)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    return check


def _refusal(guard: Guard, request: web.Request) -> str | None:
    path = request.path
    is_watched = path == "/metrics" or (path.startswith("/api/v1/") and path not in _OPEN)
    if not guard.is_on or not is_watched or request.method not in {"GET", "HEAD"}:
        return None
    authorization = request.headers.get("Authorization", "")
    if path.startswith(_STORIES) and guard.tenant(authorization) is not None:
        return None
    return guard.admin(authorization)
