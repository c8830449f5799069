"""Tasks that have an owner: everything an object starts ends with it, and a failure is never silent."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Scope:
    """A bounded-lifetime home for background work. `failed` hears of every exception but cancellation."""

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self._failed = failed
        # By their start, not as a set: they end in this order, in every run of a simulation.
        self._tasks: dict[asyncio.Task[None], None] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    async def wait(self) -> None:
        """Until nothing runs any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(task.get_name(), error)
