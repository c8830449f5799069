"""Each threat that SECURITY.md says is met, as an attack on a scheduler with keys, over real sockets."""

import base64
import tomllib
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from lingua_scheduler.core.access import Claims
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import NodeId, SessionId
from lingua_scheduler.runtime.config import Config, ConfigError
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.auth.keys import new_key_entry
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.records import Word
from tests.scheduler.conftest import QUICK, changed
from tests.support.peers import ClientPeer, NodePeer, Peers, registration
from tests.support.tokens import KeyFile, later_s
from tests.support.waiting import wait_until

NOT_ALLOWED = 4003


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile.made(tmp_path / "keys.toml")


@pytest.fixture
def config(keys: KeyFile) -> Config:
    return changed(keys.config(QUICK), "security", allowed_origins=["https://talk.example"])


async def assert_shown_out(peer: ClientPeer | NodePeer) -> str:
    """The peer is told UNAUTHORIZED, then its socket is closed; what it was told."""
    error = await peer.wait_for(wire.ErrorMessage)
    assert error.code is ErrorCode.UNAUTHORIZED
    assert await peer.wait_closed() == NOT_ALLOWED
    return error.message


async def try_client(peers: Peers, token: str | None, **fields: Any) -> str:
    client = await peers.client()
    await client.send(
        wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token, **fields)
    )
    return await assert_shown_out(client)


async def try_node(peers: Peers, node_id: str | None, token: str | None) -> str:
    node = await peers.node()
    await node.send(registration(node_id, token=token))
    return await assert_shown_out(node)


def forged(keys: KeyFile) -> dict[str, str]:
    """Tokens that somebody made who has seen good ones, and all that is public."""
    good = keys.client()
    head, body, signature = good.split(".")
    entries = tomllib.loads(keys.path.read_text("utf-8"))["keys"]
    public = base64.urlsafe_b64decode(next(one["public"] for one in entries if one["kid"] == "ed") + "=")
    claims = {"kind": "client", "jti": "x", "exp": later_s(), "tenant": "acme", "scopes": ["session"]}
    other = b"k" * 32
    richer = base64.urlsafe_b64encode(msgspec.json.encode({**claims, "tenant": "other"})).decode().rstrip("=")
    return {
        "wrong key": jwt.encode(claims, other, "HS256", {"kid": "hs"}),
        "unknown key": jwt.encode(claims, other, "HS256", {"kid": "nobody"}),
        "no key named": jwt.encode(claims, other, "HS256"),
        "alg none": jwt.encode(claims, "", "none", {"kid": "hs"}),
        "alg none, EdDSA": jwt.encode(claims, "", "none", {"kid": "ed"}),
        "public key as secret": jwt.encode(claims, public, "HS256", {"kid": "ed"}),
        "claims replaced": f"{head}.{richer}.{signature}",
        "signature cut": f"{head}.{body}.",
        "not a token": "x.y.z",
        "huge": "a" * 50_000,
    }


FORGERIES = (
    "wrong key",
    "unknown key",
    "no key named",
    "alg none",
    "alg none, EdDSA",
    "public key as secret",
    "claims replaced",
    "signature cut",
    "not a token",
    "huge",
)


