"""Tenants and their quotas: who opens a session or speaks is held to what its tenant may use in the whole fleet.

Redis counts (`settle_share`); what an instance knows of it is a quarter of a second old at most. While Redis is away,
quotas are those of this instance alone: service comes before accounts. Tenants without a quota cost nothing.
"""

import asyncio

from lingua_scheduler.core.allowances import Allowance
from lingua_scheduler.core.shares import DAY_MS, JOBS_BURST_MS, Quota, Share, Told, is_limited
from lingua_scheduler.protocol.ids import InstanceId, TenantId
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, TenantConfig
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.scheduler.allowances import Allowances
from lingua_scheduler.scheduler.limits import FULL_RETRY_MS, rate_limited
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import Word
from lingua_scheduler.store.shares import Bill
from lingua_scheduler.store.store import Store

_log = get_logger("scheduler.shares")

ROUND_S = 0.25
RENEW_ROUNDS = 16
"""The fleet forgets the sessions of an instance that says nothing for 15 s."""
PATIENCE_MS = 2000
"""A wait up to here is waited out before speech is read on; longer ones are told."""


class Shares:
    """Of one instance."""

    def __init__(self, config: Config, me: InstanceId, store: Store, clock: Clock, scope: Scope) -> None:
        self._config = config
        self._me = me
        self._store = store
        self._clock = clock
        self._scope = scope
        self._by_tenant: dict[TenantId, Share] = {}
        self._is_running = False
        self.allowances = Allowances(me, store, clock, scope)
        """Of tokens, beside those of their tenants."""

    @property
    def is_used(self) -> bool:
        """Whether anybody here has a quota."""
        return bool(self._by_tenant)

    async def open(self, tenant_id: TenantId) -> None:
        """Counts a session more, which `left` ends.

        PeerError RATE_LIMITED where the tenant may not have it, or has nothing to say in it for now.
        """
        if (share := self._share(tenant_id)) is None:
            return
        if wait_ms := share.closed_for_ms(self._clock.now_ms()):
            raise rate_limited(wait_ms)
        share.sessions += 1
        try:
            is_granted = await self._settle(tenant_id, share, asks=True)
        except StoreError as error:
            _log.warning("quota not checked", tenant=tenant_id, cause=str(error))
            is_granted = not 0 < share.quota.sessions < share.sessions
        except BaseException:
            share.sessions -= 1
            raise
        if not is_granted:
            share.sessions -= 1
            raise rate_limited(FULL_RETRY_MS)

    async def hear(self, tenant_id: TenantId) -> None:
        """Before speech of a tenant is taken: waits a moment, or raises PeerError RATE_LIMITED."""
        share = self._by_tenant.get(tenant_id)
        if share is None or not (wait_ms := share.closed_for_ms(self._clock.now_ms())):
            return
        if wait_ms > PATIENCE_MS:
            raise rate_limited(wait_ms)
        await asyncio.sleep(wait_ms / 1000)

    def entered(self, tenant_id: TenantId) -> None:
        """A session of the tenant has moved here."""
        if (share := self._share(tenant_id)) is not None:
            share.sessions += 1

    def left(self, tenant_id: TenantId) -> None:
        if (share := self._by_tenant.get(tenant_id)) is not None:
            share.sessions -= 1

    def used(self, tenant_id: TenantId, audio_ms: int, allowance: Allowance | None = None) -> None:
        """A job of so much audio began."""
        if allowance is not None:
            self.allowances.used(allowance, audio_ms)
        if (share := self._by_tenant.get(tenant_id)) is not None:
            share.use(1, audio_ms)

    def _share(self, tenant_id: TenantId) -> Share | None:
        """None where nothing limits the tenant."""
        share = self._by_tenant.get(tenant_id)
        if share is None:
            quota = self._quota(tenant_id)
            if not is_limited(quota):
                return None
            share = self._by_tenant[tenant_id] = Share(quota)
            if not self._is_running:
                self._is_running = True
                self._scope.start(self._run(), "settle-shares")
        return share

    def _quota(self, tenant_id: TenantId) -> TenantConfig:
        return self._config.tenants.get(tenant_id, self._config.limits.tenant)

    async def _run(self) -> None:
        """For as long as the instance lives: tell the fleet what is new."""
        count = 0
        while True:
            await asyncio.sleep(ROUND_S)
            count += 1
            for tenant_id, share in list(self._by_tenant.items()):
                if share.is_news or (share.sessions and count % RENEW_ROUNDS == 0):
                    try:
                        await self._settle(tenant_id, share)
                    except StoreError as error:
                        _log.warning("quota not settled", tenant=tenant_id, cause=str(error))
                elif not share.sessions and not share.closed_for_ms(self._clock.now_ms()):
                    del self._by_tenant[tenant_id]

    async def _settle(self, tenant_id: TenantId, share: Share, *, asks: bool = False) -> bool:
        """False where a session was asked for and there may be none."""
        told, quota, sessions = share.tell(), share.quota, share.sessions
        bill = self._bill(tenant_id, quota, told, sessions - asks, asks=asks)
        reply = await self._store.shares.settle(bill)
        is_granted = reply.word is Word.OK
        late_ms = max(reply.jobs_late_ms, reply.audio_late_ms) if is_granted else 0
        if is_granted:
            share.heard(told, sessions, late_ms, self._clock.now_ms())
        return is_granted

    def _bill(self, tenant_id: TenantId, quota: Quota, told: Told, sessions: int, *, asks: bool) -> Bill:
        return Bill(
            tenant_id=tenant_id,
            instance_id=self._me,
            round=told.round,
            sessions=sessions,
            asks=asks,
            sessions_max=quota.sessions,
            jobs_ms=told.jobs_ms,
            jobs_burst_ms=JOBS_BURST_MS,
            audio_ms=told.audio_ms,
            audio_burst_ms=DAY_MS,
        )
