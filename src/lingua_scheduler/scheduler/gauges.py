"""Sets the metrics that are levels and not counts, whenever the pictures are made: every four seconds."""

from collections import Counter
from collections.abc import Iterable

from lingua_scheduler.core.jobs.phases import STATUS
from lingua_scheduler.runtime.metrics import CLOSED
from lingua_scheduler.runtime.sockets import QUEUE_BYTES_MAX
from lingua_scheduler.scheduler.bus import REMOTE_JOBS_MAX
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.pictures import Fleet
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.store.connection import IN_FLIGHT_MAX

TAKES_JOBS = frozenset({"ready", "suspect"})


def set_levels(context: Context, sessions: Sessions, nodes: Nodes, fleet: Fleet, *, is_draining: bool) -> None:
    """All of them, from one look at the fleet."""
    context.metrics.draining.set(is_draining)
    _jobs(context, sessions)
    _inboxes(context, fleet)
    _fleet(context, fleet)
    _buffers(context, sessions, nodes)


def _jobs(context: Context, sessions: Sessions) -> None:
    phases = Counter(phase for actor in sessions.with_jobs() for phase in actor.phases().values())
    states: Counter[str] = Counter()
    for phase, count in phases.items():
        states[STATUS[phase]] += count
    for state in CLOSED["lingua_jobs"]:
        context.metrics.jobs.labels(state).set(states[state])


def _inboxes(context: Context, fleet: Fleet) -> None:
    metrics, me = context.metrics, context.instance_id
    if (mine := fleet.inboxes.get(me)) is not None:
        metrics.inbox_messages.set(mine.length)
        metrics.inbox_pending.set(mine.pending)
        metrics.dead_letters.set(mine.dead)
    alive = {name for name, _ in fleet.known.alive}
    gone = [state for name, state in fleet.inboxes.items() if name not in alive]
    metrics.dead_letters_orphaned.set(sum(state.length + state.dead for state in gone))


def _fleet(context: Context, fleet: Fleet) -> None:
    metrics = context.metrics
    able = [node for node in fleet.nodes if node.status in TAKES_JOBS and node.pairs]
    metrics.fleet_instances.set(len(fleet.known.alive))
    metrics.fleet_nodes.set(len(able))
    metrics.fleet_slots.set(sum(node.capacity for node in able))
    metrics.fleet_slots_taken.set(sum(node.reserved for node in fleet.nodes))
    metrics.fleet_waiting.set(sum(pool.waiting for pool in fleet.pools))


def _buffers(context: Context, sessions: Sessions, nodes: Nodes) -> None:
    """The fullest of each kind as a share of its bound: 1.0 is where something is dropped, refused or closed."""
    limits, cut = context.config.limits, context.config.scheduler.web_task_segmentation
    actors = sessions.all()
    shares = {
        "session_audio": _most(actor.machine.kept_bytes for actor in actors) / cut.max_session_buffer_bytes,
        "client_queue": _most(actor.client.queued_bytes for actor in actors if actor.client) / QUEUE_BYTES_MAX,
        "node_queue": _most(connection.queued_bytes for connection in nodes.connections()) / QUEUE_BYTES_MAX,
        "sessions": len(actors) / limits.sessions,
        "remote_jobs": sessions.resumes.remote_jobs / REMOTE_JOBS_MAX,
        "redis_commands": context.store.in_flight / IN_FLIGHT_MAX,
        "memory": context.limits.used_bytes() / context.limits.memory_bytes,
    }
    for name, share in shares.items():
        context.metrics.buffers.labels(name).set(round(share, 4))


def _most(values: Iterable[int]) -> int:
    return max(values, default=0)
