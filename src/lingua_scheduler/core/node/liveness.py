"""Whether a node still answers: pings sent, traffic heard, and what silence means."""

from typing import Literal

from lingua_scheduler.core.node.config import HealthSettings


class Liveness:
    """Silence is time since anything was heard, and counts only where pings went unanswered in it.

    A pause of our own process makes the silence long but leaves the pings unsent: whoever is suspected must have left
    as many pings unanswered as fit into the silence, but for the one that was sent just now.
    """

    def __init__(self, health: HealthSettings, now_ms: int) -> None:
        self._health = health
        self._heard_at_ms = now_ms
        self._next_ping_ms = now_ms + health.ping_ms
        self._unanswered = 0
        self.is_suspect = False

    def heard(self, now_ms: int) -> None:
        """Anything at all came from the node."""
        self._heard_at_ms = now_ms
        self._unanswered = 0
        self.is_suspect = False

    def next_deadline_ms(self, *, is_watched: bool) -> int:
        """The next ping, or the end of patience where pings went unanswered."""
        deadline = self._next_ping_ms
        patience_ms = self._health.lost_ms if self.is_suspect else self._health.suspect_ms
        if is_watched and self._has_failed(patience_ms):
            deadline = min(deadline, self._heard_at_ms + patience_ms)
        return deadline

    def judge(self, now_ms: int) -> Literal["suspect", "lost"] | None:
        """`suspect` once when the silence has become that long, `lost` when it has lasted."""
        silence_ms = now_ms - self._heard_at_ms
        if silence_ms >= self._health.lost_ms and self._has_failed(self._health.lost_ms):
            return "lost"
        if self.is_suspect or silence_ms < self._health.suspect_ms or not self._has_failed(self._health.suspect_ms):
            return None
        self.is_suspect = True
        return "suspect"

    def _has_failed(self, patience_ms: int) -> bool:
        return self._unanswered >= max(1, patience_ms // self._health.ping_ms - 1)

    def is_ping_due(self, now_ms: int) -> bool:
        """Whether to send a ping now; counts it as sent."""
        if now_ms < self._next_ping_ms:
            return False
        # In its own rhythm, however late this one is: after a pause of our process all nodes are due at once, and would
        # be for good if each counted from now. Half an interval is left for the answer to the late one.
        interval_ms = self._health.ping_ms
        self._next_ping_ms += -(-(now_ms + interval_ms // 2 - self._next_ping_ms) // interval_ms) * interval_ms
        self._unanswered += 1
        return True
