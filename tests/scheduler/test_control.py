"""Who may tell an instance to leave, or a node to rest, and what comes of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import make_mocked_request

from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.node import NodeControl
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.control import refused
from tests.support.peers import Peers

JSON = {"Content-Type": "application/json", "Host": "127.0.0.1:5010"}


def status(remote: str, headers: dict[str, str]) -> int:
    def extra(name: str, _default: object = None) -> object:
        return (remote, 1) if name == "peername" else None

    transport: Any = SimpleNamespace(get_extra_info=extra)
    answer = refused(make_mocked_request("POST", "/api/v1/drain", headers, transport=transport))
    return 0 if answer is None else answer.status


@pytest.mark.parametrize(
    ("remote", "headers", "expected"),
    [
        ("127.0.0.1", JSON, 0),
        ("::1", {**JSON, "Host": "[::1]:5010"}, 0),
        ("::ffff:127.0.0.1", {**JSON, "Host": "localhost:5010"}, 0),
        ("192.0.2.7", JSON, 403),
        ("127.0.0.1", {**JSON, "X-Forwarded-For": "192.0.2.7"}, 403),
        ("127.0.0.1", {**JSON, "Forwarded": "for=192.0.2.7"}, 403),
        ("127.0.0.1", {**JSON, "Host": "evil.example"}, 403),  # a name of theirs that leads to this machine
        ("127.0.0.1", {**JSON, "Content-Type": "text/plain"}, 415),  # what a foreign page can make a browser send
    ],
)
def test_only_programs_of_this_machine_are_heard(remote: str, headers: dict[str, str], expected: int):
    assert status(remote, headers) == expected


async def test_an_instance_is_told_to_leave(scheduler: Scheduler):
    async with ClientSession() as http:
        async with http.post(f"{scheduler.url}/api/v1/drain", data="x") as response:
            assert response.status == 415
        async with http.post(f"{scheduler.url}/api/v1/drain", json={}) as response:
            assert (response.status, await response.json()) == (202, {"draining": scheduler.context.instance_id})
    await scheduler.wait_stopped()


async def test_a_node_is_told_to_rest_and_to_go_on(scheduler: Scheduler, peers: Peers):
    node = await peers.node()
    await node.register("n1")
    async with ClientSession() as http:
        for command, heard in (("drain", "drain"), ("resume", "resume")):
            async with http.post(f"{scheduler.url}/api/v1/nodes/n1/{command}", json={}) as response:
                assert response.status == 202
            assert (await node.wait_for(NodeControl)).command == heard
        async with http.post(f"{scheduler.url}/api/v1/nodes/nobody/drain", json={}) as response:
            assert response.status == 404
    assert await scheduler.context.store.nodes.instance_of(NodeId("nobody")) is None
