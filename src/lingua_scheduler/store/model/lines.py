"""A line of waiting jobs: start-time fair queueing over tenants (Goyal, Vin, Cheng 1996), jobs being of equal size."""

from dataclasses import dataclass, field

from lingua_scheduler.protocol.ids import JobId, TenantId

ARRIVALS = 1 << 21
FIRST_GAP_MS = 1000
LINE_MAX = 10_000


@dataclass(slots=True)
class Line:
    """A turn is `number × ARRIVALS + arrival`: who has the lower number goes first, of equal ones who came first."""

    turns: dict[JobId, int] = field(default_factory=dict[JobId, int])
    virtual: int = 0
    """The number that was served last."""
    arrivals: int = 0
    gap_ms: int = FIRST_GAP_MS
    """Smoothed time between two that were served."""
    served_at_ms: int | None = None
    tenants: dict[TenantId, int] = field(default_factory=dict[TenantId, int])
    """By tenant the number of its last turn."""

    def order(self) -> list[JobId]:
        return sorted(self.turns, key=lambda job_id: (self.turns[job_id], job_id))

    def next_turn(self, tenant: TenantId, *, is_retry: bool) -> int:
        """A tenant's numbers are consecutive; a retry goes to the head and costs its tenant a number all the same."""
        self.arrivals = (self.arrivals + 1) % ARRIVALS
        if not self.turns:
            self.tenants.clear()
            self.served_at_ms = None
        number = max(self.virtual, self.tenants.get(tenant, 0)) + 1
        self.tenants[tenant] = number
        return self.virtual * ARRIVALS if is_retry else number * ARRIVALS + self.arrivals

    def leave(self, job_id: JobId) -> None:
        self.turns.pop(job_id, None)

    def serve(self, job_id: JobId, now_ms: int) -> None:
        """The job gets a slot."""
        turn = self.turns.pop(job_id, None)
        if turn is None:
            return
        self.virtual = max(self.virtual, turn // ARRIVALS)
        if self.served_at_ms is not None:
            self.gap_ms = (3 * self.gap_ms + now_ms - self.served_at_ms) // 4
        self.served_at_ms = now_ms
