"""The node machine's settings, each with its unit."""

from dataclasses import dataclass
from typing import Protocol


class HealthSettings(Protocol):
    """The section of the configuration that says when a node counts as alive."""

    @property
    def ping_ms(self) -> int:
        """Between pings of the WebSocket layer."""
        ...

    @property
    def suspect_ms(self) -> int:
        """Silence after which a node gets no new jobs, and its jobs a new attempt elsewhere."""
        ...

    @property
    def lost_ms(self) -> int:
        """Silence after which a node is offline."""
        ...

    @property
    def heartbeat_ttl_seconds(self) -> int:
        """For so long the store remembers a node that says nothing more."""
        ...


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """Settings as the documentation gives them."""

    ping_ms: int = 1_000
    suspect_ms: int = 3_000
    lost_ms: int = 10_000
    heartbeat_ttl_seconds: int = 45


REGISTER_MS = 10_000
"""A connection that has not registered by then is closed."""
STORE_RETRY_MS = 1_000
"""Between repetitions towards a store that fails."""
OUTCOMES_KEPT = 5
"""Health is judged by so many last jobs …"""
FAILURES_MAX = 3
"""… of which so many failures make a node degraded."""
FAILURES_FORGOTTEN_MS = 60_000
"""A node degraded by failures gets another chance after this: where ready nodes are, it would get no job to show."""
REPORTS_KEPT = 64
"""Reports of a node whose registration the store has not confirmed yet; further ones are refused."""
PAIRS_MAX = 4096
"""Language pairs of one node; the store's own bound."""
LANGUAGES_MAX = 256
CAPACITY_MAX = 1024
SERVICES_MAX = 64
ACTIVE_JOBS_MAX = 1024
TENANTS_MAX = 64
"""That one node serves, where it does not serve all."""
TEXT_CHARS_MAX = 256
"""Of `version` and `platform`."""
REQUIRED_SERVICES = ("asr", "nmt", "tts")
"""A node without one of these is degraded: it can serve only jobs that do without."""
