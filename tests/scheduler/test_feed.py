"""The stream of pictures: everything at first, then what changed; no viewer can hold up another or grow without end."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.scheduler import feed
from lingua_scheduler.scheduler.app import Scheduler
from tests.support.peers import Peers

PARTS = {"stats", "cluster", "nodes", "pools", "sessions", "jobs", "models", "metrics"}


class Viewer:
    """Reads events one after the other."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.seen: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        name = ""
        while True:
            line = (await self.response.content.readuntil(b"\n")).decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                self.seen.append((name, json.loads(line.removeprefix("data: "))))
                return self.seen[-1]

    async def wait_for(self, wanted: str, matches: Callable[[Any], bool] = bool) -> Any:
        while True:
            name, value = await self.next()
            if name == wanted and matches(value):
                return value


def always(_: Any) -> bool:
    """An empty list will do."""
    return True


@asynccontextmanager
async def watching(scheduler: Scheduler) -> AsyncGenerator[Viewer]:
    async with ClientSession(read_bufsize=1 << 20) as http, http.get(f"{scheduler.url}/api/v1/feed") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Viewer(response)


async def test_a_viewer_gets_the_whole_picture_and_then_what_changed(scheduler: Scheduler, peers: Peers):
    async with watching(scheduler) as viewer:
        await viewer.wait_for("events", always)
        assert {name for name, _ in viewer.seen} == PARTS | {"tick", "samples", "events"}
        tick = next(value for name, value in viewer.seen if name == "tick")
        assert tick["instance_id"] == scheduler.context.instance_id
        assert tick["is_store_up"]
        assert tick["may_control"]
        assert 0 <= tick["age_ms"] <= 5000

        node = await peers.node()
        await node.register("node-a")
        del viewer.seen[:]
        nodes = await viewer.wait_for("nodes", lambda value: value["total"] == 1)
        assert nodes["nodes"][0]["node_id"] == "node-a"
        happened = await viewer.wait_for("events", bool)
        assert happened[-1]["kind"] == "node_joined"
        assert happened[-1]["who"] == "node-a"


async def test_what_did_not_change_is_not_sent_again(scheduler: Scheduler):
    async with watching(scheduler) as viewer:
        await viewer.wait_for("events", always)
        del viewer.seen[:]
        await viewer.wait_for("tick")
        await viewer.wait_for("tick")
        assert {name for name, _ in viewer.seen} <= {"tick", "cluster", "samples"}, "the rest stands still"


async def test_a_job_shows_in_the_pictures_without_its_text(scheduler: Scheduler, peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register("node-a")
    await client.open()
    async with watching(scheduler) as viewer:
        await client.speak(400)
        job = await node.take_job()
        timings = {"service_timings": {"asr_ms": 40, "nmt_ms": 20, "tts_ms": 0, "total_ms": 60}}
        await node.answer(job, "confidential words", extra=timings)
        await client.wait_for(wire.TranslationResult)
        jobs = await viewer.wait_for("jobs", lambda value: value["jobs"])
        assert jobs["jobs"][0] | {"total_ms": 0, "at_ms": 0} == {
            "job_id": job.job_id, "session": f"{client.session_id[:8]}…", "index": 0, "src": "en", "tgt": "pt",
            "outcome": "translated", "node_id": "node-a", "attempt": 1, "total_ms": 0, "at_ms": 0,
        }  # fmt: skip
        samples = await viewer.wait_for("samples", lambda value: value[-1]["stages"]["asr"])
        assert 38 <= samples[-1]["stages"]["asr"][0] <= 48, "as near as the buckets are"
        assert samples[-1]["stages"]["tts"] is None, "0 means that it did not run"
        assert sum(sample["finished"] for name, rows in viewer.seen if name == "samples" for sample in rows) == 1
        assert "confidential" not in json.dumps(viewer.seen)


async def test_viewers_are_bounded(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed, "VIEWERS_MAX", 1)
    async with watching(scheduler) as viewer:
        await viewer.next()
        async with ClientSession() as http, http.get(f"{scheduler.url}/api/v1/feed") as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"]


async def test_a_stopping_instance_lets_its_viewers_go(redis_scheduler: tuple[Scheduler, Any]):
    scheduler, stop = redis_scheduler
    async with watching(scheduler) as viewer:
        await viewer.wait_for("events", always)
        await stop()
        rest = await viewer.response.content.read()
        assert viewer.response.content.at_eof()
        assert rest is not None


@pytest.fixture
async def redis_scheduler(redis: Any, config: Any) -> AsyncGenerator[tuple[Scheduler, Any]]:
    running = Scheduler.start(config, redis.url)
    scheduler = await running.__aenter__()
    is_stopped = False

    async def stop() -> None:
        nonlocal is_stopped
        if not is_stopped:
            is_stopped = True
            await running.__aexit__(None, None, None)

    yield scheduler, stop
    await stop()
