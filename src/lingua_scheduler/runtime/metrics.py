"""All metrics in one place: units in names, labels only from closed sets."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 30.0, 60.0)


class Metrics:
    """One registry for each instance, so that two in one process (tests) do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.sessions_open = Gauge("lingua_sessions_open", "Sessions that are open", registry=registry)
        self.nodes_connected = Gauge("lingua_nodes_connected", "Nodes connected here", registry=registry)
        self.jobs_open = Gauge("lingua_jobs_open", "Jobs not concluded yet", registry=registry)
        self.utterances = Counter("lingua_utterances", "Utterances finalized", ["reason"], registry=registry)
        self.outcomes = Counter("lingua_job_outcomes", "Concluded jobs", ["outcome"], registry=registry)
        self.selections = Counter("lingua_selections", "Answers of placement", ["answer"], registry=registry)
        self.passed_over = Counter(
            "lingua_nodes_passed_over", "Nodes that could not take a job, when none could", ["why"], registry=registry
        )
        self.refused = Counter("lingua_refused_reports", "Reports of nodes refused", ["why"], registry=registry)
        self.denied = Counter("lingua_denied", "Refused for want of a good token or origin", ["who"], registry=registry)
        self.previews = Counter(
            "lingua_previews", "Speech shown to a node while it was spoken, or not", ["outcome"], registry=registry
        )
        self.retries = Counter("lingua_job_retries", "Further attempts, by cause", ["cause"], registry=registry)
        self.crashes = Counter("lingua_machine_crashes", "Sessions or nodes ended by a bug", registry=registry)
        self.store_failures = Counter("lingua_store_failures", "Calls to Redis that failed", registry=registry)
        self.runs_saved = Counter(
            "lingua_room_runs_saved", "Runs of a stage that sharing spared, by rooms' listeners", ["stage"],
            registry=registry,
        )  # fmt: skip
        self.rooms_open = Gauge("lingua_rooms_open", "Rooms with a member here", registry=registry)
        self.result_seconds = Histogram(
            "lingua_result_seconds", "End of an utterance to its outcome", registry=registry, buckets=_SECONDS
        )

    def concluded(self, outcome: str, seconds: float) -> None:
        """One job ended; `outcome` is `translated` or the reason why there is no text."""
        self.outcomes.labels(outcome).inc()
        self.result_seconds.observe(seconds)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
