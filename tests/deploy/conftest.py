"""What the tests of `deploy/` share: its folder, and the programs of Debian that read its files."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scheduler.conftest import config as config
from tests.scheduler.conftest import peers as peers
from tests.scheduler.conftest import redis as redis
from tests.scheduler.conftest import scheduler as scheduler

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCS = DEPLOY.parent / "docs"


def program(name: str) -> str:
    """Its path. `dev.py test` installs it; a machine where it cannot be skips."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin:/sbin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed (dev.py TEST_PROGRAMS)")
    return found


def checked(*words: str | Path) -> str:
    """What a program said; the test fails with it where the program is not content."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False)
    told = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, told
    return told


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> dict[str, list[str]]:
    """By panel, as Prometheus would get them: with Grafana's own words filled in."""
    panels = json.loads((DEPLOY / "grafana/lingua.json").read_text("utf-8"))["panels"]
    return {
        panel["title"]: [_filled(target["expr"]) for target in panel["targets"]]
        for panel in panels
        if panel["type"] != "row"
    }


def adapter_rules() -> dict[str, list[dict[str, Any]]]:
    """`custom` and `external`, as the metrics adapter of Kubernetes gets them."""
    rules = yaml.safe_load((DEPLOY / "helm/prometheus-adapter.yaml").read_text("utf-8"))["rules"]
    return {kind: rules[kind] for kind in ("custom", "external")}


def adapter_queries() -> list[str]:
    """As Prometheus would get them, for all of a fleet."""
    filled: list[str] = []
    for rule in (one for rules in adapter_rules().values() for one in rules):
        text = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        filled.append(text.replace("<<.LabelMatchers>>", "").replace("<<.GroupBy>>", "instance"))
    return filled


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:lingua|process)_[a-z_]+", expression))


def _filled(expression: str) -> str:
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
