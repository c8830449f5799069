"""What the pages and `/api/v1` show: made every few seconds in the background, so that no request costs a scan."""

import json
from collections import Counter
from typing import Any

import msgspec

from lingua_scheduler.protocol.ids import InstanceId, JobId
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import NodeSnapshot, PoolSnapshot, Presence

TOP_LANGUAGES = 10


class Snapshots:
    """The latest picture of the fleet. `age_ms` in each says how old it is."""

    def __init__(self, context: Context, sessions: Sessions, nodes: Nodes) -> None:
        self._context = context
        self._sessions = sessions
        self._nodes = nodes
        self._pictures: dict[str, dict[str, Any]] = {}
        self._made_at_ms = 0
        self.instances: set[InstanceId] = set()
        """Who is alive, this instance included."""
        self.is_draining = False

    def unready_reasons(self) -> list[str]:
        """Why no client should be sent here; empty when ready."""
        reasons: list[str] = []
        if not self._context.health.is_up:
            reasons.append("Redis is unreachable")
        if self.is_draining:
            reasons.append("draining")
        return reasons

    def get(self, name: str) -> dict[str, Any]:
        """One picture by name: `stats`, `cluster`, `nodes`, `sessions`, `pools`, `metrics`."""
        age_ms = self._context.clock.now_ms() - self._made_at_ms
        return {**self._pictures.get(name, {}), "age_ms": age_ms}

    async def job(self, job_id: JobId) -> dict[str, Any] | None:
        """A job's story, or None where the store does not know it (or cannot be asked)."""
        try:
            story = await self._context.store.jobs.story(job_id)
        except StoreError:
            return None
        return None if story is None else msgspec.to_builtins(story, str_keys=True)

    async def refresh(self) -> None:
        """Make all pictures anew. Raises StoreError."""
        store = self._context.store
        nodes = await store.nodes.snapshot()
        pools = await store.nodes.pools(nodes)
        instances = await store.instances.list()
        self.instances = {one.instance_id for one in instances}
        self._pictures = {
            "stats": self._stats(nodes),
            "cluster": self._cluster(nodes, instances),
            "nodes": {"nodes": [_node_row(node) for node in nodes]},
            "sessions": self._session_rows(),
            "pools": {"pools": [_pool_row(pool) for pool in pools]},
            "metrics": self._metrics(nodes, pools),
        }
        self._made_at_ms = self._context.clock.now_ms()

    def _stats(self, nodes: list[NodeSnapshot]) -> dict[str, Any]:
        usage: dict[str, dict[str, int]] = {}
        for actor in self._sessions.all():
            src, tgt = actor.opening.speaker.src_lang, actor.opening.tgt_lang
            for language, role in ((src, "as_source"), (tgt, "as_target")):
                row = usage.setdefault(language, {"as_source": 0, "as_target": 0, "total": 0})
                row[role] += 1
                row["total"] += 1
        top = sorted(usage.items(), key=lambda item: (-item[1]["total"], item[0]))[:TOP_LANGUAGES]
        types = Counter(service for node in nodes for service in node.services)
        return {
            "web_clients": {
                "active_users": len(self._sessions),
                "top_languages": [{"language": language, "count": row["total"]} for language, row in top],
                "language_usage": usage,
            },
            "nodes": {
                "connected_nodes": len(nodes),
                "type_node_counts": dict(types),
                "available_services": sorted(types),
                "total_services": sum(types.values()),
                "type_in_use_counts": {
                    service: sum(1 for node in nodes if node.reserved and service in node.services) for service in types
                },
                "compute_power": {
                    "slots": sum(node.capacity for node in nodes),
                    "slots_taken": sum(node.reserved for node in nodes),
                },
            },
        }

    def _cluster(self, nodes: list[NodeSnapshot], instances: list[Presence]) -> dict[str, Any]:
        wall_ms = self._context.clock.wall_ms()
        owned = Counter(node.instance_id for node in nodes)
        rows = [
            {
                "instance_id": one.instance_id,
                "hostname": one.hostname,
                "pid": one.pid,
                "version": one.version,
                "address": one.address,
                "started_at_ms": one.started_at_ms,
                "uptime_seconds": max(0, wall_ms - one.started_at_ms) // 1000,
                "is_online": True,
                "nodes_owned": owned[one.instance_id],
            }
            for one in instances
        ]
        return {
            "instances": rows,
            "totals": {"instances": len(rows), "nodes": len(nodes), "sessions_here": len(self._sessions)},
            "nodes": [_node_row(node) for node in nodes],
        }

    def _session_rows(self) -> dict[str, Any]:
        """Never what was said, nor the id that a client proves itself with in full."""
        rows = [
            {
                "session": f"{actor.session_id[:8]}…",
                "src_lang": actor.opening.speaker.src_lang,
                "tgt_lang": actor.opening.tgt_lang,
                "mode": actor.opening.speaker.mode,
                "platform": actor.opening.platform,
                "is_connected": actor.client is not None,
            }
            for actor in self._sessions.all()
        ]
        return {"sessions": rows}

    def _metrics(self, nodes: list[NodeSnapshot], pools: list[PoolSnapshot]) -> dict[str, Any]:
        return {
            "sessions_open": len(self._sessions),
            "nodes_connected_here": len(self._nodes),
            "slots": sum(node.capacity for node in nodes),
            "slots_taken": sum(node.reserved for node in nodes),
            "jobs_waiting": sum(pool.waiting for pool in pools),
        }


def _node_row(node: NodeSnapshot) -> dict[str, Any]:
    details = json.loads(node.details or "{}")
    return {
        "node_id": node.node_id,
        "status": node.status,
        "instance_id": node.instance_id,
        "protocol": node.protocol,
        "zone": node.zone,
        "loads": {"reported": node.load, **json.loads(node.usage or "{}")},
        "current_jobs": node.reserved,
        "max_concurrent_jobs": node.capacity,
        "last_heartbeat": node.last_heartbeat_ms,
        "asr_languages": node.asr,
        "tts_languages": node.tts,
        "pairs": [f"{src}:{tgt}" for src, tgt in node.pairs],
        "services": details.get("services", []),
        "capabilities": node.services,
        "hardware": details.get("hardware", {}),
        "models": details.get("models", []),
        "version": details.get("version", ""),
        "platform": details.get("platform", ""),
    }


def _pool_row(pool: PoolSnapshot) -> dict[str, Any]:
    return {"src": pool.src, "tgt": pool.tgt, "nodes": pool.nodes, "waiting": pool.waiting}
