"""Compose-like commands without containers: what `deploy/compose` would start, as processes, with its own files.

The specification is checked by a library that knows it, the Dockerfile by hadolint. Then Redis, the instances, the
node, the load balancer and Prometheus run with the commands, the environment, the configuration and the secrets of the
file; only addresses, paths and the node's engines are others.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from aiohttp import ClientSession
from compose_spec import PyCompose

from lingua_scheduler.data import COMMANDS
from tests.deploy.conftest import DEPLOY, checked, program
from tests.deploy.fronts import start_front, wait_served
from tests.support import Child, Processes, free_port, wait_until

COMPOSE = DEPLOY / "compose"
BIN = Path(sys.executable).parent
DRAIN_S = 30
"""What an instance or node takes at most to finish what it has."""


def spec() -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text("utf-8"))


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found, text
    return int(found[1])


def test_the_file_is_what_compose_understands():
    services = PyCompose.from_yaml(yaml.safe_dump(spec())).services
    assert services is not None
    assert services.keys() == {"redis", "scheduler-a", "scheduler-b", "node", "proxy", "prometheus", "grafana"}


def test_hadolint_is_content_with_the_images():
    if shutil.which("hadolint", path=str(BIN)) is None:
        pytest.skip("hadolint has no package for this platform")
    checked(BIN / "hadolint", COMPOSE / "Dockerfile")


def test_what_the_services_name_is_there():
    told = spec()
    used: dict[str, set[str]] = {"configs": set(), "secrets": set(), "networks": set()}
    for service in told["services"].values():
        for kind, names in used.items():
            named = cast("list[str | dict[str, str]]", service.get(kind, []))
            names |= {one if isinstance(one, str) else one["source"] for one in named}
        named = cast("list[str]", service.get("volumes", []))
        assert {one.partition(":")[0] for one in named} <= told["volumes"].keys()
    for kind, names in used.items():
        assert names == told[kind].keys(), kind
    assert all((COMPOSE / one["file"]).is_file() for one in told["configs"].values())
    made = (COMPOSE / "make-secrets.sh").read_text("utf-8")
    assert all(f"> {one['file']}" in made or f"--keys {one['file']}" in made for one in told["secrets"].values())


def test_ours_are_locked_in_and_have_time_to_leave():
    for name, service in spec()["services"].items():
        if str(service["image"]).startswith("lingua-"):
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert seconds(service["stop_grace_period"]) > DRAIN_S, name
            assert "ports" not in service, "only the load balancer is reached from outside"


def test_grafana_is_given_what_it_looks_for():
    grafana = spec()["services"]["grafana"]
    targets = {one["source"]: one["target"] for one in grafana["configs"]}
    [provider] = yaml.safe_load((COMPOSE / "grafana/boards.yaml").read_text("utf-8"))["providers"]
    [source] = yaml.safe_load((COMPOSE / "grafana/source.yaml").read_text("utf-8"))["datasources"]
    assert Path(targets["grafana-dashboard"]).parent == Path(provider["options"]["path"])
    assert source["url"] == "http://prometheus:9090"
    queries = json.loads((DEPLOY / "grafana/lingua.json").read_text("utf-8"))["templating"]["list"]
    assert source["type"] in {one.get("query") for one in queries if one["type"] == "datasource"}


# ------------------------------------------------------------------------------- the fleet, as processes


@dataclass(slots=True)
class Stack:
    """Services of the file as processes of this machine."""

    processes: Processes
    folder: Path
    told: dict[str, Any] = field(default_factory=spec)
    ports: dict[str, int] = field(default_factory=dict[str, int])
    """By `host:port` as containers say it."""

    def start(self, name: str, **env: str) -> Child:
        """`env`: what is different here."""
        service = self.told["services"][name]
        entrypoint = re.search(r'^ENTRYPOINT \["(\w+)"\]$', (COMPOSE / "Dockerfile").read_text("utf-8"), re.MULTILINE)
        own = str(service["image"]).startswith("lingua-")
        words = [entrypoint[1] if entrypoint and own else "", *service["command"]]
        found, *arguments = [self.here(str(word), service) for word in words if word]
        environment = {key: self.here(value, service) for key, value in service.get("environment", {}).items()}
        path = str(BIN / found) if own else program(found)
        return self.processes.start(path, *arguments, env={**environment, **env})

    def is_healthy(self, name: str) -> bool:
        """What the file's own check says."""
        test, *words = self.told["services"][name]["healthcheck"]["test"]
        assert test == "CMD"
        command = [self.here(word.replace("127.0.0.1:5010", f"{name}:5010")) for word in words]
        command[0] = sys.executable if command[0] == "python" else command[0]
        command[1:1] = ["-p", str(self.ports["redis:6379"])] if command[0] == "redis-cli" else []
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0

    def here(self, text: str, service: dict[str, Any] | None = None) -> str:
        """With addresses of this machine, and with files where they lie here."""
        for place, port in self.ports.items():
            text = text.replace(place, f"127.0.0.1:{port}")
        for secret in self.told["secrets"]:
            text = text.replace(f"/run/secrets/{secret}", str(self.folder / "secrets" / secret))
        for config in service.get("configs", []) if service else ():
            text = text.replace(config["target"], str(self.file(config["source"])))
        return text

    def file(self, config: str) -> Path:
        """A file of `configs`, as the service sees it."""
        source = COMPOSE / self.told["configs"][config]["file"]
        path = self.folder / f"{config}{source.suffix}"
        path.write_text(self.here(source.read_text("utf-8")), "utf-8")
        return path


