"""What an operator may tell a running instance over HTTP: to leave, or to give a node no more work.

With keys, whoever brings an administrator's token is heard. Without, only programs on this machine are: the connection
comes from a loopback address, no proxy has passed the request on, and it names the instance as `localhost` or by a
loopback address. Either way the body's type is one that a browser never sends on behalf of a foreign page.
"""

import functools
from collections.abc import Callable

import msgspec
from aiohttp import web

from lingua_scheduler.core.node import events as node
from lingua_scheduler.protocol import bus as wire
from lingua_scheduler.protocol.ids import InstanceId, NodeId, valid_id
from lingua_scheduler.scheduler.answers import Answer, InstanceDraining, NodeTold, Refusal
from lingua_scheduler.scheduler.auth import audit
from lingua_scheduler.scheduler.auth.guard import Guard, is_loopback
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.store.errors import StoreError

CONTENT_TYPE = "application/json"
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


class Control:
    """`/api/v1/drain`, and `/api/v1/nodes/{node_id}/drain` and `/resume`: POST, answered with 202 before it is done."""

    def __init__(self, context: Context, nodes: Nodes, bus: Bus, stop: Callable[[], None]) -> None:
        self._context = context
        self._nodes = nodes
        self._bus = bus
        self._stop = stop

    def add_to(self, app: web.Application) -> None:
        app.router.add_post("/api/v1/drain", self._drain_instance)
        for command in ("drain", "resume"):
            handler = functools.partial(self._control_node, command == "resume")
            app.router.add_post(f"/api/v1/nodes/{{node_id}}/{command}", handler)

    async def _drain_instance(self, request: web.Request) -> web.Response:
        if (refusal := refused(request, self._context.guard)) is not None:
            return refusal
        audit.obeyed(request, self._context.guard, "drain-instance", self._context.instance_id)
        self._stop()
        return _json(InstanceDraining(draining=self._context.instance_id), 202)

    async def _control_node(self, lifts: bool, request: web.Request) -> web.Response:
        if (refusal := refused(request, self._context.guard)) is not None:
            return refusal
        node_id = NodeId(request.match_info["node_id"])
        action = "resume-node" if lifts else "drain-node"
        if drain_node(self._nodes, node_id, lifts=lifts):
            audit.obeyed(request, self._context.guard, action, node_id)
            return _json(NodeTold(node_id=node_id, instance_id=self._context.instance_id), 202)
        try:
            instance_id = await self._instance_of(node_id)
        except StoreError:
            return _json(Refusal(error="Redis is unreachable: where the node is connected cannot be told"), 503)
        if instance_id is None:
            return _json(Refusal(error=f"no node {node_id!r} is registered"), 404)
        audit.obeyed(request, self._context.guard, action, node_id)
        self._bus.publish(instance_id, wire.DrainNode(node_id=node_id, lifts=lifts))
        return _json(NodeTold(node_id=node_id, instance_id=instance_id), 202)

    async def _instance_of(self, node_id: NodeId) -> InstanceId | None:
        if not valid_id(node_id):
            return None
        return await self._context.store.nodes.instance_of(node_id)


def drain_node(nodes: Nodes, node_id: NodeId, *, lifts: bool) -> bool:
    """False where the node is not connected here."""
    if (registered := nodes.get(node_id)) is None:
        return False
    reason = "an operator asked for it"
    registered.connection.driver.post(node.ResumeRequested(reason) if lifts else node.DrainRequested(reason))
    return True


def refused(request: web.Request, guard: Guard | None = None) -> web.Response | None:
    """The answer to whoever may not control this instance."""
    answer = _refusal(request, guard)
    if answer is not None and request.method not in {"GET", "HEAD"}:
        audit.turned_away(request, answer.status, guard)
    return answer


def _refusal(request: web.Request, guard: Guard | None) -> web.Response | None:
    if guard is not None and guard.is_on:
        if (why := guard.admin(request.headers.get("Authorization", ""))) is not None:
            response = _json(Refusal(error=f"{why}; an administrator's token is needed"), 401)
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
    elif not is_loopback(request.remote or "") or any(name in request.headers for name in _PROXY_HEADERS):
        return _json(Refusal(error="only programs on the instance's own machine may do this"), 403)
    elif not is_loopback(request.url.host or ""):
        return _json(Refusal(error="address the instance as localhost"), 403)
    if request.content_type != CONTENT_TYPE:
        return _json(Refusal(error=f"the content type must be {CONTENT_TYPE}"), 415)
    return None


def _json(value: Answer, status: int) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")
