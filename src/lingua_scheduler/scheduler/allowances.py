"""Tokens that hold a number of audio minutes: who bears one is heard until all instances together have used them up.

Redis counts (`spend_allowance`); what an instance knows of it is a quarter of a second old at most. While Redis is away
each instance counts what it hears by itself. Tokens without minutes cost nothing.
"""

import asyncio
import itertools
from weakref import WeakValueDictionary

from lingua_scheduler.core.access import AccessError, Grant
from lingua_scheduler.core.allowances import Allowance
from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.scheduler.auth.guard import unauthorized
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.store import Store

_log = get_logger("scheduler.allowances")

ROUND_S = 0.25
KEPT_MS = 2 * 24 * 3600 * 1000
"""After the token has expired: what it opened goes on for as long as its bearer talks."""


class Allowances:
    """Of one instance."""

    def __init__(self, me: InstanceId, store: Store, clock: Clock, scope: Scope) -> None:
        self._me = me
        self._store = store
        self._clock = clock
        self._scope = scope
        self._by_token = WeakValueDictionary[str, Allowance]()
        self._news: set[Allowance] = set()
        self._bills = itertools.count(clock.wall_ms())
        self._is_running = False

    async def of(self, grant: Grant | None) -> Allowance | None:
        """What is left to the bearer; None where nothing limits him."""
        if grant is None or not grant.claims.audio_minutes:
            return None
        claims = grant.claims
        allowance = self._by_token.get(claims.jti)
        if allowance is None:
            allowance = self._by_token[claims.jti] = Allowance(claims.jti, claims.audio_minutes, claims.exp)
            try:
                await self._settle(allowance)
            except StoreError as error:
                _log.warning("audio minutes not checked", cause=str(error))
        return allowance

    def used(self, allowance: Allowance, audio_ms: int) -> None:
        """A job of so much audio began."""
        allowance.use(audio_ms)
        self._news.add(allowance)
        if not self._is_running:
            self._is_running = True
            self._scope.start(self._run(), "settle-allowances")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            for allowance in list(self._news):
                try:
                    await self._settle(allowance)
                except StoreError as error:
                    _log.warning("audio minutes not settled", cause=str(error))
                if not allowance.is_news:
                    self._news.discard(allowance)

    async def _settle(self, allowance: Allowance) -> None:
        told = allowance.tell(next(self._bills))
        left_ms = max(0, allowance.ends_at_s * 1000 - self._clock.wall_ms())
        spend = self._store.allowances.spend
        allowance.heard(told, await spend(allowance.token_id, self._me, *told, left_ms + KEPT_MS))


def check(allowance: Allowance | None) -> None:
    """PeerError UNAUTHORIZED where the minutes are used up."""
    if allowance is not None and allowance.is_used_up:
        raise unauthorized(AccessError("the audio minutes of the token are used up"))
