"""Tenants get their share and no more, in the whole fleet; and nothing of each other."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lingua_scheduler.core.allowances import Allowance
from lingua_scheduler.core.shares import DAY_MS, Share
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import InstanceId, TenantId
from lingua_scheduler.protocol.node import JobAssign
from lingua_scheduler.runtime.config import Config, TenantConfig, load_config
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK
from tests.support.peers import ClientPeer, Peers
from tests.support.tokens import KeyFile
from tests.support.waiting import wait_until


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile.made(tmp_path / "keys.toml")


def with_quota(keys: KeyFile, **quota: int) -> Config:
    """For `acme` alone."""
    return msgspec.structs.replace(keys.config(QUICK), tenants={"acme": TenantConfig(**quota)})


@asynccontextmanager
async def served(config: Config, redis: EmbeddedRedis) -> AsyncGenerator[tuple[Scheduler, Peers]]:
    async with (
        Scheduler.start(config, redis.url) as scheduler,
        Peers.of(scheduler.url, scheduler.context.store) as peers,
    ):
        yield scheduler, peers


async def refused(client: ClientPeer, token: str) -> int:
    """The client opens no session; when it may try again."""
    await client.send(wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token))
    return await told_to_wait(client)


async def told_to_wait(client: ClientPeer) -> int:
    error = await client.wait_for(wire.ErrorMessage, lambda one: one.code is ErrorCode.RATE_LIMITED)
    return (error.details or {})["retry_after_ms"]


async def test_sessions_are_counted_across_instances(keys: KeyFile, redis: EmbeddedRedis):
    config, token = with_quota(keys, sessions=2), keys.client("acme")
    async with served(config, redis) as (_, here), served(config, redis) as (_, there):
        first, second, third = await here.client(), await there.client(), await here.client()
        await first.open(token=token)
        await second.open(token=token)
        for late in (third, await there.client()):
            assert await refused(late, token) > 0
        await (await here.client()).open(token=keys.client("other"))
        await second.send(wire.SessionClose(session_id=second.session_id, reason="done"))
        await second.wait_for(wire.SessionCloseAck)

        async def has_room() -> bool:
            await third.send(
                wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token)
            )
            return isinstance(await third.next(), wire.SessionInitAck)

        await wait_until(has_room, "the place that came free elsewhere")


async def test_many_at_once_are_no_more_than_may_be(keys: KeyFile, redis: EmbeddedRedis):
    config, token = with_quota(keys, sessions=3), keys.client("acme")
    async with served(config, redis) as (scheduler, peers):
        clients = [await peers.client() for _ in range(8)]
        for client in clients:
            await client.send(
                wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token)
            )
        answers = [await client.next() for client in clients]
        assert sum(isinstance(one, wire.SessionInitAck) for one in answers) == 3
        assert len(scheduler.sessions) == 3


async def test_sessions_of_an_instance_that_is_gone_do_not_count_for_good(keys: KeyFile, redis: EmbeddedRedis):
    config, token = with_quota(keys, sessions=1), keys.client("acme")
    async with served(config, redis) as (scheduler, there):
        redis_client, key = scheduler.context.store.client, "lingua:v1:share:acme"
        await redis_client.call("HSET", key, "alive:gone", 1, "sessions:gone", 1)
        await (await there.client()).open(token=token)


async def test_without_redis_the_quota_is_this_instances(keys: KeyFile):
    config, token = with_quota(keys, sessions=1), keys.client("acme")
    async with AsyncExitStack() as away, AsyncExitStack() as stack:
        redis = await away.enter_async_context(EmbeddedRedis.start())
        _, peers = await stack.enter_async_context(served(config, redis))
        await away.aclose()
        await (await peers.client()).open(token=token)
        assert await refused(await peers.client(), token) > 0


async def test_who_has_had_his_jobs_waits_and_nobody_else_does(keys: KeyFile, redis: EmbeddedRedis):
    """The burst is ten seconds' worth; the debt of twenty jobs at ten a minute is told as soon as it is known."""
    config = with_quota(keys, jobs_per_minute=10)
    async with served(config, redis) as (_, here), served(config, redis) as (_, there):
        node = await here.node()
        await node.register("n1", token=keys.node("n1"), capacity=64)
        client, elsewhere, other = await here.client(), await there.client(), await here.client()
        await client.open(token=keys.client("acme"))
        await elsewhere.open(token=keys.client("acme"))
        for index in range(20):
            await client.send(whole(client, index))
        assert 2000 < await told_when(client) <= 120_000
        assert 2000 < await told_when(elsewhere) <= 120_000, "on every instance"
        assert await refused(await there.client(), keys.client("acme")) > 2000
        await other.open(token=keys.client("other"))
        await other.speak(100)
        await node.answer(await node.wait_for(JobAssign, lambda job: job.session_id == other.session_id))
        await other.wait_for(wire.TranslationResult)


def whole(client: ClientPeer, index: int, seconds: float = 0.1) -> wire.UtteranceMessage:
    """A job for sure: no silence decides where it ends."""
    audio = codec.encode_audio(bytes(int(seconds * 16_000) * 2))
    return wire.UtteranceMessage(
        session_id=client.session_id, utterance_index=index, manual_cut=True, src_lang="en", tgt_lang="pt", audio=audio,
        audio_format="pcm16", sample_rate=16_000,
    )  # fmt: skip


