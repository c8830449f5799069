"""What tenants use of the fleet: sessions at once, jobs and audio by the time, counted across instances."""

from dataclasses import dataclass

from lingua_scheduler.protocol.ids import InstanceId, TenantId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.replies import number, text

_SETTLE = Script("settle_share")


@dataclass(frozen=True, slots=True)
class Bill:
    """What an instance tells of a tenant. Costs are the milliseconds after which so much may be used again."""

    tenant_id: TenantId
    instance_id: InstanceId
    round: int
    """Grows with each bill that is told; a bill that is told again has the same."""
    sessions: int
    """Those of the instance, but for the one that it asks for."""
    asks: bool = False
    """For one session more."""
    sessions_max: int = 0
    jobs_ms: int = 0
    jobs_burst_ms: int = 0
    """So much may be used ahead of time."""
    audio_ms: int = 0
    audio_burst_ms: int = 0


@dataclass(frozen=True, slots=True)
class ShareReply:
    word: Word
    sessions: int
    """Of the tenant, in the fleet; with RATE_LIMITED without the one asked for."""
    jobs_late_ms: int = 0
    """Until it may have jobs again."""
    audio_late_ms: int = 0


class ShareStore:
    """One call."""

    def __init__(self, run: ScriptRunner) -> None:
        self._run = run

    async def settle(self, bill: Bill) -> ShareReply:
        """Words: OK, RATE_LIMITED (the tenant has as many sessions as it may)."""
        reply = await self._run(
            _SETTLE, bill.tenant_id, bill.instance_id, bill.sessions, int(bill.asks), bill.sessions_max, bill.round,
            bill.jobs_ms, bill.jobs_burst_ms, bill.audio_ms, bill.audio_burst_ms,
        )  # fmt: skip
        return ShareReply(Word(text(reply[0])), *(number(one) for one in reply[1:]))
