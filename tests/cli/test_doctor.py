"""`lingua doctor` on real Redis servers, right and wrong, and on what else can be wrong before a start."""

import json
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lingua_scheduler.cli.findings import Finding, Status
from lingua_scheduler.cli.machine_checks import check_limits, check_node, check_proxies, check_tls
from lingua_scheduler.cli.main import main
from lingua_scheduler.cli.redis_checks import check_redis, judge_skew, settings
from lingua_scheduler.runtime.config import Config, NodeConfig, RedisConfig, ServerConfig
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.redis_servers import REDIS, binary_of
from tests.support import Processes, free_port
from tests.support.certificates import Authority

FIT = {
    "redis_version": "7.2.4", "role": "master", "cluster_enabled": "0", "maxmemory_policy": "noeviction",
    "maxmemory": "1000000000", "used_memory": "1000000", "aof_enabled": "1", "connected_clients": "5",
    "maxclients": "100",
}  # fmt: skip


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def told_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def rows(report: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in report["findings"]}


@pytest.fixture
async def redis() -> AsyncIterator[str]:
    """A server of its own: the test sets it wrongly."""
    async with EmbeddedRedis.start(binary=binary_of(REDIS)) as server:
        yield server.url


async def test_a_fit_redis_passes(redis: str):
    async with RedisClient.open(redis) as client:
        await client.call("CONFIG", "SET", "appendonly", "yes")
    found = await check_redis(RedisConfig(url=redis))

    assert {finding.status for finding in found} == {Status.OK}
    assert {"redis version", "redis eviction", "redis scripts", "clocks", "redis latency"} <= by_check(found).keys()


@pytest.mark.parametrize(
    ("settings", "check", "status", "remedy"),
    [
        (("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"), "redis eviction", Status.FAILURE, "noeviction"),
        (("CONFIG", "SET", "appendonly", "no"), "redis persistence", Status.WARNING, "appendonly yes"),
        (("CONFIG", "SET", "maxmemory", "0"), "redis memory", Status.WARNING, "set maxmemory"),
        (("REPLICAOF", "127.0.0.1", "1"), "redis role", Status.FAILURE, "master"),
    ],
)
async def test_a_wrong_setting_is_told_with_its_remedy(
    redis: str, settings: tuple[str, ...], check: str, status: Status, remedy: str
):
    async with RedisClient.open(redis) as client:
        await client.call(*settings)
    found = by_check(await check_redis(RedisConfig(url=redis)))[check]

    assert found.status is status
    assert remedy in found.remedy


async def test_a_user_that_may_not_run_scripts_is_told(redis: str):
    async with RedisClient.open(redis) as client:
        await client.call("ACL", "SETUSER", "weak", "on", ">pw", "+info", "+time", "+ping", "+select")
    found = by_check(await check_redis(RedisConfig(url=redis.replace("unix://", "unix://weak:pw@"))))

    assert found["redis scripts"].status is Status.FAILURE
    assert "+@scripting" in found["redis scripts"].remedy


async def test_a_wrong_mode_is_told(redis: str):
    found = by_check(await check_redis(RedisConfig(url=redis, mode="single")))
    assert found["redis mode"].status is Status.OK

    clustered = by_check(list(settings({**FIT, "cluster_enabled": "1"}, RedisConfig())))
    assert 'mode = "cluster"' in clustered["redis mode"].remedy


@pytest.mark.parametrize(
    ("field", "value", "check", "status"),
    [
        ("redis_version", "6.2.14", "redis version", Status.FAILURE),
        ("used_memory", "900000000", "redis memory", Status.WARNING),
        ("connected_clients", "90", "redis clients", Status.WARNING),
        ("valkey_version", "8.1.0", "redis version", Status.OK),
    ],
)
def test_what_info_tells_is_judged(field: str, value: str, check: str, status: Status):
    assert not [one for one in settings(FIT, RedisConfig()) if one.status is not Status.OK]
    assert by_check(list(settings({**FIT, field: value}, RedisConfig())))[check].status is status


@pytest.mark.parametrize(
    ("skew_ms", "status"),
    [(0, Status.OK), (-900, Status.OK), (1500, Status.WARNING), (-1500, Status.WARNING), (6000, Status.FAILURE)],
)
def test_clocks_may_differ_a_little(skew_ms: int, status: Status):
    found = judge_skew(skew_ms)
    assert found.status is status
    assert bool(found.remedy) is (status is not Status.OK)


def test_a_machine_without_redis_fails_with_the_remedy(capsys: pytest.CaptureFixture[str]):
    url = f"redis://:hush@127.0.0.1:{free_port()}"
    assert main(["doctor", "serve", "--port", "0", "--redis", url]) == 1
    out = capsys.readouterr().out

    assert "✗ redis" in out
    assert "--embedded-redis" in out
    assert "hush" not in out
    assert out.splitlines()[-1].endswith("1 failed, 0 could be better")


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        port = taken.getsockname()[1]
        main(["doctor", "serve", "--embedded-redis", "--port", str(port), "--json"])
    found = rows(told_json(capsys))["port"]

    assert found["status"] == "failure"
    assert f"sport = :{port}" in found["remedy"]


