"""What the port answers over plain HTTP."""

from typing import Any

import pytest
from aiohttp import ClientSession

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.protocol.messages import MissingResult, UiEvent
from lingua_scheduler.protocol.node import Capability, NodeFault
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.http import DASHBOARDS
from lingua_scheduler.scheduler.snapshots import PICTURES
from lingua_scheduler.scheduler.tally import shortened
from lingua_scheduler.store.embedded import EmbeddedRedis
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


@pytest.mark.parametrize("name", PICTURES)
async def test_snapshots_say_their_age(scheduler: Scheduler, name: str):
    status, picture = await get(scheduler, f"/api/v1/{name}")
    assert status == 200
    assert 0 <= picture["age_ms"] <= 5000


async def until(scheduler: Scheduler, path: str, matches: Any, what: str) -> Any:
    """The first picture that fits: they are made in the background."""

    async def found() -> Any:
        _, picture = await get(scheduler, path)
        return picture if matches(picture) else None

    return await wait_until(found, what)


async def test_stats_have_every_field(scheduler: Scheduler, peers: Peers):
    node, clients = await peers.node(), [await peers.client() for _ in range(3)]
    hardware = node_wire.Hardware(cpu_cores=8, memory_gb=32.0, gpus=[node_wire.Gpu(name="A10", memory_gb=24.0)])
    await node.register("node-a", hardware=hardware)
    await node.heartbeat(cpu_percent=40.0, mem_percent=50.0, gpu_percent=60.0)
    for client, (src, tgt) in zip(clients, [("en", "pt"), ("en", "pt"), ("pt", "en")], strict=True):
        await client.open(src, tgt)
    await clients[0].speak(400)
    await node.take_job()

    def fits(picture: Any) -> bool:
        power = picture["nodes"]["compute_power"]
        return picture["web_clients"]["active_users"] == 3 and power["slots_taken"] == 1 and power["cpu_percent"] == 40

    stats = await until(scheduler, "/api/v1/stats", fits, "three sessions and a job in the stats")
    del stats["age_ms"]
    assert stats == {
        "web_clients": {
            "active_users": 3,
            "top_languages": [{"language": "en", "count": 3}, {"language": "pt", "count": 3}],
            "language_usage": {
                "en": {"as_source": 2, "as_target": 1, "total": 3},
                "pt": {"as_source": 1, "as_target": 2, "total": 3},
            },
        },
        "nodes": {
            "connected_nodes": 1,
            "type_node_counts": {"asr": 1, "nmt": 1, "tts": 1},
            "available_services": ["asr", "nmt", "tts"],
            "total_services": 3,
            "type_in_use_counts": {"asr": 1, "nmt": 1, "tts": 1},
            "compute_power": {
                "slots": 4, "slots_taken": 1, "cpu_cores": 8, "memory_gb": 32.0, "gpus": 1, "gpu_memory_gb": 24.0,
                "gpu_models": {"A10": 1}, "cpu_percent": 40.0, "mem_percent": 50.0, "gpu_percent": 60.0,
                "gpu_mem_percent": None,
            },
        },
    }  # fmt: skip


async def test_the_cluster_has_every_field_and_every_instance(
    scheduler: Scheduler, peers: Peers, redis: EmbeddedRedis, config: Config
):
    """Seen from either instance: the client is at one, the node at the other."""
    async with Scheduler.start(config, redis.url) as other, Peers.of(other.url, other.context.store) as there:
        node, client = await there.node(), await peers.client()
        services = [node_wire.InstalledService(service_id="w", type="asr", status="running")]
        await node.register("node-a", installed_services=services)
        await client.open()
        store = scheduler.context.store
        gone = InstanceId("gone")
        await store.client.call("XADD", store.keys.dlq(gone), "*", "entry", "1-0", "reason", "r", "message", "m")
        await store.client.call("SADD", store.keys.instances, gone)

        def whole(picture: Any) -> bool:
            totals = picture["totals"]
            return (totals["sessions"], totals["nodes"], totals["dlq_length"]) == (1, 1, 1)

        for seen_from in (scheduler, other):
            cluster = await until(
                seen_from,
                "/api/v1/cluster",
                whole,
                "the session, the node and the dead letter in the cluster",
            )
            rows = {row["instance_id"]: row for row in cluster["instances"]}
            here, far = rows[scheduler.context.instance_id], rows[other.context.instance_id]
            for row in rows.values():
                assert row.keys() >= {
                    "instance_id", "hostname", "pid", "version", "started_at_ms", "uptime_seconds", "is_online",
                    "inbox_length", "inbox_pending", "dlq_length", "nodes_owned", "sessions_owned",
                }  # fmt: skip
            assert (here["sessions_owned"], here["nodes_owned"], here["is_online"]) == (1, 0, True)
            assert (far["sessions_owned"], far["nodes_owned"], far["is_online"]) == (0, 1, True)
            assert here["pid"] > 0
            assert here["version"]
            assert here["uptime_seconds"] >= 0
            assert (rows[gone]["is_online"], rows[gone]["dlq_length"]) == (False, 1)
            assert cluster["totals"]["instances"] == 2
            (told,) = cluster["nodes"]
            assert told.keys() >= {
                "node_id", "status", "loads", "current_jobs", "max_concurrent_jobs", "last_heartbeat", "services",
                "capabilities",
            }  # fmt: skip
            assert told["status"] in {"ready", "suspect"}, "a peer that does not read answers no ping"
            assert (told["max_concurrent_jobs"], told["current_jobs"]) == (4, 0)
            assert told["services"] == [{"service_id": "w", "type": "asr", "status": "running"}]
            assert told["capabilities"] == ["asr", "nmt", "tts"]
            _, sessions = await get(seen_from, "/api/v1/sessions")
            assert [row["instance_id"] for row in sessions["sessions"]] == [scheduler.context.instance_id]


async def test_a_jobs_story_names_no_session_in_full(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    await node.answer(job)
    await client.wait_for(wire.TranslationResult)
    status, story = await get(scheduler, f"/api/v1/jobs/{job.job_id}")
    assert status == 200
    assert story["session_id"] == f"{client.session_id[:8]}…"
    assert story["choices"]["1"].startswith("only node-a=")


@pytest.mark.parametrize("name", DASHBOARDS)
async def test_dashboards_are_served_with_the_strict_policy(scheduler: Scheduler, name: str):
    async with ClientSession() as http, http.get(f"{scheduler.url}/{name}") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "unsafe" not in response.headers["Content-Security-Policy"]


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
