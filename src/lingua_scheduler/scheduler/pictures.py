"""How the fleet is put for `/api/v1` and the pages: what the store holds and what instances report, as rows."""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.protocol.node import Hardware, InstalledModel, InstalledService
from lingua_scheduler.scheduler import answers
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


@dataclass(frozen=True, slots=True)
class Fleet:
    """What one round of looking found."""

    wall_ms: int
    known: Known
    nodes: list[NodeSnapshot]
    pools: list[PoolSnapshot]
    reports: Mapping[str, Report]
    inboxes: Mapping[InstanceId, InboxState]


UNSEEN = Fleet(0, Known([], [], []), [], [], {}, {})
"""Before the first look."""


def pictures(fleet: Fleet) -> answers.Pictures:
    """Every answer of `/api/v1`, and what the pages add to them."""
    nodes = [node_row(node) for node in fleet.nodes]
    reports = fleet.reports.values()
    jobs = sorted((job for report in reports for job in report.recent_jobs), key=lambda job: -job.at_ms)
    return answers.Pictures(
        stats=_stats(fleet, nodes),
        cluster=_cluster(fleet, nodes),
        nodes=answers.NodeList(nodes=nodes),
        pools=answers.PoolList(pools=[_pool_row(pool) for pool in fleet.pools]),
        sessions=answers.SessionList(
            sessions=[row for report in reports for row in report.session_rows],
            total=sum(report.sessions for report in reports),
        ),
        jobs=answers.JobList(jobs=jobs),
        models=_models(fleet.nodes),
        metrics=_counts(fleet),
    )


def shown(all_of_it: answers.Pictures) -> answers.FeedParts:
    """The same for the pages: bounded, and nothing twice."""
    nodes, pools, cluster = all_of_it.nodes.nodes, all_of_it.pools.pools, all_of_it.cluster
    first = sorted(nodes, key=lambda row: (_ATTENTION.index(row.status), row.node_id))[:SHOWN_NODES]
    return answers.FeedParts(
        stats=all_of_it.stats,
        cluster=answers.BriefCluster(instances=cluster.instances, totals=cluster.totals),
        nodes=answers.BriefNodes(nodes=[_brief(row) for row in first], total=len(nodes)),
        pools=answers.BriefPools(pools=pools[:SHOWN_POOLS], total=len(pools)),
        sessions=all_of_it.sessions,
        jobs=all_of_it.jobs,
        models=all_of_it.models,
        metrics=all_of_it.metrics,
    )


def _stats(fleet: Fleet, nodes: list[answers.NodeRow]) -> answers.Stats:
    spoken = added({code: one[0] for code, one in report.languages.items()} for report in fleet.reports.values())
    wanted = added({code: one[1] for code, one in report.languages.items()} for report in fleet.reports.values())
    usage = {
        code: answers.LanguageUse(as_source=spoken[code], as_target=wanted[code], total=spoken[code] + wanted[code])
        for code in sorted({*spoken, *wanted})
    }
    top = sorted(usage.items(), key=lambda item: (-item[1].total, item[0]))[:TOP_LANGUAGES]
    types = Counter(service for node in fleet.nodes for service in node.services)
    busy = Counter(service for node in fleet.nodes if node.reserved for service in node.services)
    return answers.Stats(
        web_clients=answers.WebClients(
            active_users=sum(report.sessions for report in fleet.reports.values()),
            top_languages=[answers.LanguageCount(language=code, count=row.total) for code, row in top],
            language_usage=usage,
        ),
        nodes=answers.NodeStats(
            connected_nodes=len(fleet.nodes),
            type_node_counts=dict(sorted(types.items())),
            available_services=sorted(types),
            total_services=types.total(),
            type_in_use_counts={service: busy[service] for service in sorted(types)},
            compute_power=_compute_power(fleet.nodes, nodes),
        ),
    )


