"""What was said under tokens that hold a number of minutes, counted across instances."""

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.replies import number

_SPEND = Script("spend_allowance")


class AllowanceStore:
    """One call."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run

    async def spend(self, token_id: str, instance_id: InstanceId, bill: int, audio_ms: int, ttl_ms: int) -> int:
        """Milliseconds of audio used up in the fleet, these among them.

        `bill` is unlike that of any other call of the instance; of a call that is repeated it is the same.
        """
        _, used_ms = await self._run(_SPEND, token_id, instance_id, bill, audio_ms, ttl_ms)
        return number(used_ms)