async def test_an_instance_that_runs_is_known_as_one(processes: Processes):
    serve = processes.lingua("serve", "--embedded-redis", "--port", "0")
    url = (await serve.wait_output("listening on")).split()[-1]
    port, node_url = url.rpartition(":")[2], f"{url.replace('http', 'ws')}/ws/node"
    doctor = processes.lingua("doctor", "--embedded-redis", "--port", port, "--engines", "scripted")
    node = processes.lingua("doctor", "node", "--url", node_url, "--engines", "scripted", "--json")

    assert await doctor.wait_exit() == 0
    assert f"an instance already listens on 127.0.0.1:{port}" in doctor.stdout
    assert await node.wait_exit() == 0
    assert rows(json.loads(node.stdout))["scheduler"]["told"] == f"{node_url} answers"


def test_a_configuration_that_cannot_be_used_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "config.toml"
    file.write_text("[server]\nprot = 1\n")
    assert main(["doctor", "--config", str(file), "--json"]) == 1
    assert "server.prot: unknown key" in rows(told_json(capsys))["configuration"]["told"]


def test_keys_are_needed_beyond_loopback_and_kept_to_their_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    open_door = ["doctor", "serve", "--embedded-redis", "--port", "0", "--host", "0.0.0.0", "--json"]
    assert main(open_door) == 1
    assert "lingua token key" in rows(told_json(capsys))["keys"]["remedy"]

    keys = tmp_path / "keys.toml"
    assert main(["token", "key", "--keys", str(keys)]) == 0
    keys.chmod(0o644)
    capsys.readouterr()
    assert main([*open_door, "--keys", str(keys)]) == 0
    found = rows(told_json(capsys))
    assert found["keys"]["status"] == "ok"
    assert found["key file"]["remedy"] == f"chmod 600 {keys}"


def test_engines_that_will_not_load_are_told(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--embedded-redis", "--port", "0", "--engines", "magic", "--json"]) == 0
    assert rows(told_json(capsys))["engines"]["status"] == "warning"

    (found,) = check_node(NodeConfig(engines="magic"), must_work=True)
    assert found.status is Status.FAILURE
    assert "no engine 'magic'" in found.told


def test_a_node_without_a_scheduler_is_told(capsys: pytest.CaptureFixture[str]):
    url = f"ws://127.0.0.1:{free_port()}/ws/node"
    assert main(["doctor", "node", "--url", url, "--engines", "scripted", "--json"]) == 1
    assert "lingua serve" in rows(told_json(capsys))["scheduler"]["remedy"]


@pytest.mark.parametrize(("soft", "status"), [(64, Status.FAILURE), (1024, Status.WARNING)])
def test_few_open_files_are_told(soft: int, status: Status):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        (found,) = check_limits()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert found.status is status
    assert "LimitNOFILE" in found.remedy


async def test_a_redis_that_wants_a_password_says_so(redis: str):
    """Story: it was told as a user without rights, and the remedy was to give it some."""
    async with RedisClient.open(redis) as client:
        await client.call("CONFIG", "SET", "requirepass", "hush")
    [found] = await check_redis(RedisConfig(url=redis))

    assert "wants a password" in found.told
    assert "password_file" in found.remedy


def test_certificates_that_cannot_be_shown_or_expire_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Story: `lingua doctor` was content with a certificate that was not there."""
    cert, key = (str(path) for path in Authority(tmp_path).issue("localhost"))

    def told(**server: str) -> Finding:
        [found] = check_tls(ServerConfig(**server))  # pyright: ignore[reportArgumentType] - all of these are strings
        return found

    assert told().status is Status.OK
    assert told(tls_cert_file=cert, tls_key_file=key).status is Status.OK
    assert "No such file" in told(tls_cert_file="none.pem", tls_key_file=key).told
    assert told(tls_cert_file=cert, tls_key_file=cert).status is Status.FAILURE
    monkeypatch.setattr("lingua_scheduler.cli.machine_checks.RENEW_DAYS", 1_000_000)
    assert "no restart" in told(tls_cert_file=cert, tls_key_file=key).remedy


def test_proxies_tokens_and_addresses_that_can_be_none_are_told(tmp_path: Path):
    [found] = check_proxies(Config(server=ServerConfig(trusted_proxies=["proxy.example"])))
    assert (found.check, found.status) == ("proxies", Status.FAILURE)

    wrong = NodeConfig(engines="scripted", url="http://127.0.0.1", token_file=str(tmp_path / "none"))
    told = by_check(list(check_node(wrong, must_work=True)))
    assert "No such file" in told["token"].told
    assert "ws://HOST:PORT" in told["scheduler"].told
