"""All metrics of an instance in one place: units in names, labels only from closed sets, every series there at once.

No label ever names a session, a job, a node or a tenant: what has no bound does not belong into a metric. Languages are
counted by pair, the first `PAIRS_MAX` of them. `docs/metrics.md` is made from what stands here.
"""

from typing import Generic, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from lingua_scheduler import __version__
from lingua_scheduler.core.jobs.phases import STATUS
from lingua_scheduler.core.node.events import Refusal
from lingua_scheduler.core.placement import NoNodeReason, Why
from lingua_scheduler.core.session.machine import ClosedBy
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.messages import MissingReason

PAIRS_MAX = 50
"""Language pairs with series of their own; what comes after them is counted as `other` into `other`."""
OTHER = "other"

_SPEECH_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0, 60.0)
_QUICK_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)

STAGES = ("total", "scheduler", "node", "asr", "nmt", "tts")
BUFFERS = ("session_audio", "client_queue", "node_queue", "sessions", "remote_jobs", "redis_commands", "memory")

CLOSED: dict[str, tuple[str, ...]] = {
    "lingua_utterances": tuple(reason.value for reason in FinalizeReason),
    "lingua_sessions_ended": (*get_args(ClosedBy), "connection_lost", "internal_error", "moved"),
    "lingua_jobs": tuple(dict.fromkeys(STATUS.values())),
    "lingua_job_outcomes": ("translated", *get_args(MissingReason)),
    "lingua_selections": (
        *get_args(Why), *(reason.value for reason in NoNodeReason), "Queued", "AlreadyDone", "StaleAttempt",
    ),
    "lingua_nodes_passed_over": (
        "full", "kept", "degraded", "suspect", "draining", "excluded", "unavailable", "unsupported", "private", "dead",
    ),
    "lingua_refused_reports": (*get_args(Refusal), "unknown_job", "repeat", "stale_attempt", "stranger"),
    "lingua_denied": ("client", "node", "origin", "flood"),
    "lingua_previews": ("sent", "no_node", "slow_node"),
    "lingua_job_retries": (
        "job_timeout", "node_closed", "node_suspect", "node_lost", "node_replaced", "rejected", "not_sent", "failed",
        "seen_before", "out_of_order", "merge_lost", "carry_unclaimed", "said_already", "said_elsewhere", "answer_lost",
    ),
    "lingua_leases_expired": ("timer", "reaper"),
    "lingua_nodes_lost": ("closed", "suspect", "lost", "replaced"),
    "lingua_room_runs_saved": ("asr", "mt", "tts"),
    "lingua_stage_seconds": STAGES,
    "lingua_buffer_fill_ratio": BUFFERS,
}  # fmt: skip
"""By metric, the values that its one label may have; anything else is counted as `other`."""

F = TypeVar("F", Counter, Gauge, Histogram)


class Labelled(Generic[F]):
    """A family with one label, all its series made at once: a rate is right from the first event on."""

    def __init__(self, family: F, values: tuple[str, ...]) -> None:
        self._family = family
        self._children: dict[str, F] = {value: family.labels(value) for value in values}

    def labels(self, value: str) -> F:
        found = self._children.get(value)
        return found if found is not None else self._family.labels(OTHER)