def _compute_power(nodes: list[NodeSnapshot], rows: list[answers.NodeRow]) -> answers.ComputePower:
    gpus = [gpu for row in rows for gpu in row.hardware.gpus or []]
    return answers.ComputePower(
        slots=sum(node.capacity for node in nodes),
        slots_taken=sum(node.reserved for node in nodes),
        cpu_cores=sum(row.hardware.cpu_cores for row in rows),
        memory_gb=round(sum(row.hardware.memory_gb for row in rows), 1),
        gpus=len(gpus),
        gpu_memory_gb=round(sum(gpu.memory_gb for gpu in gpus), 1),
        gpu_models=dict(sorted(Counter(gpu.name for gpu in gpus).items())),
        cpu_percent=_mean(row.loads.cpu_percent for row in rows),
        mem_percent=_mean(row.loads.mem_percent for row in rows),
        gpu_percent=_mean(row.loads.gpu_percent for row in rows),
        gpu_mem_percent=_mean(row.loads.gpu_mem_percent for row in rows),
    )


def _cluster(fleet: Fleet, nodes: list[answers.NodeRow]) -> answers.Cluster:
    owned = Counter(node.instance_id for node in fleet.nodes)
    gone = sorted({*fleet.known.with_inbox, *fleet.known.with_dead_letters})
    rows = [_instance_row(fleet, name, owned) for name, _ in fleet.known.alive]
    rows += [_gone_row(fleet, name, owned) for name in gone]
    totals = answers.Totals(
        instances=len(fleet.known.alive),
        nodes=len(nodes),
        sessions=sum(row.sessions_owned for row in rows),
        slots=sum(node.capacity for node in fleet.nodes),
        slots_taken=sum(node.reserved for node in fleet.nodes),
        inbox_length=sum(row.inbox_length for row in rows),
        inbox_pending=sum(row.inbox_pending for row in rows),
        dlq_length=sum(row.dlq_length for row in rows),
    )
    return answers.Cluster(instances=rows, totals=totals, nodes=nodes)


def _instance_row(fleet: Fleet, name: InstanceId, owned: Counter[InstanceId]) -> answers.InstanceRow:
    presence = dict(fleet.known.alive)[name]
    report = fleet.reports.get(name)
    return msgspec.structs.replace(
        _gone_row(fleet, name, owned),
        hostname=presence.hostname,
        pid=presence.pid,
        version=presence.version,
        address=presence.address,
        started_at_ms=presence.started_at_ms,
        uptime_seconds=max(0, fleet.wall_ms - presence.started_at_ms) // 1000,
        is_online=True,
        is_draining=report is not None and report.is_draining,
        sessions_owned=report.sessions if report else 0,
        jobs_open=report.jobs_open if report else 0,
    )


def _gone_row(fleet: Fleet, name: InstanceId, owned: Counter[InstanceId]) -> answers.InstanceRow:
    """An instance of which only its inbox or its dead letters are left."""
    state = fleet.inboxes.get(name) or InboxState(0, 0, 0)
    return answers.InstanceRow(
        instance_id=name,
        inbox_length=state.length,
        inbox_pending=state.pending,
        dlq_length=state.dead,
        nodes_owned=owned[name],
    )


def _counts(fleet: Fleet) -> answers.Counts:
    reports = fleet.reports.values()
    return answers.Counts(
        sessions_open=sum(report.sessions for report in reports),
        clients_connected=sum(report.clients for report in reports),
        jobs_open=sum(report.jobs_open for report in reports),
        nodes_connected=len(fleet.nodes),
        slots=sum(node.capacity for node in fleet.nodes),
        slots_taken=sum(node.reserved for node in fleet.nodes),
        jobs_waiting=sum(pool.waiting for pool in fleet.pools),
        outcomes=dict(sorted(added(report.outcomes for report in reports).items())),
        retries=dict(sorted(added(report.retries for report in reports).items())),
        stages={stage: _times(added(report.stages.get(stage, {}) for report in reports)) for stage in STAGES},
    )


