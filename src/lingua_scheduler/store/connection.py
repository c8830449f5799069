"""One connection to Redis that pipelines by itself: what one turn of the loop asks for leaves in one write.

Redis answers in order, so a queue of futures is all the bookkeeping there is. A command that is given up by its caller
still has its reply read and dropped. Every command has the same deadline; when the oldest reply is overdue, Redis has
stalled and the connection is worthless: it is closed and every waiting command fails.

Measured beside redis-py in `bench/RESULTS.md`, section Placement. This is the only file that knows the wire.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import hiredis

from lingua_scheduler.store.errors import StoreError

Reply = str | bytes | int | float | None | list["Reply"] | hiredis.ReplyError
"""Strings are text (what is not UTF-8 with surrogates), on a binary connection bytes."""

IN_FLIGHT_MAX = 20_000

# Its stub takes tuples of one word only.
_pack = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", hiredis.pack_command)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a unix socket's path, or host and port."""

    path: str | None = None
    host: str = "localhost"
    port: int = 6379
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


class RedisConnection(asyncio.Protocol):
    """Use `open_connection`. Not to be used after `is_closed`."""

    def __init__(self, address: Address, timeout_ms: int, *, is_binary: bool = False) -> None:
        self.address = address
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_ms / 1000
        self._reader = hiredis.Reader() if is_binary else hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._unsent: list[bytes] = []
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_retired = False
        self.observe: Callable[[float], None] | None = None
        self.broken: Callable[[str], None] | None = None
        """Told once, and why, where it is not closed from here."""
        self.is_closed = False

    def send(self, *words: str | bytes | int) -> asyncio.Future[Reply]:
        """Ask one command; an error reply is a value. Raises StoreError where too many wait for their replies."""
        if len(self._waiting) >= IN_FLIGHT_MAX:
            raise StoreError(f"{IN_FLIGHT_MAX} commands wait for Redis", may_have_happened=False)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(_pack(words))
        reply: asyncio.Future[Reply] = self._loop.create_future()
        deadline = self._loop.time() + self._timeout_s
        self._waiting.append((reply, deadline))
        if self._watchdog is None:
            self._watchdog = self._loop.call_at(deadline, self._look_at_oldest)
        return reply

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    def retire(self) -> None:
        """Close as soon as nobody waits for a reply; nothing is to be sent any more."""
        self._is_retired = True
        self._close_if_retired()

    def close(self, why: str = "closed here") -> None:
        """Close at once; whoever waits for a reply gets StoreError."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._transport is not None:
            self._transport.abort()
        sent = len(self._waiting) - len(self._unsent)
        for number, (reply, _) in enumerate(self._waiting):
            if not reply.done():
                reply.set_exception(StoreError(f"Redis: {why}", may_have_happened=number < sent))
                reply.exception()  # looked at: a caller that gave up must not cause a warning
        self._waiting.clear()
        self._unsent.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                if not self._waiting:
                    self._break("a reply that nobody asked for")
                    return
                reply, deadline = self._waiting.popleft()
                if self.observe is not None:
                    self.observe(max(0.0, self._loop.time() - deadline + self._timeout_s))
                if not reply.done():
                    reply.set_result(answer)
        except hiredis.ProtocolError as fault:
            self._break(f"broken reply ({fault})")
        else:
            self._close_if_retired()

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(f"connection lost ({exc})" if exc else "connection closed by the server")

    def _break(self, why: str) -> None:
        if self.is_closed:
            return
        self.close(why)
        if self.broken is not None:
            self.broken(why)

    def _close_if_retired(self) -> None:
        if self._is_retired and not self._waiting:
            self.close("its server has the keys no more")

    def _flush(self) -> None:
        if self.is_closed or self._transport is None:
            return
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _look_at_oldest(self) -> None:
        self._watchdog = None
        if not self._waiting:
            return
        deadline = self._waiting[0][1]
        # uvloop may fire half a millisecond early.
        if deadline <= self._loop.time() + 0.001:
            self._break(f"no reply within {self._timeout_s:g} s")
        else:
            self._watchdog = self._loop.call_at(deadline, self._look_at_oldest)


async def open_connection(
    address: Address, timeout_ms: int, greeting: Sequence[tuple[str, ...]] = (), *, is_binary: bool = False
) -> RedisConnection:
    """Connect and say `greeting` (AUTH, SELECT …). Raises StoreError, surely without effect."""
    loop = asyncio.get_running_loop()
    make = partial(RedisConnection, address, timeout_ms, is_binary=is_binary)
    connection = None
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            if address.path:
                _, connection = await loop.create_unix_connection(make, address.path)
            else:
                _, connection = await loop.create_connection(make, address.host, address.port, ssl=address.tls)
            answers = await asyncio.gather(*(connection.send(*words) for words in greeting))
    except TimeoutError:
        _discard(connection)
        raise StoreError(f"Redis at {address} did not answer in {timeout_ms} ms", may_have_happened=False) from None
    except OSError as fault:
        _discard(connection)
        raise StoreError(f"cannot reach Redis at {address}: {fault}", may_have_happened=False) from fault
    except BaseException:
        _discard(connection)
        raise
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            connection.close()
            raise StoreError(f"Redis at {address} refused the connection: {answer}", may_have_happened=False)
    return connection


def _discard(connection: RedisConnection | None) -> None:
    if connection is not None:
        connection.close()
