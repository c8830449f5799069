"""A wire between one instance and its Redis, which a test can cut."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

Fault = Literal["black hole", "replies held", "reset"]


class Wire:
    """Relays a unix socket. What a network that swallows packets holds back arrives when it is whole again, as TCP has
    it: commands that were given up long ago are done late.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._requests, self._replies = asyncio.Event(), asyncio.Event()
        self._is_refusing = False
        self._ends: set[asyncio.StreamWriter] = set()
        self.mend()

    def cut(self, fault: Fault) -> None:
        match fault:
            case "black hole":
                self._requests.clear()
                self._replies.clear()
            case "replies held":
                self._replies.clear()
            case "reset":
                self._is_refusing = True
                self._abort()

    def mend(self) -> None:
        self._is_refusing = False
        self._requests.set()
        self._replies.set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        except OSError:  # nobody is there, as at the end of a wire without one
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer, self._requests))
                group.create_task(_pump(far_reader, writer, self._replies))
        finally:
            self._ends -= ends

    async def close(self) -> None:
        self.mend()
        self._abort()

    def _abort(self) -> None:
        for end in self._ends:
            end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            await is_open.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def wire_to(target: Path, at: Path) -> AsyncGenerator[Wire]:
    """A relay that listens at `at`."""
    wire = Wire(target)
    server = await asyncio.start_unix_server(wire.relay, at)
    try:
        yield wire
    finally:
        await wire.close()
        server.close()
        await asyncio.to_thread(at.unlink, missing_ok=True)
