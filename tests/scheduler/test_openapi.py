"""The description of the HTTP side: well formed, complete, and true of every answer of a running fleet."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, web
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.scheduler import feed, openapi
from lingua_scheduler.scheduler.answers import FeedEvents
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.http import DASHBOARDS
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK
from tests.scheduler.test_dead_letters import give_up, letter
from tests.scheduler.test_feed import watching
from tests.support import wait_until
from tests.support.peers import Peers
from tests.support.tokens import KeyFile

DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
PAGES = {"/", "/static", "/ws/session", "/ws/node", *(f"/{name}" for name in DASHBOARDS)}
"""For browsers, and the doors of the other protocol."""


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The same, in which an object has no fields but those that are told of."""
    for schema in document["components"]["schemas"].values():
        schema["additionalProperties"] = False
    return document


class Witness:
    """Holds answers to the document, and remembers which it has seen."""

    def __init__(self) -> None:
        self.document = closed(openapi.document())
        self.seen: set[tuple[str, str, int]] = set()

    async def ask(self, scheduler: Scheduler, method: str, path: str, **fields: Any) -> Any:
        """`path` as the document has it; `fields` are its parameters, and aiohttp's."""
        told = path.format(**{name: quote(str(fields.pop(name, ""))) for name in SOMETHING})
        async with ClientSession() as http, http.request(method, scheduler.url + told, **fields) as response:
            return self.look(method, path, response.status, response.content_type, await response.read())

    def look(self, method: str, path: str, status: int, content_type: str, body: bytes) -> Any:
        responses = self.document["paths"][path][method]["responses"]
        assert str(status) in responses, f"{method} {path} answered {status}"
        assert content_type in responses[str(status)]["content"]
        self.seen.add((method, path, status))
        if content_type != "application/json":
            return body.decode()
        value = json.loads(body)
        self.check(responses[str(status)]["content"][content_type]["schema"], value)
        return value

    async def watch(self, scheduler: Scheduler) -> set[str]:
        """Read the feed until there was one event of each kind; the kinds."""
        path, kinds = "/api/v1/feed", set(FeedEvents.__struct_fields__)
        async with watching(scheduler) as viewer:
            while not kinds <= {name for name, _ in viewer.seen}:
                name, value = await viewer.next()
                schema = self.document["components"]["schemas"]["FeedEvents"]["properties"][name]
                self.check(schema, value)
            self.seen.add(("get", path, viewer.response.status))
            return {name for name, _ in viewer.seen}

    def check(self, schema: dict[str, Any], value: Any) -> None:
        Draft202012Validator(schema | {"components": self.document["components"]}).validate(value)

    @property
    def promised(self) -> set[tuple[str, str, int]]:
        return {
            (method, path, int(status))
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            for status in operation["responses"]
        }


def test_it_is_a_document_of_openapi():
    OpenAPIV31SpecValidator(json.loads(DOCUMENT.read_text("utf-8"))).validate()


def test_a_field_that_is_not_told_of_is_noticed():
    witness = Witness()
    with pytest.raises(Exception, match="Additional properties"):
        witness.look("get", "/ready", 200, "application/json", b'{"ready": true, "reasons": [], "mood": "fine"}')


async def test_every_route_is_told_of(redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch):
    runners: list[web.AppRunner] = []
    set_up = web.AppRunner.setup

    async def kept(runner: web.AppRunner) -> None:
        runners.append(runner)
        await set_up(runner)

    monkeypatch.setattr(web.AppRunner, "setup", kept)
    async with Scheduler.start(QUICK, redis.url):
        routes = {
            (one.method.lower(), one.resource.canonical) for one in runners[0].app.router.routes() if one.resource
        }
    told = {(op.method, op.path) for op in openapi.OPERATIONS}
    assert {(method, path) for method, path in routes if method != "head" and path not in PAGES} == told


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile.made(tmp_path / "keys.toml")


