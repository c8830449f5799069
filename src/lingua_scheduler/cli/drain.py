"""`lingua drain`: lets an instance leave the fleet, or a node finish what it has, without loss."""

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.activity import Activity
from lingua_scheduler.cli.console import Console
from lingua_scheduler.runtime.clock import Clock

if TYPE_CHECKING:
    from aiohttp import ClientSession

_EXAMPLES = """\
  lingua drain http://127.0.0.1:5010
  lingua drain --node gpu-1
  lingua drain --node gpu-1 --undo
  lingua drain https://scheduler.example --node gpu-1 --no-wait --json"""
_DEFAULT_URL = "http://127.0.0.1:5010"
WAIT_S = 60
"""An instance leaves within 30 s, whatever is in flight; a node's longest job may take as long as its lease."""
_POLL_S = 0.25
_REFUSED = 300


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "drain", "let an instance or a node finish and leave", _EXAMPLES)
    parser.add_argument(
        "url",
        nargs="?",
        default=_DEFAULT_URL,
        help=f"an instance; with keys, bring an admin's token (default {_DEFAULT_URL})",
    )
    parser.add_argument(
        "--node", metavar="ID", help="drain this node, wherever it is connected, instead of an instance"
    )
    parser.add_argument("--undo", action="store_true", help="give the node work again")
    parser.add_argument("--no-wait", action="store_true", help="return at once, not when it is done")
    arguments.add_json(parser)
    arguments.add_token(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.runtime import loop

    if args.undo and not args.node:
        raise arguments.UsageError("--undo is for a node: an instance that leaves is gone; start it again")
    return loop.run(_drain(args, console))


async def _drain(args: argparse.Namespace, console: Console) -> int:
    from aiohttp import ClientError, ClientSession, ClientTimeout

    url = args.url.rstrip("/") if "://" in args.url else f"http://{args.url.rstrip('/')}"
    try:
        token = arguments.token(args)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with ClientSession(timeout=ClientTimeout(total=10), headers=headers) as http:
            told = await (_drain_node if args.node else _drain_instance)(http, url, args, console)
    except (ClientError, TimeoutError, ValueError) as error:
        raise arguments.UsageError(f"no instance answers at {url}: {error}", "UNREACHABLE") from None
    if console.is_json:
        console.json(told)
    return 0


async def _drain_instance(
    http: "ClientSession", url: str, args: argparse.Namespace, console: Console
) -> dict[str, Any]:
    told = await _post(http, f"{url}/api/v1/drain")
    instance = told["draining"]
    console.line(f"{instance} leaves: no new sessions, what is in flight is finished within 30 s")
    if not args.no_wait:
        await _wait(lambda: _has_left(http, url, instance), f"{instance} is still there", console)
        console.line(f"{instance} has left")
    return {"instance_id": instance, "status": "leaving" if args.no_wait else "left"}


async def _drain_node(http: "ClientSession", url: str, args: argparse.Namespace, console: Console) -> dict[str, Any]:
    await _post(http, f"{url}/api/v1/nodes/{args.node}/{'resume' if args.undo else 'drain'}")
    if args.undo:
        console.line(f"{args.node} gets work again")
        return {"node_id": args.node, "status": "working"}
    console.line(f"{args.node} gets no more work")
    if not args.no_wait:
        since_ms = Clock().now_ms()
        await _wait(lambda: _is_idle(http, url, args.node, since_ms), f"{args.node} still has work", console)
        console.line(f"{args.node} has nothing left to do")
    return {"node_id": args.node, "status": "draining" if args.no_wait else "idle"}


async def _post(http: "ClientSession", url: str) -> dict[str, Any]:
    async with http.post(url, json={}) as response:
        told: dict[str, Any] = await response.json() if response.content_type == "application/json" else {}
        if response.status >= _REFUSED:
            raise arguments.UsageError(f"{url}: {told.get('error', f'HTTP {response.status}')}", "REFUSED")
        return told


async def _wait(is_done: Callable[[], Awaitable[bool]], otherwise: str, console: Console) -> None:
    """UsageError where it is not done in time."""
    import asyncio

    activity = Activity(console)
    try:
        async with asyncio.timeout(WAIT_S):
            if console.has_status:
                activity.report("waiting …")
            while not await is_done():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise arguments.UsageError(f"{otherwise} after {WAIT_S} s", "TIMEOUT") from None
    finally:
        activity.close()


async def _has_left(http: "ClientSession", url: str, instance: str) -> bool:
    """Nobody answers, or somebody else: workers share a port."""
    from aiohttp import ClientError

    try:
        async with http.get(f"{url}/api/v1/cluster") as response:
            rows = (await response.json())["instances"]
    except (ClientError, TimeoutError, KeyError):
        return True
    return all(row["instance_id"] != instance for row in rows)


async def _is_idle(http: "ClientSession", url: str, node_id: str, since_ms: int) -> bool:
    """By a picture that was made after the node was told."""
    async with http.get(f"{url}/api/v1/nodes") as response:
        picture = await response.json()
    rows = [row for row in picture["nodes"] if row["node_id"] == node_id]
    is_newer = Clock().now_ms() - picture["age_ms"] > since_ms
    return is_newer and all(row["status"] == "draining" and row["current_jobs"] == 0 for row in rows)
