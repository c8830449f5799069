"""Nodes in the store: registration, heartbeat with pools, status, marks, leaving; and what the pages show of them."""

import json
from collections.abc import Iterable
from typing import cast

import msgspec

from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration, StoredStatus
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.keys import lane_of
from lingua_scheduler.store.records import NodeReply, NodeSnapshot, PoolSnapshot
from lingua_scheduler.store.replies import items, mapping, node_reply, number, text, texts

_REGISTER = Script("register_node_v2")
_HEARTBEAT = Script("heartbeat_with_pool_assign")
_STATUS = Script("set_node_status")
_OFFLINE = Script("node_offline")
_MARK = Script("mark_unavailable")

Pairs = tuple[tuple[Language, Language], ...]


def active_jobs(registration: Registration) -> list[tuple[JobId, int]]:
    """What the node says it works on."""
    return [(JobId(job.job_id), job.attempt_id) for job in registration.message.active_jobs or []]


def reported_permille(load: NodeLoad) -> int:
    """How busy the machine says it is: its busiest processor, 0–1000. Memory is no measure of waiting."""
    busiest = max(load.cpu_percent or 0.0, load.gpu_percent or 0.0)
    return round(min(max(busiest, 0.0), 100.0) * 10)


class NodeStore:
    """One call each for what happens to a node. Every writing call is fenced by the epoch that `register` gave."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys

    async def register(
        self, registration: Registration, instance_id: InstanceId, at_work: Iterable[tuple[JobId, int]] | None = None
    ) -> NodeReply:
        """A new epoch for the node. It gets no jobs before its first heartbeat.

        Jobs that it had and does not name in `active_jobs` lose their slot and are in `jobs`; those that it names have
        one, also where Redis came back empty. `at_work`: the node's connection never broke, and these jobs and attempts
        are known to be with it; they count instead, and no slot is lost. Words: OK, NO_LANGUAGES.
        """
        languages = registration.languages
        active = active_jobs(registration) if at_work is None else at_work
        reply = await self._run(
            _REGISTER, registration.node_id, instance_id, *_language_words(languages),
            ",".join(sorted(registration.services)), registration.capacity, registration.zone, registration.protocol,
            details_json(registration), _named(active), int(at_work is not None), _private(registration),
        )  # fmt: skip
        return node_reply(reply)

    async def heartbeat(  # noqa: PLR0913 - what a heartbeat says
        self,
        node_id: NodeId,
        epoch: int,
        status: StoredStatus,
        load: NodeLoad,
        services: Iterable[str],
        languages: Languages | None = None,
        *,
        at_work: Iterable[tuple[JobId, int]] = (),
    ) -> NodeReply:
        """Renews the node for 45 s and puts it into the pools of its languages (None: as they were).

        `at_work`: jobs and attempts that are known to be with it; each has a slot, also where Redis lost it.
        Words: OK, NODE_NOT_REGISTERED, STALE_EPOCH, NO_LANGUAGES, TOO_MANY_PAIRS, POOL_FULL. Nothing but with OK is
        written, save that POOL_FULL leaves the node in the pools that had room.
        """
        words = _language_words(languages) if languages else ("", "", "", "")
        reply = await self._run(
            _HEARTBEAT,
            node_id,
            epoch,
            status,
            reported_permille(load),
            usage_json(load),
            ",".join(sorted(services)),
            *words,
            _named(at_work),
        )
        return node_reply(reply)

    async def set_status(self, node_id: NodeId, epoch: int, status: StoredStatus) -> NodeReply:
        """Between heartbeats. Words: OK, NODE_NOT_REGISTERED, STALE_EPOCH."""
        return node_reply(await self._run(_STATUS, node_id, epoch, status))

    async def offline(self, node_id: NodeId, epoch: int) -> NodeReply:
        """Takes the node out of everything; `jobs` are those it had. Words: OK, NODE_NOT_REGISTERED, STALE_EPOCH.

        A node whose key expired is cleared all the same (NODE_NOT_REGISTERED, with its jobs).
        """
        return node_reply(await self._run(_OFFLINE, node_id, epoch))

    async def mark_unavailable(self, node_id: NodeId, service: str) -> NodeReply:
        """Passes the node over for `service` for 60 s. Words: OK, NODE_NOT_REGISTERED, TOO_MANY_MARKS (30 in 10 s)."""
        return node_reply(await self._run(_MARK, node_id, service))

    async def count_serving(self, pairs: Pairs) -> int:
        """How many nodes serve `pairs`: one pair or both directions (of anything else the first pair is counted)."""
        return number(await self._client.call("ZCARD", self._keys.lane(lane_of(pairs))))

    async def traits(self, node_id: NodeId) -> tuple[int, int, InstanceId | None]:
        """The node's protocol, the epoch of its present registration, and where; 1, 0 and nowhere where it is gone."""
        key, names = self._keys.node(node_id), ("protocol", "epoch", "instance")
        protocol, epoch, instance = items(await self._client.call("HMGET", key, *names))
        return number(protocol) or 1, number(epoch), InstanceId(text(instance)) if instance else None

    async def instance_of(self, node_id: NodeId) -> InstanceId | None:
        """Where the node is connected; None where no such node is registered."""
        instance_id = text(await self._client.call("HGET", self._keys.node(node_id), "instance"))
        return InstanceId(instance_id) if instance_id else None

    async def ids(self) -> list[NodeId]:
        return [NodeId(node) for node in sorted(texts(await self._client.call("SMEMBERS", self._keys.nodes)))]

    async def snapshot(self) -> list[NodeSnapshot]:
        """Every registered node; a round trip for every 333. Nodes that expired in between are left out."""
        nodes = await self.ids()
        commands = [
            command
            for node in nodes
            for command in (
                ("HGETALL", self._keys.node(node)),
                ("HKEYS", self._keys.node_pools(node)),
                ("ZCARD", self._keys.node_jobs(node)),
            )
        ]
        replies = await self._client.pipeline(commands)
        rows = zip(nodes, replies[::3], replies[1::3], replies[2::3], strict=True)
        return [_node(node, mapping(of_node), pools, jobs) for node, of_node, pools, jobs in rows if of_node]

    async def pools(self, nodes: Iterable[NodeSnapshot]) -> list[PoolSnapshot]:
        """The language pairs that `nodes` (a snapshot) serve."""
        pairs = sorted({pair for node in nodes for pair in node.pairs})
        lanes = [lane_of((pair,)) for pair in pairs]
        commands = [
            command
            for lane in lanes
            for command in (
                ("ZCARD", self._keys.lane(lane)),
                ("ZCARD", self._keys.queue(lane)),
                ("ZCARD", self._keys.queue(lane + "!")),
            )
        ]
        replies = [number(reply) for reply in await self._client.pipeline(commands)]
        rows = zip(pairs, replies[::3], replies[1::3], replies[2::3], strict=True)
        return [PoolSnapshot(src, tgt, size, waiting + picky) for (src, tgt), size, waiting, picky in rows]


