"""The web pages and what a browser may do with them: a content policy without exceptions, for every answer of the port.

Nothing is loaded from elsewhere, no script or style stands in a page, and nothing is made into a script at run time.
"""

import functools
import re
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "worker-src 'self'; connect-src {connect}; form-action 'none'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": (
        "microphone=(self), autoplay=(self), clipboard-write=(self), screen-wake-lock=(self), camera=(), geolocation=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_UNCACHED = "no-cache"
"""Asked again each time, answered 304 while nothing changed: the modules of a page are always of one version."""


def add_pages(app: web.Application) -> None:
    """The pages under `/` and `/static`."""
    folder = Path(str(resources.files("lingua_scheduler") / "web"))
    app.router.add_get("/", functools.partial(_page, folder / "index.html"))
    app.router.add_static("/static", folder, append_version=False)


@web.middleware
async def with_security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer, errors included, says what a browser may do with it."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_headers(request))
        raise
    if not response.prepared:
        response.headers.update(_headers(request))
    return response


def _headers(request: web.Request) -> dict[str, str]:
    headers = {**HEADERS, "Content-Security-Policy": _CONTENT_POLICY.format(connect=_may_connect(request.host))}
    if request.path == "/" or request.path.startswith("/static/"):
        headers["Cache-Control"] = _UNCACHED
    return headers


def _may_connect(host: str) -> str:
    """The port itself; by name, too, for browsers whose 'self' does not cover WebSockets."""
    return f"'self' ws://{host} wss://{host}" if _HOST.fullmatch(host) else "'self'"


async def _page(path: Path, _: web.Request) -> web.StreamResponse:
    return web.FileResponse(path)