async def test_no_forged_token_opens_anything(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    tokens = forged(keys)
    assert tuple(tokens) == FORGERIES
    for how, token in tokens.items():
        assert "not one of this service" in await try_client(peers, token), how
        assert "not one of this service" in await try_node(peers, "n1", token), how
    assert scheduler.sessions.all() == []
    assert scheduler.nodes.all() == []


async def test_without_a_good_token_nobody_gets_in(peers: Peers, keys: KeyFile):
    over = Claims(kind="client", tenant="acme", jti="a", scopes=("session",), exp=later_s(-60))
    soon = Claims(kind="client", tenant="acme", jti="b", scopes=("session",), exp=later_s(), nbf=later_s(60))
    assert "a token is needed" in await try_client(peers, None)
    assert "a token is needed" in await try_node(peers, "n1", None)
    assert "expired" in await try_client(peers, keys.sign(over, "hs"))
    assert "not good yet" in await try_client(peers, keys.sign(soon, "hs"))
    assert "kind is node, not client" in await try_client(peers, keys.node("n1"))
    assert "kind is admin" in await try_client(peers, keys.admin())
    assert "kind is client, not node" in await try_node(peers, "n1", keys.client())
    assert "(session)" in await try_client(peers, keys.client(scopes=("room",)))


async def test_who_was_refused_cannot_go_on_on_the_same_socket(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    client = await peers.client()
    for token in (None, keys.client()):
        await client.send(wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", token=token))
    await assert_shown_out(client)
    assert scheduler.sessions.all() == []


async def test_both_kinds_of_key_let_in_and_the_tenant_is_the_tokens(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    for kid in ("hs", "ed"):
        client = await peers.client()
        await client.open(token=keys.client("acme", kid=kid), tenant_id="victim")
    assert {actor.opening.speaker.tenant_id for actor in scheduler.sessions.all()} == {"acme"}


async def test_a_browser_offers_its_token_as_a_subprotocol(scheduler: Scheduler, keys: KeyFile):
    token = keys.client()
    async with ClientSession() as http:
        for offered, answered in (
            (("lingua", f"lingua.token.{token}"), "lingua"),
            ((f"lingua.token.{token}",), f"lingua.token.{token}"),
        ):
            async with http.ws_connect(f"{scheduler.url}/ws/session", protocols=offered) as ws:
                assert ws.protocol == answered
                await ClientPeer(ws).open()
        async with http.ws_connect(f"{scheduler.url}/ws/session", protocols=("lingua.token.x.y.z",)) as ws:
            client = ClientPeer(ws)
            await client.send(wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt"))
            await assert_shown_out(client)


# ---------------------------------------------------------------------------------------------- other people's things


async def test_a_session_is_not_resumed_with_another_tenants_token(peers: Peers, keys: KeyFile):
    owner = await peers.client()
    ack = await owner.open(token=keys.client("acme"), protocol_version="1.1")
    await owner.ws.close()
    ask = wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    thief = await peers.client()
    await thief.send(msgspec.structs.replace(ask, token=keys.client("other")))
    assert (await thief.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION
    stranger = await peers.client()
    await stranger.send(ask)
    await assert_shown_out(stranger)
    again = await peers.client()
    await again.send(msgspec.structs.replace(ask, token=keys.client("acme")))
    assert (await again.wait_for(wire.SessionResumeAck)).session_id == ack.session_id


async def test_nor_on_another_instance(
    peers: Peers, keys: KeyFile, scheduler: Scheduler, config: Config, redis: EmbeddedRedis
):
    owner = await peers.client()
    ack = await owner.open(token=keys.client("acme"), protocol_version="1.1")
    await wait_until(lambda: _is_recorded(scheduler, SessionId(ack.session_id)), "the session's record")
    ask = wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    async with Scheduler.start(config, redis.url) as other, Peers.of(other.url) as at_other:
        thief = await at_other.client()
        await thief.send(msgspec.structs.replace(ask, token=keys.client("other")))
        assert (await thief.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION
        await owner.send(wire.ClientHeartbeat(session_id=ack.session_id, timestamp=1))
        await owner.wait_for(wire.ServerHeartbeat)
        again = await at_other.client()
        await again.send(msgspec.structs.replace(ask, token=keys.client("acme")))
        await again.wait_for(wire.SessionResumeAck)


async def _is_recorded(scheduler: Scheduler, session_id: SessionId) -> bool:
    claim = await scheduler.context.store.sessions.claim(session_id, scheduler.context.instance_id, "x", "y")
    return claim.word is Word.REFUSED


async def test_an_expired_token_resumes_and_opens_nothing(peers: Peers, keys: KeyFile):
    owner = await peers.client()
    ack = await owner.open(token=keys.client("acme"), protocol_version="1.1")
    await owner.ws.close()
    claims = Claims(kind="client", tenant="acme", jti="a", scopes=("session",), exp=later_s(-60))
    over = keys.sign(claims, "hs")
    again = await peers.client()
    ask = wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    await again.send(msgspec.structs.replace(ask, token=over))
    await again.wait_for(wire.SessionResumeAck)
    assert "expired" in await try_client(peers, over)


async def test_nobody_takes_another_nodes_id(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    mine = await peers.node()
    await mine.register("gpu-1", token=keys.node("gpu-1"))
    before = scheduler.nodes.get(NodeId("gpu-1"))
    assert before is not None
    for token in (keys.node("gpu-2"), keys.node("cpu-*"), keys.node("gpu-")):
        assert "another node" in await try_node(peers, "gpu-1", token)
    assert scheduler.nodes.get(NodeId("gpu-1")) is before, "nobody came between"


async def test_a_node_is_called_what_its_token_says(peers: Peers, keys: KeyFile):
    for asked, pattern, called in ((None, "gpu-1", "gpu-1"), ("gpu-7", "gpu-*", "gpu-7"), ("any", "*", "any")):
        node = await peers.node()
        await node.send(registration(asked, token=keys.node(pattern)))
        assert (await node.wait_for(node_wire.NodeRegisterAck)).node_id == called
    node = await peers.node()
    await node.send(registration(None, token=keys.node("gpu-*")))
    assert (await node.wait_for(node_wire.NodeRegisterAck)).node_id.startswith("gpu-")


async def test_a_job_is_answered_by_its_own_node_alone(peers: Peers, keys: KeyFile):
    mine, thief, client = await peers.node(), await peers.node(), await peers.client()
    await mine.register("gpu-1", token=keys.node("gpu-1"))
    await client.open(token=keys.client())
    await client.speak(1000)
    job = await mine.take_job()
    await thief.register("gpu-2", token=keys.node("gpu-2"))
    await thief.answer(job, "injected")
    thief.node_id = "gpu-1"
    await thief.answer(job, "injected in its name")
    await thief.send(node_wire.NodeHeartbeat(node_id="gpu-2", timestamp=0, resource_usage=node_wire.ResourceUsage()))
    await mine.answer(job, "right")
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "right"


# ---------------------------------------------------------------------------------------------- what a token allows


async def test_rooms_and_languages_are_what_the_token_says(peers: Peers, keys: KeyFile):
    client = await peers.client()
    await client.open(token=keys.client(scopes=("session",), languages=("en", "pt")))
    await client.send(wire.RoomCreate(client_ts=0))
    assert (await client.wait_for(wire.RoomError)).code is ErrorCode.UNAUTHORIZED
    await client.speak(0)
    spoken = wire.UtteranceMessage(
        session_id=client.session_id, utterance_index=0, manual_cut=True, src_lang="en", tgt_lang="zh", audio="",
        audio_format="pcm16", sample_rate=16_000,
    )  # fmt: skip
    await client.send(spoken)
    assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED
    await client.send(wire.SessionClose(session_id=client.session_id, reason="done"))
    await client.wait_for(wire.SessionCloseAck)
    member = await peers.client()
    await member.open(token=keys.client(languages=("en", "pt")))
    await member.send(wire.RoomCreate(client_ts=0, preferred_lang="zh"))
    assert (await member.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED
    client = await peers.client()
    await client.send(
        wire.SessionInit(
            client_version="t", platform="t", src_lang="en", tgt_lang="zh", token=keys.client(languages=("en", "pt"))
        )
    )
    assert "'zh'" in await assert_shown_out(client)


async def test_only_an_administrators_token_steers(scheduler: Scheduler, keys: KeyFile):
    letters = f"{scheduler.url}/api/v1/instances/i/dead-letters/1-0"
    async with ClientSession() as http:
        for token in (None, keys.client(), keys.node("n1"), "x.y.z"):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            for method, url in (
                ("POST", f"{scheduler.url}/api/v1/drain"),
                ("POST", f"{scheduler.url}/api/v1/nodes/n1/drain"),
                ("POST", f"{letters}/redeliver"),
                ("DELETE", letters),
            ):
                async with http.request(method, url, json={}, headers=headers) as response:
                    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        admin = {"Authorization": f"Bearer {keys.admin()}"}
        async with http.post(f"{scheduler.url}/api/v1/drain", data="x", headers=admin) as response:
            assert response.status == 415
        async with http.post(f"{letters}/redeliver", json={}, headers=admin) as response:
            assert response.status == 404
        async with http.post(f"{scheduler.url}/api/v1/drain", json={}, headers=admin) as response:
            assert response.status == 202
    await scheduler.wait_stopped()


@pytest.mark.parametrize("path", ["/ws/session", "/ws/node"])
async def test_pages_of_others_may_not_connect(scheduler: Scheduler, path: str):
    host = scheduler.url.removeprefix("http://")
    async with ClientSession() as http:
        for origin in ("http://evil.example", f"http://{host}.evil.example", f"http://evil@{host}", "null", "file://"):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await http.ws_connect(f"{scheduler.url}{path}", origin=origin)
            assert refusal.value.status == 403
        for origin in (scheduler.url, "https://talk.example"):
            async with http.ws_connect(f"{scheduler.url}{path}", origin=origin):
                pass


# ---------------------------------------------------------------------------------------------- taken back


async def test_a_revoked_token_ends_its_connections(peers: Peers, keys: KeyFile):
    client, node, bystander = await peers.client(), await peers.node(), await peers.client()
    ack = await client.open(token=keys.client("acme", jti="lost"), protocol_version="1.1")
    await node.register("gpu-1", token=keys.node("gpu-1", jti="stolen"))
    await bystander.open(token=keys.client("other"))
    keys.revoke("lost")
    assert "revoked" in await assert_shown_out(client)
    keys.revoke("stolen")
    assert "revoked" in await assert_shown_out(node)
    assert "revoked" in await try_client(peers, keys.client("acme", jti="lost"))
    again = await peers.client()
    token = keys.client("acme", jti="lost")
    await again.send(
        wire.SessionResume(
            session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0, token=token
        )
    )
    await assert_shown_out(again)
    await bystander.send(wire.SessionClose(session_id=bystander.session_id, reason="done"))
    await bystander.wait_for(wire.SessionCloseAck)


async def test_keys_rotate_while_people_talk(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    client = await peers.client()
    old = keys.client(kid="hs")
    await client.open(token=old)
    keys.add("next", new_key_entry("next", "HS256"))
    new = keys.client(kid="next")
    guard = scheduler.context.guard
    await wait_until(lambda: _is_good(guard, new), "the new key to be read")
    newer = await peers.client()
    await newer.open(token=new)
    await (await peers.client()).open(token=old)
    keys.remove("hs")
    await assert_shown_out(client)
    assert "not one of this service" in await try_client(peers, old)
    await newer.send(wire.SessionClose(session_id=newer.session_id, reason="done"))
    await newer.wait_for(wire.SessionCloseAck)


async def test_a_broken_key_file_changes_nothing(peers: Peers, keys: KeyFile, scheduler: Scheduler):
    token = keys.client()
    client = await peers.client()
    await client.open(token=token)
    for text in ("[[keys", "", "revoked = []\n[[keys]]\nkid = 'x'\nalg = 'HS256'\nsecret = 'short'\n"):
        keys.path.write_text(text, "utf-8")
        scheduler.context.guard.refresh()
        await (await peers.client()).open(token=token)
    keys.path.unlink()
    scheduler.context.guard.refresh()
    await (await peers.client()).open(token=token)


async def _is_good(guard: Any, token: str) -> bool:
    try:
        guard.client(token, "session")
    except Exception:  # noqa: BLE001 - whatever the reason
        return False
    return True


# ---------------------------------------------------------------------------------------------- the start


@pytest.mark.parametrize(
    ("host", "security", "why"),
    [
        ("0.0.0.0", {}, "beyond loopback, and no keys"),
        ("192.0.2.1", {"auth": "off"}, "only for loopback"),
        ("", {}, "beyond loopback"),
        ("127.0.0.1", {"auth": "on"}, "needs keys"),
        ("127.0.0.1", {"keys": "a:HS256:c2hvcnQ"}, "at least 32 bytes"),
        ("127.0.0.1", {"keys": "a:none:c2hvcnQ"}, "KID:HS256:SECRET"),
        ("127.0.0.1", {"keys_file": "/nowhere/keys.toml"}, "cannot read /nowhere/keys.toml"),
    ],
)
async def test_an_open_door_beyond_loopback_is_no_start(host: str, security: dict[str, str], why: str):
    config = changed(changed(QUICK, "server", host=host), "security", **security)
    with pytest.raises(ConfigError, match=why) as refusal:
        async with Scheduler.start(config, "redis://127.0.0.1:1"):
            pass
    assert "\n" not in str(refusal.value)
    assert "c2hvcnQ" not in str(refusal.value)
