"""What a node that answers is good for: ready, degraded or draining."""

from collections import deque

from lingua_scheduler.core.node.config import (
    FAILURES_FORGOTTEN_MS,
    FAILURES_MAX,
    OUTCOMES_KEPT,
    REQUIRED_SERVICES,
)
from lingua_scheduler.protocol.node import NodeStatus

_REQUIRED = frozenset(REQUIRED_SERVICES)


class Standing:
    """Draining where the node or an operator wants no new jobs; degraded where a service or too many jobs failed."""

    def __init__(self) -> None:
        self.services: tuple[str, ...] = ()
        self.node_drains = False
        self.operator_drains: str | None = None
        """The operator's reason, while it stands."""
        self.forget_failures_at_ms: int | None = None
        self._outcomes: deque[bool] = deque(maxlen=OUTCOMES_KEPT)

    @property
    def status(self) -> NodeStatus:
        if self.node_drains or self.operator_drains is not None:
            return "draining"
        return "ready" if _REQUIRED.issubset(self.services) and not self._is_failing else "degraded"

    @property
    def _is_failing(self) -> bool:
        return self._outcomes.count(False) >= FAILURES_MAX

    def count(self, is_good: bool, now_ms: int) -> None:
        """A job ended in a way that speaks of the node."""
        self._outcomes.append(is_good)
        self.forget_failures_at_ms = now_ms + FAILURES_FORGOTTEN_MS if self._is_failing else None

    def forget_failures(self, now_ms: int) -> None:
        """Where the time has come: a node that gets no jobs cannot show that it has recovered."""
        if self.forget_failures_at_ms is not None and now_ms >= self.forget_failures_at_ms:
            self.forget_failures_at_ms = None
            self._outcomes.clear()
