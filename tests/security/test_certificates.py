"""A node may show a certificate in place of a token: who it is, whom it serves, and how it is sent away at once."""

import asyncio
import functools
import hashlib
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession

from lingua_scheduler.core.access import AccessError, certified
from lingua_scheduler.node.app import NodeApp, NodeFailed
from lingua_scheduler.node.tls import certified_id
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.config import Config, ConfigError, NodeConfig, load_config
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK, changed
from tests.support.certificates import Authority
from tests.support.peers import ClientPeer, NodePeer, registration
from tests.support.tokens import KeyFile
from tests.support.waiting import wait_until

NOT_ALLOWED = 4003


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile.made(tmp_path / "keys.toml")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def configured(authority: Authority, keys: KeyFile, nodes_show: str = "certificate") -> Config:
    cert, key = authority.issue("scheduler")
    files = {"tls_cert_file": str(cert), "tls_key_file": str(key), "tls_nodes_ca_file": str(authority.ca_file)}
    return keys.config(changed(QUICK, "server", **files, nodes_show=nodes_show))


@asynccontextmanager
async def node_of(
    scheduler: Scheduler, authority: Authority, files: tuple[Path, Path], **fields: Any
) -> AsyncGenerator[NodePeer]:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    context.load_cert_chain(*files)
    async with ClientSession() as http, http.ws_connect(f"{scheduler.url}/ws/node", ssl=context) as ws:
        peer = NodePeer(ws)
        await peer.send(registration(None, **fields))
        yield peer


async def serving(scheduler: Scheduler, node: NodePeer) -> None:
    """Until the node may be given jobs."""
    node.node_id = (await node.wait_for(node_wire.NodeRegisterAck)).node_id
    await node.heartbeat()

    async def is_selectable() -> bool:
        return any(one.node_id == node.node_id and one.pairs for one in await scheduler.context.store.nodes.snapshot())

    await wait_until(is_selectable, f"{node.node_id} to be selectable")


@asynccontextmanager
async def client_of(scheduler: Scheduler, authority: Authority, token: str) -> AsyncGenerator[ClientPeer]:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    async with ClientSession() as http, http.ws_connect(f"{scheduler.url}/ws/session", ssl=context) as ws:
        client = ClientPeer(ws)
        await client.open(token=token)
        yield client


def name_of(cert: Path) -> str:
    """What `openssl x509 -in FILE -outform der | sha256sum` tells."""
    return f"cert-{hashlib.sha256(ssl.PEM_cert_to_DER_cert(cert.read_text())).hexdigest()}"