class Metrics:
    """One registry for each instance, so that two in one process (tests) do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._build = Gauge("lingua_build_info", "Always 1; tells the version", ["version"], registry=self.registry)
        self._build.labels(__version__).set(1)
        self._sessions()
        self._jobs()
        self._nodes()
        self._times()
        self._store()
        self._fleet()

    def _sessions(self) -> None:
        self.sessions_open = self._gauge("lingua_sessions_open", "Sessions that are open here")
        self.sessions_opened = self._counter("lingua_sessions_opened", "Sessions opened, or taken over from a peer")
        self.sessions_ended = self._counters("lingua_sessions_ended", "Sessions ended, by what ended them", "by")
        self.utterances = self._counters("lingua_utterances", "Utterances finalized, by what ended them", "reason")
        self.rooms_open = self._gauge("lingua_rooms_open", "Rooms with a member here")
        self.runs_saved = self._counters(
            "lingua_room_runs_saved", "Runs of a stage that sharing spared, by rooms' listeners", "stage"
        )
        self.denied = self._counters("lingua_denied", "Refused for want of a good token or origin", "who")
        self.crashes = self._counter("lingua_machine_crashes", "Sessions or nodes ended by a bug")

    def _jobs(self) -> None:
        self.jobs_open = self._gauge("lingua_jobs_open", "Jobs not concluded yet")
        self.jobs = self._gauges("lingua_jobs", "Jobs not concluded yet, by where they stand", "state")
        self.outcomes = self._counters("lingua_job_outcomes", "Concluded jobs: translated, or why not", "outcome")
        self.pairs = Counter(
            "lingua_pair_jobs", f"Jobs by language pair, the first {PAIRS_MAX} pairs", ["src", "tgt"],
            registry=self.registry,
        )  # fmt: skip
        self._known_pairs: set[tuple[str, str]] = set()
        self.selections = self._counters(
            "lingua_selections", "Answers of placement: the rule, or why no node", "answer"
        )
        self.passed_over = self._counters(
            "lingua_nodes_passed_over", "Nodes that could not take a job, when none could", "why"
        )
        self.retries = self._counters("lingua_job_retries", "Further attempts (failovers), by cause", "cause")
        self.leases_expired = self._counters(
            "lingua_leases_expired", "Leases that ran out: by the owner's timer, or found when its owner was gone", "by"
        )

    def _nodes(self) -> None:
        self.nodes_connected = self._gauge("lingua_nodes_connected", "Nodes connected here")
        self.nodes_lost = self._counters("lingua_nodes_lost", "Nodes that went away or fell silent, by how", "cause")
        self.refused = self._counters("lingua_refused_reports", "Reports and messages of nodes refused", "why")
        self.previews = self._counters(
            "lingua_previews", "Speech shown to a node while it was spoken, or not", "outcome"
        )

    def _times(self) -> None:
        self.result_seconds = self._histogram("lingua_result_seconds", "End of an utterance to its outcome", _SPEECH_S)
        self.stage_seconds = Labelled(
            Histogram(
                "lingua_stage_seconds", "Translated utterances: total, share of scheduler and node, and stages as told",
                ["stage"], buckets=_SPEECH_S, registry=self.registry,
            ),
            CLOSED["lingua_stage_seconds"],
        )  # fmt: skip
        self.first_text_seconds = self._histogram(
            "lingua_first_text_seconds", "End of an utterance to the first text of it sent to its speaker", _SPEECH_S
        )
        self.first_sound_seconds = self._histogram(
            "lingua_first_sound_seconds", "End of an utterance to its spoken translation sent to its speaker", _SPEECH_S
        )
        self.queue_wait_seconds = self._histogram(
            "lingua_queue_wait_seconds", "End of an utterance to its first assignment to a node", _SPEECH_S
        )
        self.loop_lag_seconds = self._histogram(
            "lingua_loop_lag_seconds", "How late the event loop woke a sleeper", _QUICK_S
        )
        self.redis_seconds = self._histogram(
            "lingua_redis_seconds", "A command or script, from being handed in to its reply", _QUICK_S
        )

    def _store(self) -> None:
        self.redis_up = self._gauge("lingua_redis_up", "1 while Redis answers")
        self.redis_up.set(1)
        self.store_failures = self._counter("lingua_store_failures", "Calls to Redis that failed")
        self.inbox_messages = self._gauge("lingua_inbox_messages", "Messages in this instance's inbox")
        self.inbox_pending = self._gauge("lingua_inbox_pending_messages", "Of them, read and not dealt with")
        self.dead_letters = self._gauge("lingua_dlq_messages", "Dead letters of this instance")
        self.dead_letters_orphaned = self._gauge(
            "lingua_dlq_orphaned_messages", "Dead letters and unread messages of instances that are gone"
        )
        self.buffers = self._gauges("lingua_buffer_fill_ratio", "The fullest of each kind against its bound", "buffer")
        self.draining = self._gauge("lingua_draining", "1 while this instance leaves")

    def _fleet(self) -> None:
        """As this instance sees all of it: every instance tells the same, so take `max`, not `sum`."""
        self.fleet_instances = self._gauge("lingua_fleet_instances", "Live instances of the fleet")
        self.fleet_nodes = self._gauge("lingua_fleet_nodes", "Nodes of the fleet that take jobs")
        self.fleet_slots = self._gauge("lingua_fleet_slots", "Jobs that those nodes take at once")
        self.fleet_slots_taken = self._gauge("lingua_fleet_slots_taken", "Slots that are taken")
        self.fleet_waiting = self._gauge("lingua_fleet_jobs_waiting", "Jobs in line for a slot")

    def concluded(self, outcome: str, seconds: float) -> None:
        """One job ended; `outcome` is `translated` or the reason why there is no text."""
        self.outcomes.labels(outcome).inc()
        self.result_seconds.observe(seconds)

    def asked(self, src: str, tgt: str) -> None:
        """A job of a language pair."""
        pair = (src, tgt)
        if pair not in self._known_pairs:
            if len(self._known_pairs) >= PAIRS_MAX:
                pair = (OTHER, OTHER)
            else:
                self._known_pairs.add(pair)
        self.pairs.labels(*pair).inc()

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def _counter(self, name: str, told: str) -> Counter:
        return Counter(name, told, registry=self.registry)

    def _counters(self, name: str, told: str, label: str) -> Labelled[Counter]:
        return Labelled(Counter(name, told, [label], registry=self.registry), CLOSED[name])

    def _gauge(self, name: str, told: str) -> Gauge:
        return Gauge(name, told, registry=self.registry)

    def _gauges(self, name: str, told: str, label: str) -> Labelled[Gauge]:
        return Labelled(Gauge(name, told, [label], registry=self.registry), CLOSED[name])

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, told, buckets=buckets, registry=self.registry)
