"""What the port answers over plain HTTP."""

from typing import Any

import pytest
from aiohttp import ClientSession

from lingua_scheduler.protocol.messages import MissingResult, UiEvent
from lingua_scheduler.protocol.node import Capability, NodeFault
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.tally import shortened
from tests.support import wait_until
from tests.support.peers import Peers


async def get(scheduler: Scheduler, path: str) -> tuple[int, Any]:
    async with ClientSession() as http, http.get(scheduler.url + path) as response:
        is_json = response.content_type == "application/json"
        return response.status, await response.json() if is_json else await response.text()


async def test_health_and_ready(scheduler: Scheduler):
    assert await get(scheduler, "/health") == (200, "OK")
    assert await get(scheduler, "/ready") == (200, {"ready": True, "reasons": []})


async def test_metrics_are_prometheus_text_and_name_no_session(scheduler: Scheduler, peers: Peers):
    client = await peers.client()
    await client.open()
    status, text = await get(scheduler, "/metrics")
    assert status == 200
    assert "lingua_sessions_open 1.0" in text
    assert client.session_id not in text


@pytest.mark.parametrize("name", ["stats", "cluster", "nodes", "sessions", "pools", "metrics"])
async def test_snapshots_say_their_age(scheduler: Scheduler, name: str):
    status, picture = await get(scheduler, f"/api/v1/{name}")
    assert status == 200
    assert isinstance(picture["age_ms"], int)


async def test_a_node_shows_up_in_the_pictures(scheduler: Scheduler, peers: Peers):
    node = await peers.node()
    await node.register("node-a")

    async def is_shown() -> bool:
        _, picture = await get(scheduler, "/api/v1/nodes")
        return any(row["node_id"] == "node-a" and row["pairs"] == ["en:pt"] for row in picture["nodes"])

    await wait_until(is_shown, "node-a with its pair in /api/v1/nodes")
    _, stats = await get(scheduler, "/api/v1/stats")
    assert stats["nodes"]["connected_nodes"] == 1
    _, pools = await get(scheduler, "/api/v1/pools")
    assert pools["pools"] == [{"src": "en", "tgt": "pt", "nodes": 1, "waiting": 0}]


async def test_a_session_is_never_shown_with_the_id_that_opens_it(scheduler: Scheduler, peers: Peers):
    client = await peers.client()
    await client.open()

    async def is_shown() -> bool:
        _, picture = await get(scheduler, "/api/v1/sessions")
        assert client.session_id not in str(picture)
        return len(picture["sessions"]) == 1

    await wait_until(is_shown, "one session in /api/v1/sessions")


@pytest.mark.parametrize("path", ["/api/v1/jobs/none", "/api/v1/jobs/..%2f..", "/nothing"])
async def test_what_does_not_exist_is_a_404(scheduler: Scheduler, path: str):
    assert (await get(scheduler, path))[0] == 404


async def test_pages_carry_a_strict_policy(scheduler: Scheduler):
    async with ClientSession() as http, http.get(scheduler.url + "/") as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'")


async def test_the_web_folder_is_served_and_nothing_above_it(scheduler: Scheduler):
    assert (await get(scheduler, "/static/../scheduler/app.py"))[0] in {403, 404}
    assert (await get(scheduler, "/static/%2e%2e/scheduler/app.py"))[0] in {403, 404}


async def test_the_story_of_a_job_shows_the_candidates_their_loads_and_why(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register(capacity=2)
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    await node.answer(job, success=False, error=NodeFault(code="MODEL_NOT_AVAILABLE", message="nmt"))
    status, story = await get(scheduler, f"/api/v1/jobs/{job.job_id}")
    assert status == 200
    assert story["choices"]["1"] == "only node-a=0"
    assert (story["session_id"], story["pairs"]) == (shortened(client.session_id), [["en", "pt"]])


async def test_the_counts_of_what_could_not_take_a_job_are_metrics(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register(capability_by_type=[Capability(type=kind, ready=True) for kind in ("asr", "nmt")])
    await client.open()
    await client.speak(400)
    await client.wait_for(MissingResult)
    body = scheduler.context.metrics.exposition().decode()
    assert 'lingua_selections_total{answer="none_for_pair"} 1.0' in body
    assert 'lingua_nodes_passed_over_total{why="unsupported"} 1.0' in body
    told = next(one for one in client.received if isinstance(one, UiEvent) and one.event == "ERROR")
    assert "(no node serves this pair of languages (1 unable))" in (told.hint or "")
    _, story = await get(scheduler, f"/api/v1/jobs/{told.job_id}")
    assert story["causes"]["1"] == "no_available_node none_for_pair: 1 unsupported"
