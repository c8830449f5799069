"""What `ShareStore` does, on plain data."""

from dataclasses import dataclass, field

from lingua_scheduler.protocol.ids import InstanceId, TenantId
from lingua_scheduler.store.model.world import World
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.shares import Bill, ShareReply

ALIVE_MS = 15_000


@dataclass(slots=True)
class Seat:
    """One instance's part."""

    sessions: int
    round: int
    until_ms: int


@dataclass(slots=True)
class Share:
    jobs_paid_ms: int = 0
    audio_paid_ms: int = 0
    seats: dict[InstanceId, Seat] = field(default_factory=dict[InstanceId, Seat])


class ShareModel:
    """See `ShareStore`: same method, same replies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._shares: dict[TenantId, Share] = {}

    def settle(self, bill: Bill) -> ShareReply:
        now = self._world.now
        share = self._shares.setdefault(bill.tenant_id, Share())
        share.seats = {name: seat for name, seat in share.seats.items() if seat.until_ms > now}
        mine = share.seats.get(bill.instance_id)
        others = sum(seat.sessions for name, seat in share.seats.items() if name != bill.instance_id)
        is_new = mine is None or mine.round != bill.round
        share.jobs_paid_ms = max(share.jobs_paid_ms, now) + (bill.jobs_ms if is_new else 0)
        share.audio_paid_ms = max(share.audio_paid_ms, now) + (bill.audio_ms if is_new else 0)
        has = others + bill.sessions
        is_full = bill.asks and 0 < bill.sessions_max <= has
        gets = int(bill.asks and not is_full)
        share.seats[bill.instance_id] = Seat(bill.sessions + gets, bill.round, now + ALIVE_MS)
        if is_full:
            return ShareReply(Word.RATE_LIMITED, has)
        jobs_late_ms = max(0, share.jobs_paid_ms - now - bill.jobs_burst_ms)
        return ShareReply(Word.OK, has + gets, jobs_late_ms, max(0, share.audio_paid_ms - now - bill.audio_burst_ms))
