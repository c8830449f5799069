"""Keeps a node's engines: loaded at start, loaded anew on request, the old ones closed when nobody uses them.

While new engines load the old ones serve, so a reload refuses no job; memory for both is needed in between.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from lingua_scheduler.node.engines.plan import EnginePlan
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.runtime.scope import Scope


class _Generation:
    """One set of loaded engines and who uses it."""

    def __init__(self, host: EngineHost) -> None:
        self.host = host
        self.users = 0
        self.leave = asyncio.Event()
        """Set when it is to be replaced and nobody uses it any more."""
        self.is_old = False

    def retire(self) -> None:
        self.is_old = True
        if not self.users:
            self.leave.set()


class EngineKeeper:
    """`use` gives the engines of the moment for one job's work."""

    def __init__(self, plan: EnginePlan, failed: Callable[[str, BaseException], None]) -> None:
        self._plan = plan
        self._scope = Scope(failed)
        self._current: _Generation | None = None
        self._loading: asyncio.Lock = asyncio.Lock()

    @property
    def host(self) -> EngineHost:
        assert self._current is not None, "asked before `load`"
        return self._current.host

    async def load(self) -> None:
        """Load the plan's engines and use them from now on. EngineError where one cannot be: the old ones stay."""
        async with self._loading:
            loaded: asyncio.Future[_Generation] = asyncio.get_running_loop().create_future()
            task = self._scope.start(self._keep(loaded), "engines")
            try:
                generation = await loaded
            except asyncio.CancelledError:
                task.cancel()
                raise
            old, self._current = self._current, generation
            if old is not None:
                old.retire()

    async def close(self) -> None:
        """End all engines, whoever uses them."""
        await self._scope.close()

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[EngineHost]:
        """The engines as they are now; they stay until the block ends."""
        generation = self._current
        assert generation is not None, "used before `load`"
        generation.users += 1
        try:
            yield generation.host
        finally:
            generation.users -= 1
            if generation.is_old and not generation.users:
                generation.leave.set()

    async def _keep(self, loaded: "asyncio.Future[_Generation]") -> None:
        """Owns one host from its first process to its last: a host is entered and left by the same task."""
        try:
            async with EngineHost(self._plan) as host:
                generation = _Generation(host)
                if loaded.done():
                    return
                loaded.set_result(generation)
                await generation.leave.wait()
        except Exception as error:
            if loaded.done():
                raise
            loaded.set_exception(error)
