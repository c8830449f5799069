"""Which server the fleet's keys are on: one that is named, or one that is found and may change.

`cluster` and `sentinel` are the finders of the latter.
"""

import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from lingua_scheduler.store.connection import Address, Reply, open_connection
from lingua_scheduler.store.errors import StoreError

T = TypeVar("T")

ASK_MS = 500
"""How long one server may take to say where the keys are; then the next is asked."""
KNOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Redis URL, taken apart."""

    address: Address
    greeting: tuple[tuple[str, ...], ...]


class Finder(Protocol):
    """Finds the one server that a client talks to. `str` of it is fit to be shown."""

    @property
    def may_move(self) -> bool:
        """Whether another server may come to hold the keys: a client then follows what it is told."""
        ...

    async def find(self) -> Endpoint:
        """Asked at each connect. Raises StoreError, surely without effect."""
        ...

    def moved(self, address: Address) -> None:
        """A server said where the keys are now."""
        ...


class OneServer:
    """The server at a URL, for good."""

    may_move = False

    def __init__(self, url: str) -> None:
        """Raises ValueError where `url` is none."""
        self._endpoint = parse_url(url)
        self._shown = without_password(url)

    def __str__(self) -> str:
        return self._shown

    async def find(self) -> Endpoint:
        return self._endpoint

    def moved(self, address: Address) -> None:
        raise AssertionError(f"{self} does not move (to {address})")


class Rota:
    """Servers of which any can answer. Each question starts with the one after whoever was asked last.

    So a server that is wrong, or swallows every deadline, holds nobody up for longer than a turn.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = deque(endpoints, maxlen=KNOWN_MAX)

    def add(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            if endpoint not in self._endpoints and len(self._endpoints) < KNOWN_MAX:
                self._endpoints.append(endpoint)

    async def ask(self, question: Callable[[Endpoint], Awaitable[T]]) -> T:
        """The first answer. Raises StoreError with what each said."""
        faults: list[str] = []
        for _ in range(len(self._endpoints)):
            endpoint = self._endpoints[0]
            self._endpoints.rotate(-1)
            try:
                return await question(endpoint)
            except StoreError as fault:
                faults.append(str(fault))
        raise StoreError("; ".join(dict.fromkeys(faults)), may_have_happened=False)


async def ask_once(endpoint: Endpoint, *words: str) -> Reply:
    """One question on a connection of its own. Raises StoreError, also for an error reply."""
    connection = await open_connection(endpoint.address, ASK_MS, endpoint.greeting)
    try:
        reply = await connection.send(*words)
    finally:
        connection.close()
    if isinstance(reply, hiredis.ReplyError):
        raise StoreError(f"{endpoint.address}: {reply}", may_have_happened=False)
    return reply


def parse_url(url: str) -> Endpoint:
    """`redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS), `unix:///path[?db=0]`. Raises ValueError."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    greeting: list[tuple[str, ...]] = []
    if parts.password:
        user = (unquote(parts.username),) if parts.username else ()
        greeting.append(("AUTH", *user, unquote(parts.password)))
    if parts.scheme == "unix":
        address, db = Address(path=unquote(parts.path)), query.get("db", ["0"])[0]
    elif parts.scheme in {"redis", "rediss"}:
        tls = ssl.create_default_context() if parts.scheme == "rediss" else None
        address = Address(host=parts.hostname or "localhost", port=parts.port or 6379, tls=tls)
        db = parts.path.strip("/") or query.get("db", ["0"])[0]
    else:
        raise ValueError(f"not a Redis URL (redis://, rediss:// or unix://): {without_password(url)}")
    if not db.isdecimal():
        raise ValueError(f"the database of a Redis URL is a number: {without_password(url)}")
    if db != "0":
        greeting.append(("SELECT", db))
    return Endpoint(address, tuple(greeting))


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":…@", 1) if parts.password else url


def shown(urls: Sequence[str]) -> str:
    """Several of them."""
    return ", ".join(without_password(url) for url in urls)
