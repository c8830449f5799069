"""Runs a program's main coroutine on the fastest loop there is, until it ends or is told to."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from lingua_scheduler.runtime.logs import get_logger

_log = get_logger("runtime.loop")


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` to its exit code. SIGTERM and SIGINT cancel it once; its own clean-up decides how long it takes."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_with_signals(main))


def loop_name() -> str:
    """Which event loop `run` uses, for people."""
    return "asyncio" if _loop_factory() is asyncio.new_event_loop else "uvloop"


def _loop_factory():  # noqa: ANN202 - the loop type differs with the library
    try:
        import uvloop  # noqa: PLC0415 - optional: asyncio's own loop serves where it cannot be installed
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _with_signals(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main, name="main")
    told: list[str] = []

    def stop(name: str) -> None:
        told.append(name)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    try:
        return await task
    except asyncio.CancelledError:
        if not told:
            raise
        return 0 if told[0] == "SIGTERM" else 130
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
