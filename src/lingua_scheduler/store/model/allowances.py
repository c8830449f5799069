"""What `AllowanceStore` does, on plain data."""

from collections import Counter

from lingua_scheduler.protocol.ids import InstanceId


class AllowanceModel:
    """See `AllowanceStore`: same method, same replies."""

    def __init__(self) -> None:
        self._used_ms = Counter[str]()
        self._bills: dict[tuple[str, InstanceId], int] = {}

    def spend(self, token_id: str, instance_id: InstanceId, bill: int, audio_ms: int, ttl_ms: int) -> int:
        if self._bills.get((token_id, instance_id)) != bill:
            self._bills[token_id, instance_id] = bill
            self._used_ms[token_id] += audio_ms
        return self._used_ms[token_id]