def _named(jobs: Iterable[tuple[JobId, int]]) -> str:
    """`,a=1,b=2,`: jobs with their attempts, as scripts look for them; `,` where there are none."""
    return ",".join(["", *(f"{job}={attempt}" for job, attempt in jobs), ""])


def _language_words(languages: Languages) -> tuple[str, str, str, str]:
    """JSON arrays in one spelling, so that a script sees a change by comparing text; pairs "": all are served."""
    lists = (languages.asr, languages.semantic, languages.tts)
    asr, semantic, tts = (json.dumps(sorted(one)) for one in lists)
    if languages.pairs is None:
        return asr, semantic, tts, ""
    return asr, semantic, tts, json.dumps(sorted(f"{src}:{tgt}" for src, tgt in set(languages.pairs)))


def _private(registration: Registration) -> str:
    """Empty: all are served. No tenant's id has an exclamation mark."""
    if registration.tenants is None:
        return ""
    return "".join(f"!{tenant}," for tenant in registration.tenants) or "!!,"


def usage_json(load: NodeLoad) -> str:
    """What the pages show of a heartbeat."""
    return msgspec.json.encode(msgspec.to_builtins(load)).decode()


def details_json(registration: Registration) -> str:
    """What the pages show of a node and nothing decides on. Never its token."""
    message = registration.message
    shown = {
        "version": message.version,
        "platform": message.platform,
        "hardware": message.hardware,
        "models": message.installed_models,
        "services": message.installed_services or [],
        "capabilities": message.capability_by_type,
    }
    return msgspec.json.encode(shown).decode()


def _node(node_id: NodeId, fields: dict[str, str], pools: Reply, jobs: Reply) -> NodeSnapshot:
    def languages(name: str) -> tuple[Language, ...]:
        return tuple(Language(one) for one in cast("list[str]", json.loads(fields.get(name) or "[]")))

    pairs = sorted(text(pool).split(":") for pool in (pools if isinstance(pools, list) else []))
    marks = {name.removeprefix("service:"): number(until) for name, until in fields.items() if name[:8] == "service:"}
    return NodeSnapshot(
        node_id=node_id,
        status=cast("StoredStatus", fields["status"]),
        epoch=number(fields["epoch"]),
        instance_id=InstanceId(fields["instance"]),
        protocol=number(fields["protocol"]),
        zone=fields["zone"],
        capacity=number(fields["capacity"]),
        reserved=number(jobs),
        load=number(fields["load"]) / 1000,
        last_heartbeat_ms=number(fields["last_heartbeat_ts"]),
        registered_ms=number(fields["registered_ts"]),
        asr=languages("asr_langs"),
        semantic=languages("semantic_langs"),
        tts=languages("tts_langs"),
        pairs=tuple((Language(src), Language(tgt)) for src, tgt in pairs),
        services=tuple(sorted(marks)),
        unavailable_until_ms={service: until for service, until in marks.items() if until},
        details=fields["details"],
        usage=fields.get("usage", "{}"),
    )
