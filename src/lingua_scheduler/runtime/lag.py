"""How late the event loop comes: what everything else on it waits for, too."""

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.25


async def watch_lag(observe: Callable[[float], None]) -> None:
    """Tell the seconds by which each of many short sleeps was too long, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        observe(max(0.0, loop.time() - due_s))
