"""What `AllowanceStore` does, on plain data."""

from dataclasses import dataclass, field

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.model.world import World


@dataclass(slots=True)
class Allowance:
    used_ms: int = 0
    until_ms: int = 0
    bills: dict[InstanceId, int] = field(default_factory=dict[InstanceId, int])


class AllowanceModel:
    """See `AllowanceStore`: same method, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._allowances: dict[str, Allowance] = {}

    def spend(self, token_id: str, instance_id: InstanceId, bill: int, audio_ms: int, ttl_ms: int) -> int:
        now = self._world.now
        allowance = self._allowances.get(token_id)
        if allowance is None or allowance.until_ms <= now:
            self._allowances[token_id] = allowance = Allowance()
        if allowance.bills.get(instance_id) != bill:
            allowance.bills[instance_id] = bill
            allowance.used_ms += audio_ms
        allowance.until_ms = max(allowance.until_ms, now + ttl_ms)
        return allowance.used_ms