async def told_when(client: ClientPeer) -> int:
    """Speak until the answer is that the tenant has to wait."""
    told: list[wire.ErrorMessage] = []

    async def hears() -> bool:
        await client.send(
            heartbeat := wire.ClientHeartbeat(session_id=client.session_id, timestamp=len(client.received))
        )
        await client.chunk(codec.encode_audio(bytes(320)), is_final=False)
        await client.wait_for(wire.ServerHeartbeat, lambda beat: beat.timestamp == heartbeat.timestamp)
        told.extend(one for one in client.received if isinstance(one, wire.ErrorMessage))
        return bool(told)

    await wait_until(hears, "the word that it must wait")
    assert told[0].code is ErrorCode.RATE_LIMITED
    return (told[0].details or {})["retry_after_ms"]


async def test_minutes_are_counted_by_what_was_said(keys: KeyFile, redis: EmbeddedRedis):
    config, token = with_quota(keys, audio_minutes_per_day=1), keys.client("acme")
    async with served(config, redis) as (scheduler, peers):
        client = await peers.client()
        await client.open(token=token)
        scheduler.sessions.shares.used(TenantId("acme"), 59_000)
        await client.speak(3000)
        wait_ms = await told_when(client)
        assert wait_ms <= 2100 * 1440, "two seconds and some padding too much, at a minute a day"
        assert await refused(await peers.client(), token) > 2000


async def test_a_token_holds_so_many_minutes_in_the_fleet(keys: KeyFile, redis: EmbeddedRedis):
    """Who has used them up is told, opens nothing, and still gets what was said; others of the tenant speak on."""
    config, token = keys.config(QUICK), keys.client("acme", audio_minutes=1)
    async with served(config, redis) as (scheduler, here), served(config, redis) as (_, there):
        node = await here.node()
        await node.register("n1", token=keys.node("n1"), capacity=64)
        client, elsewhere, late, other = [await one.client() for one in (here, there, there, here)]
        ack = await client.open(token=token, protocol_version="1.1")
        await elsewhere.open(token=token)
        for index in range(4):
            await client.send(whole(client, index, 9))
        await elsewhere.send(whole(elsewhere, 0, 9))
        await elsewhere.send(whole(elsewhere, 1, 9))
        jobs = [await node.take_job() for _ in range(6)]
        assert jobs

        async def is_used_up() -> bool:
            return (await scheduler.context.store.allowances.spend("acme-1", InstanceId("x"), 1, 0, 1000)) == 54_000

        await wait_until(is_used_up, "54 seconds to be known")
        await client.send(whole(client, 4, 9))
        await node.take_job()
        for one in (client, elsewhere):
            await told_that_it_is_used_up(one)
        await late.send(wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token))
        assert (await late.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED
        assert await late.wait_closed() == 4003
        await client.ws.close()
        again = await here.client()
        await again.send(
            wire.SessionResume(
                session_id=client.session_id, resume_token=ack.resume_token or "", last_result_seq=0, token=token
            )
        )
        await again.wait_for(wire.SessionResumeAck)
        for job in jobs:
            await node.answer(job)
        await again.wait_for(wire.TranslationResult)
        await other.open(token=keys.client("acme", jti="acme-2"))
        await other.send(whole(other, 0))
        await node.wait_for(JobAssign, lambda job: job.session_id == other.session_id)


async def told_that_it_is_used_up(client: ClientPeer) -> None:
    """Speak until the answer is that the token's minutes are used up: an instance hears of others' use with its own."""

    async def hears() -> bool:
        await client.send(whole(client, 100 + len(client.received)))
        await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=len(client.received)))
        await client.wait_for(wire.ServerHeartbeat)
        return any(
            one.code is ErrorCode.UNAUTHORIZED and "minutes" in one.message
            for one in client.received
            if isinstance(one, wire.ErrorMessage)
        )

    await wait_until(hears, "the word that the minutes are used up")


def test_an_allowance_is_told_once_and_told_until_heard():
    allowance = Allowance("t", 1, 0)
    allowance.use(50_000)
    told = allowance.tell(1)
    allowance.use(9000)
    assert allowance.tell(2) == told == (1, 50_000)
    assert not allowance.is_used_up
    allowance.heard(told, 51_000)
    assert allowance.is_used_up, "51 s of the fleet, 9 s that it does not know"
    assert allowance.is_news
    allowance.heard(allowance.tell(3), 60_000)
    assert not allowance.is_news
    assert allowance.is_used_up


def test_what_was_used_is_told_once_and_told_until_heard():
    share = Share(TenantConfig(jobs_per_minute=60, audio_minutes_per_day=1440))
    share.use(2, 500)
    told = share.tell()
    assert (told.jobs_ms, told.audio_ms) == (2000, 500)
    share.use(1, 100)
    assert share.tell() is told
    share.heard(told, 0, 300, 1000)
    assert [share.closed_for_ms(now_ms) for now_ms in (1000, 1299, 1300)] == [300, 1, 0]
    assert share.tell().jobs_ms == 1000
    assert share.is_news
    share.heard(share.tell(), 0, 0, 1000)
    assert not share.is_news
    assert DAY_MS == 86_400_000


def test_quotas_are_configured(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text("[limits.tenant]\nsessions = 5\n[tenants.acme]\njobs_per_minute = 60\n", "utf-8")
    config = load_config(path, {"LINGUA_TENANTS__OTHER__SESSIONS": "7"})
    assert config.limits.tenant.sessions == 5
    assert config.tenants == {"acme": TenantConfig(jobs_per_minute=60), "other": TenantConfig(sessions=7)}
