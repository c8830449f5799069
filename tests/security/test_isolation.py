"""What belongs to a tenant is nobody else's: rooms, jobs, stories, pictures; and nodes that serve it alone."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.app import Scheduler
from tests.scheduler.conftest import QUICK
from tests.support.peers import ClientPeer, Peers
from tests.support.tokens import KeyFile


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
