"""Nodes and requests for tests of the store, with everything said that a test does not care about."""

from collections.abc import Iterable
from typing import Any, cast

from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration, StoredStatus
from lingua_scheduler.core.placement import SelectRequest
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.protocol.node import ActiveJob, Hardware, LanguageCapabilities, NodeRegister
from lingua_scheduler.store.nodes import Pairs
from lingua_scheduler.store.records import NodeReply
from lingua_scheduler.store.store import Store

SERVICES = ("asr", "nmt", "tts")
HERE, THERE = InstanceId("here"), InstanceId("there")


def languages(spec: str) -> Languages:
    """`zh>en`: recognises Chinese, speaks English; `zh,en>en,zh`; `zh,en>en,zh:zh-en` serves only the named pair."""
    sides, _, named = spec.partition(":")
    asr, tts = (tuple(Language(one) for one in side.split(",") if one) for side in sides.split(">"))
    return Languages(asr=asr, semantic=asr, tts=tts, pairs=split_pairs(named) if named else None)


def split_pairs(text: str) -> Pairs:
    """`zh-en,en-zh`."""
    return tuple(cast("tuple[Language, Language]", tuple(pair.split("-"))) for pair in text.split(","))


def registration(
    node: str, spec: str = "zh>en", *, capacity: int = 2, active: Iterable[tuple[str, int]] = (), **other: Any
) -> Registration:
    message = NodeRegister(
        version="1",
        platform="linux",
        hardware=Hardware(cpu_cores=1, memory_gb=1),
        installed_models=[],
        capability_by_type=[],
        features_supported={},
        accept_public_jobs=True,
        language_capabilities=LanguageCapabilities(),
        active_jobs=[ActiveJob(job_id=job, attempt_id=attempt) for job, attempt in active],
    )
    fields: dict[str, Any] = {"protocol": 2, "services": SERVICES, "zone": "", **other}
    return Registration(
        node_id=NodeId(node),
        capacity=capacity,
        languages=languages(spec),
        accept_public_jobs=True,
        binary_audio=False,
        message=message,
        **fields,
    )


async def join(
    store: Store, node: str, spec: str = "zh>en", *, capacity: int = 2, instance: InstanceId = HERE,
    status: StoredStatus = "ready", services: tuple[str, ...] = SERVICES, load: NodeLoad | None = None,
    at_work: Iterable[tuple[JobId, int]] | None = None,
) -> NodeReply:  # fmt: skip
    """Register a node and send its first heartbeat; returns the heartbeat's reply."""
    what = registration(node, spec, capacity=capacity, services=services)
    registered = await store.nodes.register(what, instance, at_work)
    assert registered.is_ok
    return await store.nodes.heartbeat(NodeId(node), registered.epoch, status, load or NodeLoad(), services)


def request(job: str, attempt: int = 1, *, pairs: str = "zh-en", **fields: Any) -> SelectRequest:
    """`pairs`: `zh-en`, or `zh-en,en-zh`."""
    defaults: dict[str, Any] = {
        "job_key": f"key:{job}",
        "session_id": SessionId("session"),
        "tenant_id": TenantId("tenant"),
        "utterance_index": 0,
        "services": SERVICES,
        "lease_ms": 60_000,
        "wait_ms": 10_000,
        "trace_id": TraceId("trace"),
        "preferred_instance": HERE,
    }
    return SelectRequest(job_id=JobId(job), attempt=attempt, pairs=split_pairs(pairs), **{**defaults, **fields})
