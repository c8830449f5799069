"""The alert rules and the dashboard: known to Prometheus, made of metrics that exist, and explained in the runbook."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.runtime.metrics_doc import names
from lingua_scheduler.scheduler.app import Scheduler
from tests.deploy.conftest import (
    DEPLOY,
    DOCS,
    adapter_queries,
    alerts,
    checked,
    dashboard_queries,
    metric_names,
    program,
)
from tests.support import Processes, free_port, wait_until
from tests.support.peers import NodePeer, Peers

RULES = DEPLOY / "prometheus/alerts.yml"

ME = 'job="lingua",instance="a"'
FIRING: dict[str, dict[str, str]] = {
    "LinguaInstanceDown": {f"up{{{ME}}}": "0x60"},
    "LinguaRedisDown": {f"lingua_redis_up{{{ME}}}": "0x60"},
    "LinguaNoNodes": {f"lingua_fleet_nodes{{{ME}}}": "0x60"},
    "LinguaSpeechLost": {
        f'lingua_job_outcomes_total{{{ME},outcome="translated"}}': "0+95x60",
        f'lingua_job_outcomes_total{{{ME},outcome="job_timeout"}}': "0+5x60",
    },
    "LinguaSlow": {
        f'lingua_first_text_seconds_bucket{{{ME},le="3.0"}}': "0+50x60",
        f'lingua_first_text_seconds_bucket{{{ME},le="5.0"}}': "0+100x60",
        f'lingua_first_text_seconds_bucket{{{ME},le="+Inf"}}': "0+100x60",
    },
    "LinguaQueueWait": {
        f'lingua_queue_wait_seconds_bucket{{{ME},le="1.0"}}': "0+50x60",
        f'lingua_queue_wait_seconds_bucket{{{ME},le="2.0"}}': "0+100x60",
        f'lingua_queue_wait_seconds_bucket{{{ME},le="+Inf"}}': "0+100x60",
    },
    "LinguaSlotsShort": {f"lingua_fleet_slots_taken{{{ME}}}": "19x60", f"lingua_fleet_slots{{{ME}}}": "20x60"},
    "LinguaFailovers": {
        f'lingua_job_retries_total{{{ME},cause="node_closed"}}': "0+10x60",
        f'lingua_job_outcomes_total{{{ME},outcome="translated"}}': "0+100x60",
    },
    "LinguaNodesLost": {f'lingua_nodes_lost_total{{{ME},cause="lost"}}': "0+1x60"},
    "LinguaLeasesExpired": {f'lingua_leases_expired_total{{{ME},by="timer"}}': "0+1x60"},
    "LinguaDeadLetters": {f"lingua_dlq_messages{{{ME}}}": "1x60"},
    "LinguaInboxBehind": {f"lingua_inbox_messages{{{ME}}}": "2000x60"},
    "LinguaRedisSlow": {
        f'lingua_redis_seconds_bucket{{{ME},le="0.1"}}': "0+50x60",
        f'lingua_redis_seconds_bucket{{{ME},le="0.25"}}': "0+100x60",
        f'lingua_redis_seconds_bucket{{{ME},le="+Inf"}}': "0+100x60",
    },
    "LinguaLoopLag": {
        f'lingua_loop_lag_seconds_bucket{{{ME},le="0.25"}}': "0+50x60",
        f'lingua_loop_lag_seconds_bucket{{{ME},le="0.5"}}': "0+100x60",
        f'lingua_loop_lag_seconds_bucket{{{ME},le="+Inf"}}': "0+100x60",
    },
    "LinguaBufferFull": {f'lingua_buffer_fill_ratio{{{ME},buffer="session_audio"}}': "0.9x60"},
    "LinguaBug": {f"lingua_machine_crashes_total{{{ME}}}": "0x25 1x30"},
    "LinguaReportsRefused": {f'lingua_refused_reports_total{{{ME},why="stranger"}}': "0+60x60"},
    "LinguaDenied": {f'lingua_denied_total{{{ME},who="client"}}': "0+120x60"},
    "LinguaFilesShort": {f"process_open_fds{{{ME}}}": "900x60", f"process_max_fds{{{ME}}}": "1000x60"},
}
"""By alert, what a minute-by-minute story must hold for it to fire after half an hour."""
QUIET: dict[str, str] = {
    f"up{{{ME}}}": "1x60",
    f"lingua_redis_up{{{ME}}}": "1x60",
    f"lingua_fleet_nodes{{{ME}}}": "2x60",
    f"lingua_fleet_slots{{{ME}}}": "20x60",
    f"lingua_fleet_slots_taken{{{ME}}}": "10x60",
    f'lingua_job_outcomes_total{{{ME},outcome="translated"}}': "0+100x60",
    f'lingua_job_outcomes_total{{{ME},outcome="no_speech"}}': "0+10x60",
    f'lingua_job_outcomes_total{{{ME},outcome="job_timeout"}}': "0x60",
    f'lingua_job_retries_total{{{ME},cause="carry_unclaimed"}}': "0+20x60",
    f'lingua_job_retries_total{{{ME},cause="node_closed"}}': "0x60",
    f'lingua_first_text_seconds_bucket{{{ME},le="1.0"}}': "0+99x60",
    f'lingua_first_text_seconds_bucket{{{ME},le="5.0"}}': "0+100x60",
    f'lingua_first_text_seconds_bucket{{{ME},le="+Inf"}}': "0+100x60",
    f'lingua_refused_reports_total{{{ME},why="repeat"}}': "0+600x60",
    f'lingua_nodes_lost_total{{{ME},cause="suspect"}}': "0+5x60",
    f"lingua_dlq_messages{{{ME}}}": "0x60",
    f"lingua_dlq_orphaned_messages{{{ME}}}": "0x60",
    f'lingua_buffer_fill_ratio{{{ME},buffer="session_audio"}}': "0.5x60",
    f"lingua_machine_crashes_total{{{ME}}}": "3x60",
    f"process_open_fds{{{ME}}}": "100x60",
    f"process_max_fds{{{ME}}}": "1000x60",
}
"""A day on which all is well, with what looks bad and is not."""


def story(alert: dict[str, Any], series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    """A test of one alert as promtool wants it."""
    name = alert["alert"]
    given = [{"series": one, "values": values} for one, values in series.items()]
    query = {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": "30m"}
    told = [{"labels": "{}", "value": 1}] if fires else []
    return {"name": f"{name} {fires}", "interval": "1m", "input_series": given,
            "promql_expr_test": [{**query, "exp_samples": told}]}  # fmt: skip


def test_promtool_knows_the_rules_and_the_configuration(tmp_path: Path):
    promtool = program("promtool")
    assert f"{len(alerts())} rules found" in checked(promtool, "check", "rules", RULES)
    assert "SUCCESS" in checked(promtool, "check", "config", DEPLOY / "prometheus/prometheus.yml")


def test_every_alert_fires_when_it_should_and_on_no_quiet_day(tmp_path: Path):
    promtool = program("promtool")
    assert FIRING.keys() == {one["alert"] for one in alerts()}, "a story for each alert"
    stories = [story(one, FIRING[one["alert"]], fires=True) for one in alerts()]
    stories += [story(one, QUIET, fires=False) for one in alerts()]
    told = tmp_path / "stories.yml"
    told.write_text(
        yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": stories}), "utf-8"
    )
    assert "SUCCESS" in checked(promtool, "test", "rules", told)


def test_alerts_and_panels_use_metrics_that_exist():
    process = {f"process_{one}" for one in ("open_fds", "max_fds", "resident_memory_bytes", "cpu_seconds_total")}
    known = names() | process
    asked = {one["alert"]: metric_names(one["expr"]) for one in alerts()}
    asked |= {title: set[str]().union(*map(metric_names, queries)) for title, queries in dashboard_queries().items()}
    assert {title: missing for title, found in asked.items() if (missing := found - known)} == {}
    assert [title for title, found in asked.items() if not found and title != "LinguaInstanceDown"] == []


def test_every_alert_is_in_the_runbook_and_nothing_else():
    text = (DOCS / "runbook.md").read_text("utf-8")
    _, *parts = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert sections.keys() == {one["alert"] for one in alerts()}
    for name, body in sections.items():
        assert all(f"**{part}.**" in body for part in ("Meaning", "Check", "Remedy")), name
    assert all(one["labels"]["severity"] in {"page", "ticket"} for one in alerts())


def test_metrics_that_the_runbook_names_exist():
    used = set(re.findall(r"\blingua_[a-z_]+", (DOCS / "runbook.md").read_text("utf-8")))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names()}
    assert {one for one in used if one not in families and one not in names()} == {"lingua_fleet_"} & used


# ------------------------------------------------------------------------------- a real Prometheus


@pytest.fixture
def prometheus(scheduler: Scheduler, processes: Processes, tmp_path: Path) -> str:
    """Its address: it scrapes the scheduler every second, with the rules of `deploy/`."""
    server = program("prometheus")
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # What takes minutes to be sure of is decided within seconds here.
    quick = re.sub(r"\[\d+m\]", "[15s]", re.sub(r"for: \d+m", "for: 1s", RULES.read_text("utf-8")))
    (tmp_path / "alerts.yml").write_text(quick, "utf-8")
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [scheduler.url.removeprefix("http://")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    port = free_port()
    processes.start(
        server,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    return f"http://127.0.0.1:{port}"


async def ask(http: ClientSession, url: str, **query: str) -> Any:
    try:
        async with http.get(url, params=query) as answer:
            return json.loads(await answer.text())["data"]
    except (OSError, ValueError, KeyError):
        return None


async def test_a_real_prometheus_loads_the_rules_and_answers_every_panel(
    prometheus: str, scheduler: Scheduler, peers: Peers
):
    node, client = await peers.node(), await peers.client()
    await node.register(capacity=2)
    await client.open()
    await client.speak(400)
    await node.answer(await node.take_job())
    async with ClientSession() as http:

        async def is_counted() -> bool:
            found = await ask(http, f"{prometheus}/api/v1/query", query="sum(lingua_job_outcomes_total)")
            return bool(found) and bool(found["result"]) and found["result"][0]["value"][1] == "1"

        await wait_until(is_counted, "the sentence in Prometheus")
        rules = await ask(http, f"{prometheus}/api/v1/rules")
        loaded = [rule for group in rules["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in loaded} == FIRING.keys()
        assert [rule["name"] for rule in loaded if rule["health"] not in {"ok", "unknown"}] == []
        queries = [query for part in dashboard_queries().values() for query in part] + adapter_queries()
        answers = await asyncio.gather(*(ask(http, f"{prometheus}/api/v1/query", query=query) for query in queries))
        assert [query for query, answer in zip(queries, answers, strict=True) if answer is None] == []
        silent = [query for query, answer in zip(queries, answers, strict=True) if not answer["result"]]
        assert [query for query in silent if "rate(" not in query] == []


async def test_a_real_alert_fires_when_speech_is_lost(prometheus: str, scheduler: Scheduler, peers: Peers):
    nodes, client = (await peers.node(), await peers.node()), await peers.client()
    for number, node in enumerate(nodes):
        await node.register(f"node-{number}")
    await client.open()
    firing = 'ALERTS{alertname="LinguaSpeechLost",alertstate="firing"}'
    async with ClientSession() as http:

        async def is_scraped() -> bool:
            found = await ask(http, f"{prometheus}/api/v1/query", query="sum(lingua_job_outcomes_total)")
            return bool(found) and bool(found["result"])

        await wait_until(is_scraped, "the counts of before in Prometheus")
        await client.speak(400)
        fault = node_wire.NodeFault(code="PROCESSING_ERROR", message="no")

        async def refuse(node: NodePeer) -> None:
            await node.answer(await node.take_job(), success=False, text_asr=None, text_translated=None, error=fault)

        await asyncio.gather(*map(refuse, nodes))  # whom two nodes cannot help is given up

        async def is_firing() -> bool:
            found = await ask(http, f"{prometheus}/api/v1/query", query=firing)
            return bool(found) and bool(found["result"])

        await wait_until(is_firing, "the alert", 30)
