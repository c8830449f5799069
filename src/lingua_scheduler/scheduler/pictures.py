"""How the fleet is put for `/api/v1` and the pages: what the store holds and what instances report, as plain rows."""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.scheduler.reports import Report
from lingua_scheduler.scheduler.tally import STAGES, added, percentile_ms
from lingua_scheduler.store.instances import Known
from lingua_scheduler.store.records import NodeSnapshot, PoolSnapshot
from lingua_scheduler.store.streams import InboxState

TOP_LANGUAGES = 10
SHOWN_NODES = 500
"""A page shows so many, the ones that need attention first; `/api/v1/nodes` has them all."""
SHOWN_MODELS = 500
SHOWN_POOLS = 4096
_ATTENTION = ("suspect", "offline", "degraded", "draining", "registering", "ready")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What one round of looking found."""

    wall_ms: int
    known: Known
    nodes: list[NodeSnapshot]
    pools: list[PoolSnapshot]
    reports: Mapping[str, Report]
    inboxes: Mapping[InstanceId, InboxState]


def pictures(fleet: Fleet) -> dict[str, Row]:
    """Every answer of `/api/v1`, and what the pages add to them, by name."""
    nodes = [node_row(node) for node in fleet.nodes]
    reports = fleet.reports.values()
    sessions = sum(report.sessions for report in reports)
    rows = [row for report in reports for row in report.session_rows]
    jobs = sorted((job for report in reports for job in report.recent_jobs), key=lambda job: -job.at_ms)
    return {
        "stats": _stats(fleet, nodes),
        "cluster": _cluster(fleet, nodes),
        "nodes": {"nodes": nodes},
        "pools": {"pools": [_pool_row(pool) for pool in fleet.pools]},
        "sessions": {"sessions": msgspec.to_builtins(rows), "total": sessions},
        "jobs": {"jobs": msgspec.to_builtins(jobs)},
        "models": _models(fleet.nodes),
        "metrics": _metrics(fleet),
    }


def shown(all_of_it: Mapping[str, Row]) -> dict[str, Row]:
    """The same for the pages: bounded, and nothing twice."""
    nodes = all_of_it["nodes"]["nodes"]
    first = sorted(nodes, key=lambda row: (_ATTENTION.index(row["status"]), row["node_id"]))[:SHOWN_NODES]
    cluster = all_of_it["cluster"]
    return {
        "stats": all_of_it["stats"],
        "cluster": {"instances": cluster["instances"], "totals": cluster["totals"]},
        "nodes": {"nodes": [_short(row) for row in first], "total": len(nodes)},
        "pools": {"pools": all_of_it["pools"]["pools"][:SHOWN_POOLS], "total": len(all_of_it["pools"]["pools"])},
        "sessions": all_of_it["sessions"],
        "jobs": all_of_it["jobs"],
        "models": all_of_it["models"],
        "metrics": all_of_it["metrics"],
    }


def _stats(fleet: Fleet, nodes: list[Row]) -> Row:
    spoken = added({code: one[0] for code, one in report.languages.items()} for report in fleet.reports.values())
    wanted = added({code: one[1] for code, one in report.languages.items()} for report in fleet.reports.values())
    usage = {
        code: {"as_source": spoken[code], "as_target": wanted[code], "total": spoken[code] + wanted[code]}
        for code in sorted({*spoken, *wanted})
    }
    top = sorted(usage.items(), key=lambda item: (-item[1]["total"], item[0]))[:TOP_LANGUAGES]
    types = Counter(service for node in fleet.nodes for service in node.services)
    busy = Counter(service for node in fleet.nodes if node.reserved for service in node.services)
    return {
        "web_clients": {
            "active_users": sum(report.sessions for report in fleet.reports.values()),
            "top_languages": [{"language": code, "count": row["total"]} for code, row in top],
            "language_usage": usage,
        },
        "nodes": {
            "connected_nodes": len(fleet.nodes),
            "type_node_counts": dict(sorted(types.items())),
            "available_services": sorted(types),
            "total_services": types.total(),
            "type_in_use_counts": {service: busy[service] for service in sorted(types)},
            "compute_power": _compute_power(fleet.nodes, nodes),
        },
    }


def _compute_power(nodes: list[NodeSnapshot], rows: list[Row]) -> Row:
    gpus = [gpu for row in rows for gpu in cast("list[Row]", row["hardware"].get("gpus") or [])]
    names = Counter(str(gpu.get("name", "")) for gpu in gpus)
    return {
        "slots": sum(node.capacity for node in nodes),
        "slots_taken": sum(node.reserved for node in nodes),
        "cpu_cores": sum(_number(row["hardware"].get("cpu_cores")) for row in rows),
        "memory_gb": round(sum(_number(row["hardware"].get("memory_gb")) for row in rows), 1),
        "gpus": len(gpus),
        "gpu_memory_gb": round(sum(_number(gpu.get("memory_gb")) for gpu in gpus), 1),
        "gpu_models": dict(sorted(names.items())),
        "cpu_percent": _mean(rows, "cpu_percent"),
        "mem_percent": _mean(rows, "mem_percent"),
        "gpu_percent": _mean(rows, "gpu_percent"),
        "gpu_mem_percent": _mean(rows, "gpu_mem_percent"),
    }


def _cluster(fleet: Fleet, nodes: list[Row]) -> Row:
    owned = Counter(node.instance_id for node in fleet.nodes)
    gone = sorted({*fleet.known.with_inbox, *fleet.known.with_dead_letters})
    rows = [_instance_row(fleet, name, owned) for name, _ in fleet.known.alive]
    rows += [_gone_row(fleet, name, owned) for name in gone]
    totals = {
        "instances": len(fleet.known.alive),
        "nodes": len(nodes),
        "sessions": sum(row["sessions_owned"] for row in rows),
        "slots": sum(node.capacity for node in fleet.nodes),
        "slots_taken": sum(node.reserved for node in fleet.nodes),
        "inbox_length": sum(row["inbox_length"] for row in rows),
        "inbox_pending": sum(row["inbox_pending"] for row in rows),
        "dlq_length": sum(row["dlq_length"] for row in rows),
    }
    return {"instances": rows, "totals": totals, "nodes": nodes}


def _instance_row(fleet: Fleet, name: InstanceId, owned: Counter[InstanceId]) -> Row:
    presence = dict(fleet.known.alive)[name]
    report = fleet.reports.get(name)
    return {
        **_gone_row(fleet, name, owned),
        "hostname": presence.hostname,
        "pid": presence.pid,
        "version": presence.version,
        "address": presence.address,
        "started_at_ms": presence.started_at_ms,
        "uptime_seconds": max(0, fleet.wall_ms - presence.started_at_ms) // 1000,
        "is_online": True,
        "is_draining": report is not None and report.is_draining,
        "sessions_owned": report.sessions if report else 0,
        "jobs_open": report.jobs_open if report else 0,
    }


def _gone_row(fleet: Fleet, name: InstanceId, owned: Counter[InstanceId]) -> Row:
    """An instance of which only its inbox or its dead letters are left."""
    state = fleet.inboxes.get(name) or InboxState(0, 0, 0)
    return {
        "instance_id": name,
        "hostname": "",
        "pid": 0,
        "version": "",
        "address": "",
        "started_at_ms": 0,
        "uptime_seconds": 0,
        "is_online": False,
        "is_draining": False,
        "inbox_length": state.length,
        "inbox_pending": state.pending,
        "dlq_length": state.dead,
        "nodes_owned": owned[name],
        "sessions_owned": 0,
        "jobs_open": 0,
    }


def _metrics(fleet: Fleet) -> Row:
    reports = fleet.reports.values()
    stages: Row = {}
    for stage in STAGES:
        buckets = added(report.stages.get(stage, {}) for report in reports)
        stages[stage] = {
            "count": buckets.total(), "p50_ms": percentile_ms(buckets, 0.5), "p95_ms": percentile_ms(buckets, 0.95)
        }  # fmt: skip
    return {
        "sessions_open": sum(report.sessions for report in reports),
        "clients_connected": sum(report.clients for report in reports),
        "jobs_open": sum(report.jobs_open for report in reports),
        "nodes_connected": len(fleet.nodes),
        "slots": sum(node.capacity for node in fleet.nodes),
        "slots_taken": sum(node.reserved for node in fleet.nodes),
        "jobs_waiting": sum(pool.waiting for pool in fleet.pools),
        "outcomes": dict(sorted(added(report.outcomes for report in reports).items())),
        "retries": dict(sorted(added(report.retries for report in reports).items())),
        "stages": stages,
    }


def _models(nodes: list[NodeSnapshot]) -> Row:
    """What is installed in the fleet, each model and service once, with how many nodes have it."""
    models: Counter[tuple[str, ...]] = Counter()
    services: Counter[tuple[str, ...]] = Counter()
    for text, count in Counter(node.details for node in nodes).items():  # nodes alike are looked at once
        told = _details(text)
        for one in {_named(row, "kind", "model_id", "src_lang", "tgt_lang", "version") for row in told["models"]}:
            models[one] += count
        for one in {_named(row, "type", "service_id", "device", "version", "status") for row in told["services"]}:
            services[one] += count
    return {
        "models": _counted(models, "kind", "model_id", "src", "tgt", "version"),
        "services": _counted(services, "type", "service_id", "device", "version", "status"),
    }


def _counted(found: Counter[tuple[str, ...]], *names: str) -> list[Row]:
    rows = [dict(zip(names, key, strict=True)) | {"nodes": count} for key, count in sorted(found.items())]
    return rows[:SHOWN_MODELS]


def _named(row: Row, *names: str) -> tuple[str, ...]:
    return tuple(str(row.get(name) or "") for name in names)


def node_row(node: NodeSnapshot) -> Row:
    """A node as `/api/v1` tells of it."""
    return {
        "node_id": node.node_id,
        "status": node.status,
        "instance_id": node.instance_id,
        "protocol": node.protocol,
        "zone": node.zone,
        "loads": {"reported": node.load, **msgspec.json.decode(node.usage or "{}")},
        "current_jobs": node.reserved,
        "max_concurrent_jobs": node.capacity,
        "last_heartbeat": node.last_heartbeat_ms,
        "registered_at": node.registered_ms,
        "asr_languages": node.asr,
        "tts_languages": node.tts,
        "pairs": _pairs(node.pairs),
        "capabilities": node.services,
        "unavailable_until": node.unavailable_until_ms,
        **_details(node.details),
    }


# Both are kept from round to round, and shared by nodes that are alike: of thousands each round would take a second.


@functools.lru_cache(maxsize=4096)
def _details(text: str) -> Row:
    """What a node said of itself when it registered. Not to be changed."""
    told = cast("Row", msgspec.json.decode(text or "{}"))
    empty: Row = {"services": [], "hardware": {}, "models": [], "version": "", "platform": ""}
    return empty | {name: value for name, value in told.items() if name in empty}


@functools.lru_cache(maxsize=4096)
def _pairs(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{src}:{tgt}" for src, tgt in pairs]


def _short(row: Row) -> Row:
    """Without the long lists that pages show elsewhere, or counted."""
    left_out = ("models", "services", "pairs", "asr_languages", "tts_languages")
    return {name: value for name, value in row.items() if name not in left_out} | {"pairs": len(row["pairs"])}


def _pool_row(pool: PoolSnapshot) -> Row:
    return {"src": pool.src, "tgt": pool.tgt, "nodes": pool.nodes, "waiting": pool.waiting}


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0


def _mean(rows: list[Row], name: str) -> float | None:
    """Of the nodes that report it."""
    values = [value for row in rows if isinstance(value := row["loads"].get(name), int | float)]
    return round(sum(values) / len(values), 1) if values else None
