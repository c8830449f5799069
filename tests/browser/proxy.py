"""A network that can be cut: passes bytes on to a server until told not to."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit


class Proxy:
    """`cuts`: a connection that has carried so many bytes to the server is cut, once for each entry, in order."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts: list[int] = []
        self.cut_count = 0
        self.is_down = False
        self.url = ""

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it or it is cut."""
        if self.is_down:
            answer.transport.abort()
            return
        server, up = await asyncio.open_connection(*self._target)
        both = {answer, up}
        self._pairs |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(client, up, both, is_up=True))
                group.create_task(self._pass(server, answer, both, is_up=False))
        except* ConnectionError:
            pass  # the other side hung up in the middle: what a network does
        finally:
            self._abort(both)

    def cut(self) -> None:
        """Cut everything that is open."""
        self.cut_count += 1
        self._abort(set(self._pairs))

    def _abort(self, writers: set[asyncio.StreamWriter]) -> None:
        for writer in writers:
            writer.transport.abort()
        self._pairs -= writers

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: set[asyncio.StreamWriter],
        *,
        is_up: bool,
    ) -> None:
        carried = 0
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
            carried += len(data)
            if is_up and self.cuts and carried >= self.cuts[0]:
                self.cuts.pop(0)
                self.cut_count += 1
                self._abort(both)
                return
        writer.close()


@contextlib.asynccontextmanager
async def cuttable(target: str) -> AsyncGenerator[Proxy]:
    """A proxy in front of `target`, on an address of its own."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.cuts.clear()
        proxy.cut()
        server.close()
        await server.wait_closed()
