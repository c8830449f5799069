"""The HTTP side of the port: health, readiness, metrics, snapshots and the pages; and the two WebSocket doors."""

import asyncio
import functools
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from aiohttp import web

from lingua_scheduler.protocol.ids import JobId, valid_id
from lingua_scheduler.runtime.doorman import Serve
from lingua_scheduler.runtime.library_sockets import LibraryCaller, as_response
from lingua_scheduler.scheduler import openapi
from lingua_scheduler.scheduler.answers import Readiness, Refusal
from lingua_scheduler.scheduler.auth.guard import Guard
from lingua_scheduler.scheduler.auth.watching import only_operators
from lingua_scheduler.scheduler.clients import serve_client
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.crowd import only_guests
from lingua_scheduler.scheduler.desk import Desk, answer
from lingua_scheduler.scheduler.feed import Feed
from lingua_scheduler.scheduler.nodes import Nodes, serve_node
from lingua_scheduler.scheduler.pages import Handler, add_pages, with_security_headers
from lingua_scheduler.scheduler.proxies import behind_proxies, networks
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.scheduler.snapshots import PICTURES, Snapshots
from lingua_scheduler.store.errors import StoreError

HEADER_BYTES_MAX = 8190
DASHBOARDS = ("dashboard", "cluster", "compute-power", "models", "languages")


def websocket_routes(context: Context, sessions: Sessions, nodes: Nodes) -> dict[str, Serve]:
    """Whom aiohttp serves, or the doormen in its place."""
    return {
        "/ws/session": functools.partial(serve_client, context, sessions),
        "/ws/node": functools.partial(serve_node, context, nodes),
    }


def build_app(context: Context, sockets: Mapping[str, Serve], desk: Desk) -> web.Application:
    """All routes of the port; `sockets`: where there are WebSockets."""
    snapshots = desk.snapshots
    trusted = networks(context.config.server.trusted_proxies)
    app = web.Application(
        middlewares=[
            behind_proxies(trusted),
            with_security_headers,
            _errors_in_json,
            only_guests(context),
            only_operators(context.guard),
        ]
    )
    for path, serve in sockets.items():
        app.router.add_get(path, functools.partial(_socket, serve))
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", functools.partial(_ready, snapshots))
    app.router.add_get("/metrics", functools.partial(_metrics, context))
    app.router.add_get(openapi.PATH, _openapi)
    for name in PICTURES:
        app.router.add_get(f"/api/v1/{name}", functools.partial(_snapshot, snapshots, name))
    app.router.add_get("/api/v1/jobs/{job_id}", functools.partial(_job, context.guard, snapshots))
    feed = Feed(context, snapshots)
    app.router.add_get("/api/v1/feed", feed.serve)
    app.on_shutdown.append(feed.close)
    desk.add_to(app)
    for name in DASHBOARDS:
        app.router.add_get(f"/{name}", _dashboard)
    add_pages(app)
    return app


async def _socket(serve: Serve, request: web.Request) -> web.StreamResponse:
    caller = LibraryCaller(request)
    refusal = await serve(caller)
    if refusal is None:
        assert caller.response is not None, "who does not refuse has accepted"
        return caller.response
    return as_response(refusal)


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="OK")


async def _ready(snapshots: Snapshots, _: web.Request) -> web.Response:
    reasons = snapshots.unready_reasons()
    return answer(Readiness(ready=not reasons, reasons=reasons), status=503 if reasons else 200)


async def _metrics(context: Context, _: web.Request) -> web.Response:
    return web.Response(body=context.metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def _openapi(_: web.Request) -> web.Response:
    body = await asyncio.to_thread(openapi.document_json)  # 50 ms the first time
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})


@web.middleware
async def _errors_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Under `/api/`, a path or method that does not exist is told like any other error."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:
        if not request.path.startswith("/api/"):
            raise
        response = answer(Refusal(error=error.reason), status=error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


async def _snapshot(snapshots: Snapshots, name: str, _: web.Request) -> web.Response:
    return answer(snapshots.get(name))


async def _job(guard: Guard, snapshots: Snapshots, request: web.Request) -> web.Response:
    job_id = request.match_info["job_id"]
    try:
        story = await snapshots.job(JobId(job_id)) if valid_id(job_id) else None
    except StoreError as error:
        return answer(Refusal(error=f"Redis does not answer: {error}"), status=503)
    if story is not None and not guard.may_see(request.headers.get("Authorization", ""), story.tenant_id):
        story = None
    if story is None:
        return answer(Refusal(error=f"no job {job_id!r}: it never was, or was over an hour ago"), status=404)
    return answer(story)


async def _dashboard(_: web.Request) -> web.StreamResponse:
    folder = Path(str(resources.files("lingua_scheduler") / "web"))
    return web.FileResponse(folder / "dash" / "index.html", headers={"Cache-Control": "no-cache"})