async def test_every_answer_is_as_told(keys: KeyFile, monkeypatch: pytest.MonkeyPatch):
    """Each answer that the document promises is provoked, and holds to it."""
    witness = Witness()
    async with AsyncExitStack() as stack:
        async with EmbeddedRedis.start() as redis:
            scheduler = await stack.enter_async_context(Scheduler.start(QUICK, redis.url))
            peers = await stack.enter_async_context(Peers.of(scheduler.url, scheduler.context.store))
            await _well(witness, scheduler, await _busy(peers))
            await _refused(witness, scheduler)
            async with Scheduler.start(keys.config(QUICK), redis.url) as guarded:
                for method, path, status in sorted(witness.promised):
                    if status == 401:
                        await witness.ask(guarded, method, path, **SOMETHING)
        await wait_until(lambda: not scheduler.context.health.is_up, "the outage to be noticed")
        monkeypatch.setattr(feed, "VIEWERS_MAX", 0)
        for method, path, status in sorted(witness.promised):
            if status == 503:
                await witness.ask(scheduler, method, path, **SOMETHING, **CONTROL[method])
    assert witness.seen == witness.promised


SOMETHING = {"job_id": "none", "node_id": "nobody", "instance_id": "gone", "letter_id": "1-0"}
CONTROL: dict[str, Any] = {"get": {}, "post": {"json": {}}, "delete": {"json": {}}}


async def _busy(peers: Peers) -> str:
    """A node that says all it can of itself, a session, and a job that was concluded; its id."""
    node, client = await peers.node(), await peers.client()
    await node.register(
        "node-a",
        hardware=node_wire.Hardware(cpu_cores=8, memory_gb=32.0, gpus=[node_wire.Gpu(name="A10", memory_gb=24.0)]),
        installed_services=[node_wire.InstalledService(service_id="w", type="asr", status="running")],
        installed_models=[node_wire.InstalledModel(model_id="m", kind="nmt", src_lang="en", tgt_lang="pt")],
    )
    await node.heartbeat(cpu_percent=40.0, mem_percent=50.0)
    await client.open()
    await client.speak(400)
    job = await node.take_job()
    timings = {"service_timings": {"asr_ms": 40, "nmt_ms": 20, "tts_ms": 5, "total_ms": 65}}
    await node.answer(job, "words", extra=timings)
    await client.wait_for(wire.TranslationResult)
    return job.job_id


async def _well(witness: Witness, scheduler: Scheduler, job_id: str) -> None:
    me = scheduler.context.instance_id
    letters = [await give_up(scheduler, me, letter()) for _ in range(2)]
    given: dict[str, Any] = {"job_id": job_id, "node_id": "node-a", "instance_id": me, "letter_id": letters[0]}

    async def is_shown() -> bool:
        return bool((await witness.ask(scheduler, "get", "/api/v1/jobs"))["jobs"])

    await wait_until(is_shown, "the job in the pictures")
    await witness.watch(scheduler)
    for op in openapi.OPERATIONS:
        if op.path != "/api/v1/feed":
            deleted = {"letter_id": letters[1]} if op.method == "delete" else {}
            await witness.ask(scheduler, op.method, op.path, **(given | deleted), **CONTROL[op.method])


async def _refused(witness: Witness, scheduler: Scheduler) -> None:
    for method, path, status in sorted(witness.promised):
        match status:
            case 403:
                await witness.ask(
                    scheduler, method, path, **SOMETHING, json={}, headers={"X-Forwarded-For": "192.0.2.1"}
                )
            case 415:
                await witness.ask(scheduler, method, path, **SOMETHING, data="x")
            case 404:
                await witness.ask(
                    scheduler, method, path, **(SOMETHING | {"instance_id": "no such"}), **CONTROL[method]
                )
            case _:
                pass


@pytest.mark.parametrize(("method", "path", "status"), [("get", "/api/v1/nothing", 404), ("put", "/api/v1/nodes", 405)])
async def test_what_is_not_there_is_told_in_json(scheduler: Scheduler, method: str, path: str, status: int):
    async with ClientSession() as http, http.request(method, scheduler.url + path) as response:
        assert response.status == status
        assert (await response.json()).keys() == {"error"}
        assert ("Allow" in response.headers) == (status == 405)