async def test_a_certificate_is_enough_until_it_is_revoked(keys: KeyFile, authority: Authority, redis: EmbeddedRedis):
    files = authority.issue("gpu-1")
    async with (
        Scheduler.start(configured(authority, keys), redis.url) as scheduler,
        node_of(scheduler, authority, files) as node,
        node_of(scheduler, authority, authority.issue("gpu-2")) as other,
    ):
        assert (await node.wait_for(node_wire.NodeRegisterAck)).node_id == "gpu-1"
        await other.wait_for(node_wire.NodeRegisterAck)
        keys.revoke(name_of(files[0]))
        assert "revoked" in (await node.wait_for(wire.ErrorMessage)).message
        assert await node.wait_closed() == NOT_ALLOWED
        async with node_of(scheduler, authority, files) as again:
            assert (await again.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED
            assert await again.wait_closed() == NOT_ALLOWED
        await other.send(registration("gpu-2"))
        await other.wait_for(node_wire.NodeRegisterAck, lambda ack: ack is not other.received[0])


async def test_a_token_is_asked_for_beside_it_where_that_is_said(
    keys: KeyFile, authority: Authority, redis: EmbeddedRedis
):
    files = authority.issue("gpu-1")
    async with Scheduler.start(configured(authority, keys, "token"), redis.url) as scheduler:
        async with node_of(scheduler, authority, files) as node:
            assert "a token is needed" in (await node.wait_for(wire.ErrorMessage)).message
        async with node_of(scheduler, authority, files, token=keys.node("gpu-*")) as node:
            assert (await node.wait_for(node_wire.NodeRegisterAck)).node_id == "gpu-1"
            keys.revoke(name_of(files[0]))
            assert await node.wait_closed() == NOT_ALLOWED
        for token in (keys.node("gpu-2"), "x.y.z"):
            async with node_of(scheduler, authority, authority.issue("gpu-3"), token=token) as node:
                assert (await node.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED


async def test_a_bad_token_beside_a_good_certificate_is_no_node(
    keys: KeyFile, authority: Authority, redis: EmbeddedRedis
):
    async with (
        Scheduler.start(configured(authority, keys), redis.url) as scheduler,
        node_of(scheduler, authority, authority.issue("gpu-1"), token=keys.client()) as node,
    ):
        assert "kind is client" in (await node.wait_for(wire.ErrorMessage)).message


async def test_a_certificate_names_the_tenants_that_its_node_serves(
    keys: KeyFile, authority: Authority, redis: EmbeddedRedis
):
    """Whatever the node says, and beside a token those that both name."""
    files = authority.issue("gpu-1", "lingua:tenant:acme", "lingua:tenant:third", "https://elsewhere.example")
    token = keys.node("gpu-1", tenants=("acme", "other"))
    async with (
        Scheduler.start(configured(authority, keys), redis.url) as scheduler,
        client_of(scheduler, authority, keys.client("third")) as third,
        client_of(scheduler, authority, keys.client("other")) as stranger,
        client_of(scheduler, authority, keys.client("acme")) as owner,
    ):
        async with node_of(scheduler, authority, files) as node:
            await serving(scheduler, node)
            await stranger.speak(400)
            assert (await stranger.wait_for(wire.MissingResult)).reason == "no_available_node"
            await third.speak(400)
            await node.answer(await node.take_job())
            await third.wait_for(wire.TranslationResult)
        async with node_of(scheduler, authority, files, token=token) as node:
            await serving(scheduler, node)
            for client in (third, stranger):
                await client.speak(400)
                assert (await client.wait_for(wire.MissingResult)).reason == "no_available_node"
            await owner.speak(400)
            await node.answer(await node.take_job())
            await owner.wait_for(wire.TranslationResult)


async def test_the_worker_shows_its_certificate(keys: KeyFile, authority: Authority, redis: EmbeddedRedis):
    cert, key = authority.issue("gpu-7")
    async with Scheduler.start(configured(authority, keys), redis.url) as scheduler:
        url = f"wss://localhost:{urlsplit(scheduler.url).port}/ws/node"
        config = NodeConfig(
            url=url, engines="scripted", capacity=1, tls_cert_file=str(cert), tls_key_file=str(key),
            tls_ca_file=str(authority.ca_file),
        )  # fmt: skip
        scope = Scope(lambda name, error: None)
        running = scope.start(NodeApp(config, lambda line: None).run(), "node")
        await wait_until(lambda: scheduler.nodes.get(certified_id(str(cert))), "the worker to register")
        keys.revoke(name_of(cert))
        with pytest.raises(NodeFailed, match="revoked"):
            await running
        await scope.close()


async def test_a_renewed_certificate_is_shown_without_a_restart(
    keys: KeyFile, authority: Authority, redis: EmbeddedRedis, tmp_path: Path
):
    """Half of a pair is not shown; whoever is connected stays."""
    config = configured(authority, keys)
    trusted = ssl.create_default_context(cafile=str(authority.ca_file))
    async with (
        Scheduler.start(config, redis.url) as scheduler,
        client_of(scheduler, authority, keys.client()) as client,
    ):
        port = urlsplit(scheduler.url).port or 0

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))

        old, cert = await shown(), Path(config.server.tls_cert_file)
        old_key, new_key = renew(authority, Path(config.server.tls_key_file))
        new = await asyncio.to_thread(cert.read_text)
        assert old != new
        old_key()
        async with ClientSession() as http, http.get(f"{scheduler.url}/health", ssl=trusted) as response:
            assert response.status == 200
        new_key()

        async def is_new() -> bool:
            return await shown() == new

        await wait_until(is_new, "the new certificate")
        await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=1))
        await client.wait_for(wire.ServerHeartbeat)


def renew(authority: Authority, key: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """Issue the scheduler's certificate anew; what puts the old key beside it, and what the new one."""
    old = key.read_bytes()
    authority.issue("scheduler")
    return functools.partial(key.write_bytes, old), functools.partial(key.write_bytes, key.read_bytes())


@pytest.mark.parametrize("name", ["", "*", "gpu-*", "a b", "x" * 200])
def test_a_common_name_must_be_one_node_id(name: str):
    with pytest.raises(AccessError):
        certified(name, "00", ())


def test_a_tenant_of_a_certificate_must_be_one():
    assert certified("gpu-1", "00", ["lingua:tenant:acme", "urn:x"]).claims.tenants == ("acme",)
    with pytest.raises(AccessError):
        certified("gpu-1", "00", ["lingua:tenant:"])


def test_what_cannot_be_is_said_at_the_start(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"server\.nodes_show needs server\.tls_nodes_ca_file"):
        load_config(None, {"LINGUA_SERVER__NODES_SHOW": "certificate"})
    with pytest.raises(ConfigError, match=r"node\.tls_key_file is needed"):
        load_config(None, {"LINGUA_NODE__TLS_CERT_FILE": "x.pem"})
    for config, why in (
        (NodeConfig(tls_cert_file="/nowhere", tls_key_file="/nowhere"), "node.tls_cert_file: No such file"),
        (NodeConfig(tls_ca_file="/nowhere"), "node.tls_ca_file: No such file"),
        (NodeConfig(tls_cert_file=__file__, tls_key_file=__file__), "node.tls_cert_file: "),
    ):
        with pytest.raises(NodeFailed, match=why):
            NodeApp(config, lambda line: None)