def _times(buckets: Counter[int]) -> answers.StageTimes:
    return answers.StageTimes(
        count=buckets.total(), p50_ms=percentile_ms(buckets, 0.5), p95_ms=percentile_ms(buckets, 0.95)
    )


def _models(nodes: list[NodeSnapshot]) -> answers.ModelList:
    """What is installed in the fleet, each model and service once, with how many nodes have it."""
    models: Counter[tuple[str, ...]] = Counter()
    services: Counter[tuple[str, ...]] = Counter()
    for text, count in Counter(node.details for node in nodes).items():  # nodes alike are looked at once
        told = _details(text)
        for one in {(m.kind, m.model_id, m.src_lang or "", m.tgt_lang or "", m.version or "") for m in told.models}:
            models[one] += count
        for one in {(s.type, s.service_id, s.device or "", s.version or "", s.status or "") for s in told.services}:
            services[one] += count
    return answers.ModelList(
        models=[
            answers.ModelRow(kind=kind, model_id=name, src=src, tgt=tgt, version=version, nodes=count)
            for (kind, name, src, tgt, version), count in sorted(models.items())[:SHOWN_MODELS]
        ],
        services=[
            answers.ServiceRow(type=kind, service_id=name, device=device, version=version, status=status, nodes=count)
            for (kind, name, device, version, status), count in sorted(services.items())[:SHOWN_MODELS]
        ],
    )


def node_row(node: NodeSnapshot) -> answers.NodeRow:
    """A node as `/api/v1` tells of it."""
    told = _details(node.details)
    return answers.NodeRow(
        node_id=node.node_id,
        status=node.status,
        instance_id=node.instance_id,
        protocol=node.protocol,
        zone=node.zone,
        loads=msgspec.structs.replace(_loads(node.usage), reported=node.load),
        current_jobs=node.reserved,
        max_concurrent_jobs=node.capacity,
        last_heartbeat=node.last_heartbeat_ms,
        registered_at=node.registered_ms,
        asr_languages=node.asr,
        tts_languages=node.tts,
        pairs=_pairs(node.pairs),
        capabilities=node.services,
        unavailable_until=node.unavailable_until_ms,
        hardware=told.hardware,
        version=told.version,
        platform=told.platform,
        services=told.services,
        models=told.models,
    )


class _Details(msgspec.Struct, frozen=True, kw_only=True):
    """What a node said of itself when it registered, as the store keeps it."""

    hardware: Hardware = Hardware(cpu_cores=0, memory_gb=0.0)
    version: str = ""
    platform: str = ""
    services: list[InstalledService] = []
    models: list[InstalledModel] = []


_decode_details = msgspec.json.Decoder(_Details).decode
_decode_loads = msgspec.json.Decoder(answers.Loads).decode

# Kept from round to round, and shared by nodes that are alike: of thousands each round would take a second. What
# another version wrote and this one cannot read is shown as not said: one odd node must not blank the page.


@functools.lru_cache(maxsize=4096)
def _details(text: str) -> _Details:
    try:
        return _decode_details(text or "{}")
    except msgspec.DecodeError:
        return _Details()


def _loads(text: str) -> answers.Loads:
    try:
        return _decode_loads(text or "{}")
    except msgspec.DecodeError:
        return answers.Loads()


@functools.lru_cache(maxsize=4096)
def _pairs(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{src}:{tgt}" for src, tgt in pairs]


def _brief(row: answers.NodeRow) -> answers.NodeBrief:
    """Without the long lists that pages show elsewhere, or counted."""
    kept = {name: getattr(row, name) for name in answers.NodeHead.__struct_fields__}
    return answers.NodeBrief(**kept, pairs=len(row.pairs))


def _pool_row(pool: PoolSnapshot) -> answers.PoolRow:
    return answers.PoolRow(src=pool.src, tgt=pool.tgt, nodes=pool.nodes, waiting=pool.waiting)


def _mean(told: Iterable[float | None]) -> float | None:
    """Of the nodes that report it."""
    values = [value for value in told if value is not None]
    return round(sum(values) / len(values), 1) if values else None
