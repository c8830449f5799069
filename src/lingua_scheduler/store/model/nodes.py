"""What `NodeStore` does, on plain data."""

from collections.abc import Iterable

from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration, StoredStatus
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId
from lingua_scheduler.store.keys import NODE_TTL_MS, lane_of
from lingua_scheduler.store.model.world import Node, World, in_order
from lingua_scheduler.store.nodes import Pairs, active_jobs, details_json, reported_permille, usage_json
from lingua_scheduler.store.records import NodeReply, NodeSnapshot, PoolSnapshot, Word

PAIRS_MAX = 4096
MARK_MS = 60_000
MARKS_WINDOW_MS = 10_000
MARKS_MAX = 30


class NodeModel:
    """See `NodeStore`: same methods, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world

    def register(
        self, registration: Registration, instance_id: InstanceId, at_work: Iterable[tuple[JobId, int]] | None = None
    ) -> NodeReply:
        world, node_id, languages = self._world, registration.node_id, registration.languages
        if not (languages.asr and languages.semantic and languages.tts):
            return NodeReply(Word.NO_LANGUAGES)
        before = world.node(node_id)
        trail = world.trail(node_id)
        active = dict(active_jobs(registration) if at_work is None else at_work)
        lost = [job_id for job_id in in_order(trail.jobs) if at_work is None and job_id not in active]
        facts = tuple(world.facts(job_id, node_id) for job_id in lost)
        for job_id in lost:
            del trail.jobs[job_id]
        for job_id, attempt in active.items():
            world.restore_slot(node_id, job_id, attempt)
        trail.guests.clear()
        epoch = max(before.epoch + 1 if before else 0, world.now)
        world.nodes[node_id] = Node(
            epoch=epoch,
            status="registering",
            capacity=registration.capacity,
            instance=instance_id,
            protocol=registration.protocol,
            zone=registration.zone,
            languages=languages,
            details=details_json(registration),
            registered_ms=world.now,
            last_heartbeat_ms=world.now,
            services=dict.fromkeys(registration.services, 0),
            tenants=registration.tenants,
        )
        world.all_nodes.add(node_id)
        world.deadlines[f"node:{node_id}"] = world.now + NODE_TTL_MS
        return NodeReply(Word.OK, epoch, facts)

    def heartbeat(  # noqa: PLR0913 - as the store's
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
        world, refusal = self._world, self._refusal(node_id, epoch)
        if refusal:
            return refusal
        node = world.nodes[node_id]
        spoken = languages or node.languages
        if not (spoken.asr and spoken.semantic and spoken.tts):
            return NodeReply(Word.NO_LANGUAGES)
        pairs = _pairs(spoken)
        if len(pairs) > PAIRS_MAX:
            return NodeReply(Word.TOO_MANY_PAIRS)
        offered = {service: node.services.get(service, 0) for service in services}
        pooled = repr((sorted(spoken.asr), sorted(spoken.tts), spoken.pairs and sorted(spoken.pairs)))
        is_news = status != node.status or offered.keys() != node.services.keys() or pooled != node.pooled
        trail = world.trail(node_id)
        world.leave_pools(node_id, trail.pools - pairs)
        trail.pools |= pairs
        node.status, node.languages, node.services, node.pooled = status, spoken, offered, pooled
        node.load_permille, node.usage = reported_permille(load), usage_json(load)
        node.last_heartbeat_ms = world.now
        world.deadlines[f"node:{node_id}"] = world.now + NODE_TTL_MS
        for job_id, attempt in at_work:
            world.restore_slot(node_id, job_id, attempt)
        return NodeReply(Word.OK, epoch, (), world.offer_slots(node_id) if is_news else ())

    def set_status(self, node_id: NodeId, epoch: int, status: StoredStatus) -> NodeReply:
        if refusal := self._refusal(node_id, epoch):
            return refusal
        self._world.nodes[node_id].status = status
        return NodeReply(Word.OK, epoch, (), self._world.offer_slots(node_id))

    def offline(self, node_id: NodeId, epoch: int) -> NodeReply:
        node = self._world.node(node_id)
        if node is not None and node.epoch != epoch:
            return NodeReply(Word.STALE_EPOCH, node.epoch)
        held = self._world.remove_node(node_id)
        return NodeReply(Word.OK, epoch, held) if node else NodeReply(Word.NODE_NOT_REGISTERED, 0, held)

    def mark_unavailable(self, node_id: NodeId, service: str) -> NodeReply:
        node = self._world.node(node_id)
        if node is None:
            return NodeReply(Word.NODE_NOT_REGISTERED)
        if service not in node.services:
            return NodeReply(Word.OK, node.epoch)
        now = self._world.now
        if now - node.marks_since_ms >= MARKS_WINDOW_MS:
            node.marks_since_ms, node.marks = now, 0
        if node.marks >= MARKS_MAX:
            return NodeReply(Word.TOO_MANY_MARKS, node.epoch)
        node.services[service] = now + MARK_MS
        node.marks += 1
        return NodeReply(Word.OK, node.epoch)

    def count_serving(self, pairs: Pairs) -> int:
        return len(self._world.members(lane_of(pairs)))

    def ids(self) -> list[NodeId]:
        return sorted(self._world.all_nodes)

    def snapshot(self) -> list[NodeSnapshot]:
        live = ((node_id, self._world.node(node_id)) for node_id in self.ids())
        return [self._snapshot(node_id, node) for node_id, node in live if node]

    def pools(self, nodes: Iterable[NodeSnapshot]) -> list[PoolSnapshot]:
        found: list[PoolSnapshot] = []
        for pair in sorted({pair for node in nodes for pair in node.pairs}):
            lane = lane_of((pair,))
            lines = [self._world.lines.get(name) for name in (lane, lane + "!")]
            waiting = sum(len(line.turns) for line in lines if line)
            found.append(PoolSnapshot(*pair, len(self._world.members(lane)), waiting))
        return found

    def _refusal(self, node_id: NodeId, epoch: int) -> NodeReply | None:
        node = self._world.node(node_id)
        if node is None:
            return NodeReply(Word.NODE_NOT_REGISTERED)
        return NodeReply(Word.STALE_EPOCH, node.epoch) if node.epoch != epoch else None

    def _snapshot(self, node_id: NodeId, node: Node) -> NodeSnapshot:
        trail = self._world.trail(node_id)
        pairs = sorted(pair.split(":") for pair in trail.pools)
        return NodeSnapshot(
            node_id=node_id,
            status=node.status,
            epoch=node.epoch,
            instance_id=node.instance,
            protocol=node.protocol,
            zone=node.zone,
            capacity=node.capacity,
            reserved=len(trail.jobs),
            load=node.load_permille / 1000,
            last_heartbeat_ms=node.last_heartbeat_ms,
            registered_ms=node.registered_ms,
            asr=tuple(sorted(node.languages.asr)),
            semantic=tuple(sorted(node.languages.semantic)),
            tts=tuple(sorted(node.languages.tts)),
            pairs=tuple((Language(src), Language(tgt)) for src, tgt in pairs),
            services=tuple(sorted(node.services)),
            unavailable_until_ms={service: until for service, until in node.services.items() if until},
            details=node.details,
            usage=node.usage,
        )


def _pairs(languages: Languages) -> set[str]:
    named = None if languages.pairs is None else set(languages.pairs)
    return {f"{src}:{tgt}" for src in languages.asr for tgt in languages.tts if named is None or (src, tgt) in named}
