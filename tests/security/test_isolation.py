"""What belongs to a tenant is nobody else's: rooms, jobs, stories, pictures; and nodes that serve it alone."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.routes import Routes
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK, changed
from tests.support.peers import ClientPeer, Peers
from tests.support.tokens import KeyFile
from tests.support.waiting import wait_until


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile.made(tmp_path / "keys.toml")


@pytest.fixture
def config(keys: KeyFile) -> Config:
    return keys.config(QUICK)


async def opened(peers: Peers, keys: KeyFile, tenant: str) -> ClientPeer:
    client = await peers.client()
    await client.open(token=keys.client(tenant))
    return client


async def test_the_code_of_another_tenants_room_opens_nothing(peers: Peers, keys: KeyFile):
    owner, thief, friend = [await opened(peers, keys, tenant) for tenant in ("acme", "other", "acme")]
    await owner.send(wire.RoomCreate(client_ts=0, preferred_lang="en"))
    code = (await owner.wait_for(wire.RoomCreateAck)).room_code
    assert len(code) == 6
    await thief.send(wire.RoomJoin(room_code=code, preferred_lang="en"))
    assert (await thief.wait_for(wire.RoomError)).code is ErrorCode.ROOM_NOT_FOUND
    await thief.send(wire.RoomJoin(room_code=f"acme/{code}", preferred_lang="en"))
    assert (await thief.wait_for(wire.RoomError)).code is ErrorCode.INVALID_ROOM_CODE
    await friend.send(wire.RoomJoin(room_code=code, preferred_lang="en"))
    members = await friend.wait_for(wire.RoomMembers)
    assert members.room_code == code
    assert len(members.members) == 2


async def test_codes_are_not_to_be_guessed(peers: Peers, keys: KeyFile):
    client = await opened(peers, keys, "acme")
    answers: list[ErrorCode] = []
    for guess in range(11):
        await client.send(wire.RoomJoin(room_code=f"{guess:06}"))
        answers.append((await client.wait_for(wire.RoomError)).code)
    assert answers == [ErrorCode.ROOM_NOT_FOUND] * 10 + [ErrorCode.RATE_LIMITED]


async def test_who_may_look(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    node = await peers.node()
    await node.register("n1", token=keys.node("n1"))
    client = await opened(peers, keys, "acme")
    await client.speak(400)
    job = await node.take_job()
    story = f"/api/v1/jobs/{job.job_id}"
    closed = ("/metrics", "/api/v1/stats", "/api/v1/sessions", "/api/v1/jobs", "/api/v1/nodes", "/api/v1/feed", story)
    seen = {
        None: (),
        keys.node("n1"): (),
        "x.y.z": (),
        keys.client("other"): (),
        keys.client("acme"): (story,),
        keys.admin(): closed,
    }
    async with ClientSession() as http:

        async def status(path: str, token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with http.get(f"{scheduler.url}{path}", headers=headers) as response:
                return response.status

        for token, may_see in seen.items():
            for path in closed:
                assert (await status(path, token) == 200) == (path in may_see), (path, token)
        assert [await status(path, None) for path in ("/health", "/ready", "/api/v1/pools", "/dashboard")] == [200] * 4
        assert await status(story, keys.client("other")) == 404, "as one that never was"


async def test_a_node_of_some_tenants_serves_nobody_else(peers: Peers, keys: KeyFile):
    """Whatever it says itself: its token decides."""
    private, public = await peers.node(), await peers.node()
    await private.register("n1", token=keys.node("n1", tenants=("acme", "third")), capacity=9)
    stranger, owner = await opened(peers, keys, "other"), await opened(peers, keys, "acme")
    await stranger.speak(400)
    missing = await stranger.wait_for(wire.MissingResult)
    assert missing.reason == "no_available_node"
    await owner.speak(400)
    await private.answer(await private.take_job(), "mine")
    assert (await owner.wait_for(wire.TranslationResult)).text_asr == "mine"
    await public.register("n2", token=keys.node("n2"))
    await stranger.speak(400)
    await public.answer(await public.take_job(), "theirs")
    assert (await stranger.wait_for(wire.TranslationResult)).text_asr == "theirs"


async def test_a_node_names_the_tenants_that_it_serves(peers: Peers, keys: KeyFile):
    node, silent = await peers.node(), await peers.node()
    await node.register("n1", token=keys.node("n1"), accept_public_jobs=False, tenants=["acme"])
    await silent.register("n2", token=keys.node("n2"), accept_public_jobs=False)
    stranger, owner = await opened(peers, keys, "other"), await opened(peers, keys, "acme")
    await stranger.speak(400)
    assert (await stranger.wait_for(wire.MissingResult)).reason == "no_available_node"
    await owner.speak(400)
    await node.answer(await node.take_job())
    await owner.wait_for(wire.TranslationResult)


async def test_a_waiting_job_is_not_offered_to_a_node_of_others(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    """The public node is full, the private one comes free: the stranger goes on waiting."""
    private, public = await peers.node(), await peers.node()
    await private.register("n1", token=keys.node("n1", tenants=("acme",)), capacity=1)
    await public.register("n2", token=keys.node("n2"), capacity=1)
    stranger, owner = await opened(peers, keys, "other"), await opened(peers, keys, "acme")
    await stranger.speak(400)
    first = await public.take_job()
    await owner.speak(400)
    await private.take_job()
    await stranger.speak(400)
    await wait_until(lambda: _waiting(scheduler), "the stranger's second job to wait")
    await private.answer(private.received[-1])
    await owner.wait_for(wire.TranslationResult)
    await public.answer(first)
    second = await public.take_job()
    assert second.session_id == stranger.session_id
    assert [type(one).__name__ for one in private.received].count("JobAssign") == 1


async def _waiting(scheduler: Scheduler) -> bool:
    client = scheduler.context.store.client
    return any([await client.call("ZCARD", f"lingua:v1:queue:en:pt{end}") for end in ("", "!")])


async def test_a_node_of_some_tenants_reads_nobody_else_along(peers: Peers, keys: KeyFile):
    """Speech was shown to every node that reads along, also to one whose token names other tenants.

    The public node is made the busier one, so that the private one would be chosen.
    """
    private, public = await peers.node(), await peers.node()
    reads = {"advanced_features": [node_wire.JOB_PREVIEW]}
    streaming: dict[str, Any] = {"enable_streaming_asr": True, "partial_update_interval_ms": 200}
    await private.register("n1", token=keys.node("n1", tenants=("acme",)), capacity=64, **reads)
    await public.register("n2", token=keys.node("n2"), capacity=1, **reads)
    first, second, owner = await peers.client(), await peers.client(), await peers.client()
    for client, node in ((first, public), (second, public), (owner, private)):
        await client.open(token=keys.client("acme" if client is owner else "other"), **streaming)
        shown = asyncio.create_task(node.wait_for(node_wire.JobPreview))
        while not shown.done():
            await client.speak(100, is_final=False)
            await asyncio.wait([shown], timeout=0.05)
        assert (await shown).session_id == client.session_id


async def test_a_stranger_to_a_job_takes_it_from_nobody(
    peers: Peers, keys: KeyFile, config: Config, redis: EmbeddedRedis
):
    """Two ways in which a node could end another's job, each where the job's session is on another instance.

    What it reported made the instance forget the job, so that the answer had to be looked for; and a failure that it
    reported of a job whose owner was gone took the job from the node that had it.
    """
    async with Scheduler.start(config, redis.url) as elsewhere, Peers.of(elsewhere.url) as others:
        liar, worker = await peers.node(), await peers.node()
        await liar.register("n2", token=keys.node("n2"), accept_public_jobs=False)
        await worker.register("n1", token=keys.node("n1"))
        client = await opened(others, keys, "acme")
        await client.speak(400)
        job = await worker.take_job()
        store = elsewhere.context.store
        for success in (True, False):
            await liar.answer(job, "lies", success=success)
        await liar.send(node_wire.NodeDrain(node_id="n2", reason="read to here"))

        async def is_read() -> bool:
            return any(one.node_id == "n2" and one.status == "draining" for one in await store.nodes.snapshot())

        await wait_until(is_read, "the lies to be read")
        await worker.answer(job, "truth")
        assert (await client.wait_for(wire.TranslationResult)).text_asr == "truth"


async def test_a_stranger_does_not_fail_a_job_whose_owner_is_gone(
    peers: Peers, keys: KeyFile, scheduler: Scheduler, config: Config, redis: EmbeddedRedis
):
    """Whoever looks after results that nobody here waits for asked which attempt they are of, and not of whom."""
    async with AsyncExitStack() as gone:
        elsewhere = await gone.enter_async_context(Scheduler.start(config, redis.url))
        others = await gone.enter_async_context(Peers.of(elsewhere.url, elsewhere.context.store))
        liar, worker = await peers.node(), await others.node()
        await liar.register("n2", token=keys.node("n2"), accept_public_jobs=False)
        await worker.register("n1", token=keys.node("n1"))
        client = await others.client()
        await client.open(token=keys.client("acme"), protocol_version="1.1")
        await client.speak(400)
        job = await worker.take_job()
        store = scheduler.context.store
        result = node_wire.JobResult(
            job_id=job.job_id, attempt_id=job.attempt_id, node_id="n2", session_id=job.session_id,
            utterance_index=0, success=False, trace_id=job.trace_id,
        )  # fmt: skip
        here = scheduler.nodes.owners
        assert isinstance(here, Routes)
        here.orphan_for(NodeId("n2"), result, elsewhere.context.instance_id)
        await wait_until(lambda: here._orphans._open == 0, "the result to be looked after")
        story = await store.jobs.story(JobId(job.job_id))
        assert story is not None
        assert (story.status, story.node_id) == ("assigned", "n1")
        await worker.answer(job)
        await client.wait_for(wire.TranslationResult)


async def test_a_name_that_leads_to_loopback_opens_nothing(redis: EmbeddedRedis):
    """A page of evil.example whose name was made to lead here read everything of an instance without keys, and spoke.

    To its browser, page and port are one origin: what tells is the name alone.
    """
    open_door = changed(QUICK, "security", allowed_origins=["https://talk.example"])
    async with Scheduler.start(open_door, redis.url) as scheduler, ClientSession() as http:
        port = scheduler.url.rpartition(":")[2]

        async def status(path: str, host: str) -> int:
            async with http.get(f"{scheduler.url}{path}", headers={"Host": host}) as response:
                return response.status

        evil = f"evil.example:{port}"
        for path in ("/api/v1/stats", "/metrics", "/", "/api/v1/feed"):
            assert await status(path, evil) == 403, path
        for path in ("/ws/session", "/ws/node"):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await http.ws_connect(f"{scheduler.url}{path}", origin=f"http://{evil}", headers={"Host": evil})
            assert refusal.value.status == 403
        for host in (f"localhost:{port}", f"a.localhost:{port}", f"[::1]:{port}", "127.0.0.1", "talk.example"):
            assert await status("/api/v1/stats", host) == 200, host
        assert await status("/health", evil) == 200
        for host in ("localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil.example", "xlocalhost"):
            assert await status("/api/v1/stats", host) in {400, 403}, host
