"""The Helm chart, as Helm rendered it last: `tests/deploy/charts.py` has linted it and asked Kubernetes' schemas."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lingua_scheduler.node.app import DRAIN_S as NODE_DRAIN_S
from lingua_scheduler.runtime.config import load_config
from lingua_scheduler.runtime.metrics_doc import names
from lingua_scheduler.scheduler.upkeep import CLOSE_S, DRAIN_S
from tests.deploy.charts import CASES, CHART, RENDERED, check, digest, objects, render
from tests.deploy.conftest import adapter_rules, metric_names

COMMAND = ".venv/bin/python -m tests.deploy.charts"


def found(case: str, kind: str, component: str = "scheduler") -> dict[str, Any]:
    [one] = [
        one
        for one in objects(case)
        if one["kind"] == kind and one["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    return one


def container(case: str, component: str = "scheduler") -> dict[str, Any]:
    [one] = found(case, "Deployment", component)["spec"]["template"]["spec"]["containers"]
    return one


@pytest.mark.parametrize("case", CASES)
def test_what_is_rendered_is_of_this_chart(case: str):
    head = (RENDERED / f"{case}.yaml").read_text("utf-8").partition("\n")[0]
    assert head == digest(case), f"the chart has changed: {COMMAND}"


@pytest.mark.parametrize("case", CASES)
def test_helm_renders_it_so(case: str):
    if importlib.util.find_spec("helm_python") is None or importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("Helm and Kubernetes' schemas (100 MB) are not installed: pip install --group charts")
    rendered = render(case)
    assert (RENDERED / f"{case}.yaml").read_text("utf-8").partition("\n")[2] == rendered
    check(rendered)


@pytest.mark.parametrize(
    ("values", "is_right"),
    [
        *((case, True) for case in CASES.values()),
        ({"replica": 3}, False),
        ({"redis": {"url": "http://redis"}}, False),
        ({"terminationGracePeriodSeconds": 30}, False),
        ({"keysSecret": ""}, False),
        ({"node": {"autoscaling": {"slotsTaken": "most"}}}, False),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], is_right: bool):
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load((CHART / "values.yaml").read_text("utf-8")), schema)
    assert jsonschema.Draft7Validator(schema).is_valid(values) is is_right


@pytest.mark.parametrize("case", CASES)
def test_an_instance_accepts_its_configuration(case: str, tmp_path: Path):
    told = found(case, "ConfigMap")["data"]["config.toml"]
    (tmp_path / "config.toml").write_text(told, "utf-8")
    config = load_config(tmp_path / "config.toml", {})
    mounts = {one["mountPath"] for one in container(case)["volumeMounts"]}
    assert config.server.host == "0.0.0.0"
    assert str(Path(config.security.keys_file).parent) in mounts
    if password_file := config.scheduler.phase2.redis.password_file:
        assert str(Path(password_file).parent) in mounts


def test_a_node_accepts_its_environment():
    one = container("most", "node")
    config = load_config(None, {entry["name"]: entry["value"] for entry in one["env"]}).node
    assert config.url == f"ws://{found('most', 'Service')['metadata']['name']}:5010/ws/node"
    assert config.capacity == 4
    assert str(Path(config.token_file).parent) in {mount["mountPath"] for mount in one["volumeMounts"]}


@pytest.mark.parametrize("case", CASES)
def test_a_pod_that_leaves_has_the_time(case: str):
    pod = found(case, "Deployment")["spec"]["template"]["spec"]
    [_, waits] = container(case)["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(waits) + DRAIN_S + CLOSE_S
    assert container(case)["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container(case)["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_node_that_leaves_has_the_time():
    pod = found("most", "Deployment", "node")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > NODE_DRAIN_S


@pytest.mark.parametrize("case", CASES)
def test_everything_selects_the_pods_that_there_are(case: str):
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in objects(case) if one["kind"] == "Deployment"]
    for one in objects(case):
        spec = one.get("spec", {})
        chosen = spec.get("podSelector", spec.get("selector", {}))
        chosen = chosen.get("matchLabels", chosen)
        if chosen and one["kind"] != "ServiceMonitor":
            assert [pod for pod in labels if chosen.items() <= pod.items()], one["kind"]
    if case == "most":
        service = found(case, "Service")["metadata"]["labels"]
        assert found(case, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service.items()


@pytest.mark.parametrize("component", ["scheduler", "node"])
def test_containers_are_locked_in(component: str):
    pod = found("most", "Deployment", component)["spec"]["template"]["spec"]
    allowed = container("most", component)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert allowed == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_autoscalers_ask_for_metrics_that_the_adapter_makes_of_ours():
    rules = adapter_rules()
    custom = {rule["seriesQuery"].partition("{")[0] for rule in rules["custom"]}
    external = {rule["name"]["as"] for rule in rules["external"]}
    [pods] = found("most", "HorizontalPodAutoscaler")["spec"]["metrics"]
    [outside] = found("most", "HorizontalPodAutoscaler", "node")["spec"]["metrics"]
    assert {pods["pods"]["metric"]["name"]} == custom
    assert {outside["external"]["metric"]["name"]} == external
    for rule in (*rules["custom"], *rules["external"]):
        assert metric_names(rule["seriesQuery"]) | metric_names(rule["metricsQuery"]) <= names()


def test_no_secret_stands_in_the_chart():
    text = "".join(path.read_text("utf-8") for path in CHART.rglob("*") if path.is_file())
    assert not re.search(r"kind: Secret\b", text)
