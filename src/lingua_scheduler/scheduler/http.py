"""The HTTP side of the port: health, readiness, metrics, snapshots and the pages; and the two WebSocket doors."""

import functools

import msgspec
from aiohttp import web

from lingua_scheduler.protocol.ids import JobId, valid_id
from lingua_scheduler.scheduler.clients import serve_client
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import Nodes, serve_node
from lingua_scheduler.scheduler.pages import add_pages, with_security_headers
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.scheduler.snapshots import Snapshots

HEADER_BYTES_MAX = 8190


def build_app(context: Context, sessions: Sessions, nodes: Nodes, snapshots: Snapshots) -> web.Application:
    """All routes of the port."""
    app = web.Application(middlewares=[with_security_headers])
    app.router.add_get("/ws/session", functools.partial(serve_client, context, sessions))
    app.router.add_get("/ws/node", functools.partial(serve_node, context, nodes))
    app.router.add_get("/health", _health)
    app.router.add_get("/ready", functools.partial(_ready, snapshots))
    app.router.add_get("/metrics", functools.partial(_metrics, context))
    for name in ("stats", "cluster", "nodes", "sessions", "pools", "metrics"):
        app.router.add_get(f"/api/v1/{name}", functools.partial(_snapshot, snapshots, name))
    app.router.add_get("/api/v1/jobs/{job_id}", functools.partial(_job, snapshots))
    add_pages(app)
    return app


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="OK")


async def _ready(snapshots: Snapshots, _: web.Request) -> web.Response:
    reasons = snapshots.unready_reasons()
    return _json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


async def _metrics(context: Context, _: web.Request) -> web.Response:
    return web.Response(body=context.metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def _snapshot(snapshots: Snapshots, name: str, _: web.Request) -> web.Response:
    return _json(snapshots.get(name))


async def _job(snapshots: Snapshots, request: web.Request) -> web.Response:
    job_id = request.match_info["job_id"]
    story = await snapshots.job(JobId(job_id)) if valid_id(job_id) else None
    if story is None:
        return _json({"error": f"no job {job_id!r}: it never was, or was over an hour ago"}, status=404)
    return _json(story)


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
