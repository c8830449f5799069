"""What travels is encrypted where that is configured; what is secret, said or heard is in no log, error or key."""

import asyncio
import base64
import io
import json
import logging
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientConnectionError, ClientConnectorCertificateError, ClientSession, WSServerHandshakeError

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime.config import Config, ConfigError, RedisConfig
from lingua_scheduler.runtime.logs import configure_logs, get_logger
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.configured import finder_of
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.replies import texts
from lingua_scheduler.store.store import Store
from tests.scheduler.conftest import QUICK, changed
from tests.support.certificates import Authority
from tests.support.peers import ClientPeer, NodePeer, Peers, registration
from tests.support.ports import free_port
from tests.support.tokens import KeyFile
from tests.support.waiting import wait_until

# ------------------------------------------------------------------------------------------- TLS


def with_tls(tmp_path: Path, *, asks_nodes: bool = False) -> tuple[Authority, Config]:
    authority = Authority(tmp_path)
    cert, key = authority.issue("scheduler")
    ca = str(authority.ca_file) if asks_nodes else ""
    return authority, changed(QUICK, "server", tls_cert_file=str(cert), tls_key_file=str(key), tls_nodes_ca_file=ca)


def trust(authority: Authority, mine: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    if mine is not None:
        context.load_cert_chain(*mine)
    return context


async def test_the_port_speaks_tls_and_nothing_else(tmp_path: Path, redis: EmbeddedRedis):
    authority, config = with_tls(tmp_path)
    async with Scheduler.start(config, redis.url) as scheduler, ClientSession() as http:
        assert scheduler.url.startswith("https://127.0.0.1:")
        async with http.ws_connect(f"{scheduler.url}/ws/session", ssl=trust(authority)) as ws:
            await ClientPeer(ws).open()
        with pytest.raises(ClientConnectorCertificateError):
            await http.get(f"{scheduler.url}/health")
        with pytest.raises(ClientConnectionError):
            await http.get(f"{scheduler.url.replace('https', 'http')}/health")


async def test_a_node_is_who_its_certificate_says(tmp_path: Path, redis: EmbeddedRedis):
    authority, config = with_tls(tmp_path, asks_nodes=True)
    mine, others = trust(authority, authority.issue("gpu-1")), trust(authority)
    async with Scheduler.start(config, redis.url) as scheduler, ClientSession() as http:
        url = f"{scheduler.url}/ws/node"
        with pytest.raises(WSServerHandshakeError) as refusal:
            await http.ws_connect(url, ssl=others)
        assert refusal.value.status == 403
        async with http.ws_connect(url, ssl=mine) as ws:
            node = NodePeer(ws)
            await node.send(registration(None))
            assert (await node.wait_for(node_wire.NodeRegisterAck)).node_id == "gpu-1"
        async with http.ws_connect(url, ssl=mine) as ws:
            node = NodePeer(ws)
            await node.send(registration("gpu-2"))
            assert (await node.wait_for(wire.ErrorMessage)).code is ErrorCode.UNAUTHORIZED
        async with http.ws_connect(f"{scheduler.url}/ws/session", ssl=others) as ws:
            await ClientPeer(ws).open()


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"tls_cert_file": "/nowhere.pem", "tls_key_file": "/nowhere.key"}, "tls_cert_file: No such file"),
        ({"tls_cert_file": __file__, "tls_key_file": __file__}, "tls_cert_file: "),
    ],
)
async def test_certificates_that_cannot_be_used_are_no_start(redis: EmbeddedRedis, server: dict[str, str], why: str):
    with pytest.raises(ConfigError, match=why):
        async with Scheduler.start(changed(QUICK, "server", **server), redis.url):
            pass


