"""Waiting for a condition: the only place in the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

_POLL_S = 0.02


async def wait_until(
    condition: Callable[[], T | None] | Callable[[], Awaitable[T | None]], description: str, deadline_s: float = 15
) -> T:
    """The condition's first true value. It is asked every 20 ms, and once more when the deadline has passed.

    `description` completes the sentence "waited for …". Raises AssertionError with it, and with the last value seen,
    where the condition stays false. The deadline only bounds a failure: a passing test never takes longer than it must.
    """
    give_up_at = time.monotonic() + deadline_s
    while True:
        late = time.monotonic() >= give_up_at
        value = condition()
        seen = cast("T | None", await value if inspect.isawaitable(value) else value)
        if seen:
            return seen
        if late:
            raise AssertionError(f"waited {deadline_s:g} s for {description}; last seen: {seen!r}")
        await asyncio.sleep(_POLL_S)


async def let_pass(seconds: float) -> None:
    """Time, where that is what happens: how long a fault lasts, when somebody speaks. Never a wait for something."""
    await asyncio.sleep(seconds)