@pytest.fixture
async def stack(processes: Processes, tmp_path: Path) -> Stack:
    """All of it, ready; the load balancer is the test's."""
    shutil.copy(COMPOSE / "make-secrets.sh", tmp_path)
    env = {"PATH": f"{BIN}:/usr/bin:/bin"}
    made = processes.start(str(tmp_path / "make-secrets.sh"), env=env)
    assert await made.wait_exit() == 0, made.story()
    ports = {place: free_port() for place in ("redis:6379", "scheduler-a:5010", "scheduler-b:5010")}
    stack = Stack(processes, tmp_path, ports=ports)
    redis = stack.told["services"]["redis"]
    redis["command"] += ["--port", str(ports["redis:6379"]), "--dir", str(tmp_path), "--bind", "127.0.0.1"]
    stack.start("redis")
    await wait_until(lambda: stack.is_healthy("redis"), "Redis")

    for name in ("scheduler-a", "scheduler-b"):
        stack.start(name, LINGUA_SERVER__PORT=str(ports[f"{name}:5010"]), LINGUA_SERVER__HOST="127.0.0.1")
    stack.start("node", LINGUA_NODE__ENGINES="scripted?text=hello there", LINGUA_NODE__CAPACITY="4")
    await wait_until(lambda: stack.is_healthy("scheduler-a") and stack.is_healthy("scheduler-b"), "the instances")
    return stack


async def prometheus_value(http: ClientSession, url: str, query: str) -> str:
    """Of the one series; "" while there is none."""
    try:
        async with http.get(f"{url}/api/v1/query", params={"query": query}) as answer:
            found = (await answer.json())["data"]["result"]
    except (OSError, KeyError, ValueError):
        return ""
    return found[0]["value"][1] if found else ""


async def test_the_fleet_of_the_file_translates_and_is_watched(stack: Stack, processes: Processes, tmp_path: Path):
    pem = tmp_path / "secrets/lingua.pem"
    instances = [f"127.0.0.1:{stack.ports[f'{name}:5010']}" for name in ("scheduler-a", "scheduler-b")]
    front = start_front("haproxy", processes, instances, (pem, Path("/dev/null")))
    await wait_served(front, pem)
    stack.file("alerts").rename(tmp_path / "alerts.yml")
    watch = stack.file("prometheus")
    watch.write_text(watch.read_text("utf-8").replace("10s", "1s"), "utf-8")
    at = f"127.0.0.1:{free_port()}"
    data = f"--storage.tsdb.path={tmp_path}/data"
    processes.start(program("prometheus"), f"--config.file={watch}", data, f"--web.listen-address={at}")

    token = checked(BIN / "lingua", "token", "client", "--keys", tmp_path / "secrets/keys.toml", "--tenant", "acme")
    said = processes.lingua(
        "translate", str(COMMANDS.path), "--from", "en", "--to", "pt", "--json", "--url", front.url,
        env={"SSL_CERT_FILE": str(pem), "LINGUA_TOKEN": token.splitlines()[0]},
    )  # fmt: skip
    assert await said.wait_exit(60) == 0, said.story()
    summary = json.loads(said.stdout.splitlines()[-1])
    assert summary["translated"] >= 2
    assert (summary["lost"], summary["failed"]) == (0, 0)

    async with ClientSession() as http:

        async def is_seen() -> bool:
            asked = ("sum(up)", "max(lingua_fleet_nodes)", 'sum(lingua_job_outcomes_total{outcome="translated"})')
            return [await prometheus_value(http, f"http://{at}", one) for one in asked] == [
                "2", "1", str(summary["translated"]),
            ]  # fmt: skip

        await wait_until(is_seen, "Prometheus to have counted it")

    ours = [child for child in processes.children if child.name.startswith("lingua serve")]
    for child in ours:
        child.send(signal.SIGTERM)
        assert await child.wait_exit(seconds(stack.told["services"]["scheduler-a"]["stop_grace_period"])) == 0