@pytest.fixture
def guarded_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a Redis that speaks TLS alone and knows one user, `fleet`."""
    binary = shutil.which("redis-server")
    assert binary, "redis-server is not installed: dev.py test installs it"
    authority = Authority(tmp_path)
    cert, key = authority.issue("redis")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    port = free_port()
    file = tmp_path / "redis.conf"
    file.write_text(
        f'port 0\ntls-port {port}\nbind 127.0.0.1\nsave ""\ndir {tmp_path}\ntls-auth-clients no\n'
        f"tls-cert-file {cert}\ntls-key-file {key}\ntls-ca-cert-file {authority.ca_file}\n"
        "user default off\nuser fleet on >hush:h@sh ~* &* +@all\n",
        "utf-8",
    )
    with subprocess.Popen([binary, str(file)], stdout=subprocess.DEVNULL) as process:
        yield port
        process.terminate()


async def test_redis_is_reached_by_tls_with_user_and_password(guarded_redis: int, tmp_path: Path):
    secret = tmp_path / "password"
    secret.write_text("hush:h@sh\n", "utf-8")
    named = RedisConfig(url=f"rediss://fleet@localhost:{guarded_redis}", password_file=str(secret))
    async with Store.open(finder_of(named)) as store:
        await wait_until(lambda: _answers(store), "Redis to answer")
    assert "hush" not in str(finder_of(named))
    config = changed(QUICK, "scheduler.phase2", redis=named)
    async with Scheduler.start(config) as scheduler, Peers.of(scheduler.url) as peers:
        await (await peers.client()).open()
    stranger = msgspec.structs.replace(named, password_file="")
    with pytest.raises(ConfigError, match="Redis does not answer") as refusal:
        async with Scheduler.start(changed(QUICK, "scheduler.phase2", redis=stranger)):
            pass
    assert "hush" not in str(refusal.value)


async def _answers(store: Store) -> bool:
    try:
        await store.ping()
    except Exception:  # noqa: BLE001 - not yet, whatever the reason
        return False
    return True


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="password_file: /nowhere: No such file"):
        finder_of(RedisConfig(password_file="/nowhere"))
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(ConfigError, match="is empty"):
        finder_of(RedisConfig(password_file=str(empty)))


# ------------------------------------------------------------------------------------------- logs

SECRET_TEXT = "the cat is under the blue table"
FORGERY = "x\n12:00:00 INFO    scheduler: all is well\x1b[2J\x9b2J\x85all is well\u2028all is well\r\n"


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged, at the level that says most, in the form of production."""
    root = logging.getLogger("lingua")
    before = root.handlers[:], root.level, root.propagate
    written = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", written)
        configure_logs("debug", request.param)
    others = logging.StreamHandler(written)  # as a process does with what libraries report
    logging.getLogger().addHandler(others)
    yield written
    logging.getLogger().removeHandler(others)
    root.handlers[:], root.level, root.propagate = before


async def test_nothing_said_or_secret_is_in_a_log_or_in_redis(tmp_path: Path, redis: EmbeddedRedis, log: io.StringIO):
    keys = KeyFile.made(tmp_path / "keys.toml")
    token, node_token, marker = keys.client(), keys.node("n1"), b"\x34\x12" * 6400
    async with Scheduler.start(keys.config(QUICK), redis.url) as scheduler, ClientSession() as http:
        async with Peers.of(scheduler.url, scheduler.context.store) as peers:
            node, client = await peers.node(), await peers.client()
            await node.register("n1", token=node_token)
            ack = await client.open(token=token)
            await client.chunk(base64.b64encode(marker).decode(), is_final=True)
            await node.answer(await node.take_job(), SECRET_TEXT, tts_audio="QUFB")
            await client.wait_for(wire.TranslationResult)
            for bad in (f'{{"type":"{token}"}}', f'{{"type":"session_close","x":"{SECRET_TEXT}"', token):
                await client.ws.send_str(bad)
                await client.wait_for(wire.ErrorMessage)
            reader = await http.get(f"{scheduler.url}/metrics", headers={"Authorization": f"Bearer {keys.admin()}"})
            metrics = await reader.text()
            await malformed(scheduler, token)
            stored = await everything(scheduler.context.store)
        assert ack.resume_token is None
    said = log.getvalue()
    assert "session opened" in said
    for secret in (token, node_token, keys.admin(), SECRET_TEXT, base64.b64encode(marker[:60]).decode()[:70], "QUFB"):
        assert secret not in said
        assert secret not in metrics
    for secret in (token, node_token, SECRET_TEXT):
        assert secret not in stored


