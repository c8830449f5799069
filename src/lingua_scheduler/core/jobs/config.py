"""The job machine's settings, each with its unit."""

from dataclasses import dataclass

STORE_LEASE_MARGIN_MS = 5_000


@dataclass(frozen=True, slots=True)
class JobsConfig:
    job_timeout_ms: int = 60_000
    """Lease from dispatch, and the longest any single renewal gives."""
    ack_lease_base_ms: int = 15_000
    """A node that sends acks has this and `ack_lease_per_audio` × the audio's duration from each sign of work."""
    ack_lease_per_audio: int = 3
    attempt_max_ms: int = 300_000
    """No sign of work renews an attempt past this: a node that reports for ever does not hold a sentence for ever."""
    pending_timeout_ms: int = 10_000
    """An attempt that finds no slot for so long ends the job. Time in which the store is away does not count."""
    reselect_ms: int = 1_000
    """How often a waiting job asks again by itself: offers of slots can be lost."""
    retries_max: int = 3
    """Attempts after the first."""
    same_node_backoff_ms: int = 250
    """Before a node that failed the job is asked again because there is no other; a node may ask for longer."""
    same_node_backoff_max_ms: int = 5_000
    affinity_wait_ms: int = 500
    """How long the node that keeps audio of the session is waited for."""
    short_ms: int = 1_000
    """A node keeps a Timeout utterance shorter than this for the next one."""
    unflagged_ms: int = 10_000
    """A node keeps an utterance without a flag while it has less than this."""
    park_max_ms: int = 20_000
    """How long a placed job waits to learn what its predecessor, on another node, leaves to it."""
    carry_wait_ms: int = 0
    """How long a result whose tail is carried waits to see that speech goes on (see `AudioContinued`); past it the
    utterance is sent again to be processed whole. 0: the owner does not say when speech goes on; nothing waits.
    """
    store_backoff_ms: int = 250
    """Doubles with each failure of the store, up to `store_backoff_max_ms`."""
    store_backoff_max_ms: int = 2_000
    timeout_as_manual: bool = False
    """Compatibility: some nodes of protocol 1 lose short Timeout utterances unless they are flagged as manual."""
    session_close_as_manual: bool = False
    """Flag what a closing session leaves as manual, so that no node waits for a successor that cannot come."""

    @property
    def attempts_max(self) -> int:
        return 1 + self.retries_max

    @property
    def store_lease_ms(self) -> int:
        """The store's copy of a lease outlives ours, so that ours decides while we live; renewals come seldom, too."""
        return self.job_timeout_ms + STORE_LEASE_MARGIN_MS

    def ack_lease_ms(self, audio_ms: int) -> int:
        return min(self.job_timeout_ms, self.ack_lease_base_ms + self.ack_lease_per_audio * audio_ms)