async def malformed(scheduler: Scheduler, token: str) -> None:
    """A header that the server library refuses, and would report with all that stands in it."""
    host, _, port = scheduler.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\0\r\n\r\n".encode())
    async with asyncio.timeout(15):
        assert b"400" in await reader.read()
    writer.close()


async def everything(store: Store) -> str:
    parts: list[str] = []
    for name in texts(await store.client.call("KEYS", "*")):
        kind = str(await store.client.call("TYPE", name))
        read = {"hash": ("HGETALL",), "set": ("SMEMBERS",), "zset": ("ZRANGE", "0", "-1"), "string": ("GET",)}
        if kind in read:
            parts.append(f"{name} {await store.client.call(read[kind][0], name, *read[kind][1:])}")
    assert parts
    return "\n".join(parts)


async def test_nobody_writes_lines_of_a_log(redis: EmbeddedRedis, log: io.StringIO):
    """Whatever a peer says, a line is one event; a terminal is told nothing."""
    async with Scheduler.start(QUICK, redis.url) as scheduler, Peers.of(scheduler.url) as peers:
        client, node = await peers.client(), await peers.node()
        await client.open(platform=FORGERY, trace_id=FORGERY)
        await client.send(wire.SessionClose(session_id=client.session_id, reason=FORGERY))
        await client.wait_for(wire.SessionCloseAck)
        await node.register("n1")
        await node.send(node_wire.NodeError(node_id="n1", code=FORGERY, message=FORGERY))
        await node.ws.close()
    get_logger("test").warning("a peer spoke", said=FORGERY, of=[FORGERY])
    lines = log.getvalue().splitlines()
    assert any("a peer spoke" in line and "all is well" in line for line in lines)
    assert not any(line.startswith(("12:00:00 INFO    scheduler: all", "all is well")) for line in lines)
    assert not any(sign in line for line in lines for sign in "\x1b\x9b\r")


def test_a_peer_fills_no_log(log: io.StringIO):
    get_logger("test").warning("a peer spoke", code="c" * 5_000_000, count=1)
    assert len(log.getvalue()) < 1500
    assert "5000000 characters" in log.getvalue()


# ------------------------------------------------------------------------------------------- audit


async def test_who_did_what_is_written_down(tmp_path: Path, redis: EmbeddedRedis, capsys: pytest.CaptureFixture[str]):
    keys = KeyFile.made(tmp_path / "keys.toml")
    root = logging.getLogger("lingua")
    before = root.handlers[:], root.level, root.propagate
    configure_logs("info", "json")
    try:
        async with (
            Scheduler.start(keys.config(QUICK), redis.url) as scheduler,
            ClientSession() as http,
            Peers.of(scheduler.url, scheduler.context.store) as peers,
        ):
            node = await peers.node()
            await node.register("n1", token=keys.node("n1"))
            drain = f"{scheduler.url}/api/v1/nodes/n1/drain"
            for token, status in ((keys.client(), 401), (keys.admin(), 202)):
                async with http.post(drain, json={}, headers={"Authorization": f"Bearer {token}"}) as response:
                    assert response.status == status
    finally:
        root.handlers[:], root.level, root.propagate = before
    rows: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    refused, done = [row for row in rows if row["logger"] == "lingua.scheduler.audit"]
    assert (refused["message"], refused["who"]) == ("control refused", "client acme-1 (key hs)")
    assert (refused["asked"], refused["status"]) == ("POST /api/v1/nodes/n1/drain", 401)
    assert (done["message"], done["action"], done["about"]) == ("control action", "drain-node", "n1")
    assert (done["who"], done["address"]) == ("admin admin-1 (key hs)", "127.0.0.1")
    assert done["ts"]
