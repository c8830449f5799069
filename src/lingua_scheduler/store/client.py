"""The seam between the store and Redis: commands and scripts with a deadline, over one connection that mends itself.

All callers of a process share one pipelining connection (`connection`), so ten concurrent scripts cost one write. A
blocking read would hold up everybody behind it: those take a client of their own. Where Redis is away, each call tries
to connect, one at a time, and fails within its deadline; the first call after Redis is back succeeds.
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

from lingua_scheduler.store.connection import Address, RedisConnection, Reply, open_connection
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import Keys

_REFUSED = (
    "NOSCRIPT", "LOADING", "OOM", "READONLY", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOAUTH", "WRONGPASS",
    "NOPERM", "BUSY", "MOVED", "ASK", "WRONGTYPE", "NOREPLICAS",
)  # fmt: skip
"""Error replies to a command that Redis did not begin. A script is begun before it meets most of them, but ours check
before they write; only OOM may come late, and Redis lets a script that has written write on."""

PIPELINE_MAX = 1000
_SCRIPTS = resources.files("lingua_scheduler.store") / "scripts"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Redis URL, taken apart."""

    address: Address
    greeting: tuple[tuple[str, ...], ...]


class Script:
    """`scripts/{name}.lua`, after the text of every `lib/` file that it, or one of those, names in a `-- uses:` line.

    The files are read when the script is first run.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def text(self) -> str:
        """What Redis is given."""
        parts: dict[str, str] = {}
        _collect(self._body, parts)
        return "\n".join([*parts.values(), *_later(self._body, parts), self._body])

    @cached_property
    def sha(self) -> str:
        """By which Redis knows it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def argument_names(self) -> tuple[str, ...]:
        """As its header lists them."""
        lines = [line.removeprefix("-- ARGV:") for line in self._body.splitlines() if line.startswith("-- ARGV:")]
        return tuple(" ".join(lines).split())

    @cached_property
    def _body(self) -> str:
        return (_SCRIPTS / f"{self.name}.lua").read_text("utf-8")


def _collect(text: str, parts: dict[str, str]) -> None:
    """Add to `parts` what `text` uses, each after what it uses itself."""
    for line in text.splitlines():
        for used in line.removeprefix("-- uses: ").split(", ") if line.startswith("-- uses: ") else ():
            if used not in parts:
                library = (_SCRIPTS / "lib" / f"{used}.lua").read_text("utf-8")
                _collect(library, parts)
                parts[used] = library


def _later(body: str, parts: dict[str, str]) -> Iterator[str]:
    """What `body` names in `-- later:` lines, inside a function `later` that returns a table of it.

    Making a Lua function costs a quarter of a microsecond at each run of a script: rare paths make theirs when needed.
    """
    names = [name for line in body.splitlines() if line.startswith("-- later: ") for name in line[10:].split(", ")]
    if names:
        added = dict(parts)
        _collect(f"-- uses: {', '.join(names)}", added)
        rare = [text for name, text in added.items() if name not in parts]
        yield "\n".join(
            ["local function later()", *rare, "return {", *(f"  {name} = {name}," for name in names), "}", "end"]
        )


class ScriptRunner:
    """Runs the scripts of one store: each gets the key areas as KEYS and the time as its first argument.

    The time is empty in production, where scripts ask the server. Tests and simulations state one through `now_ms`.
    """

    def __init__(self, client: "RedisClient", keys: Keys, now_ms: Callable[[], int] | None = None) -> None:
        self.client = client
        self.keys = keys
        self._now_ms = now_ms
        self._areas = (keys.v1, keys.session_area, keys.presence_area)

    async def __call__(self, script: Script, *arguments: str | int) -> list[Reply]:
        """The script's reply, an array whose first item is a word. Raises StoreError."""
        return await self._on(self._areas, script, arguments)

    async def on_keys(self, script: Script, keys: Sequence[str], *arguments: str | int) -> list[Reply]:
        """The same for a script that is about certain keys."""
        return await self._on(keys, script, arguments)

    async def _on(self, keys: Sequence[str], script: Script, arguments: Sequence[str | int]) -> list[Reply]:
        names = script.argument_names
        fits = len(arguments) + 1 == len(names) or (names[-1] == "..." and len(arguments) + 2 >= len(names))
        assert fits, f"{script.name} takes {names}"
        now = "" if self._now_ms is None else self._now_ms()
        return cast("list[Reply]", await self.client.run(script, keys, (now, *arguments)))


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


class RedisClient:
    """Commands and scripts. `async with RedisClient.open(url) as client: await client.call("PING")`."""

    def __init__(self, endpoint: Endpoint, timeout_ms: int, *, is_binary: bool = False) -> None:
        self._endpoint = endpoint
        self._timeout_ms = timeout_ms
        self._is_binary = is_binary
        self._connection: RedisConnection | None = None
        self._connecting = asyncio.Lock()

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(url: str, *, timeout_ms: int = 2000, is_binary: bool = False) -> "AsyncGenerator[RedisClient]":
        """A client whose calls each end within `timeout_ms` (twice that where one has to connect first).

        `is_binary`: strings in replies are bytes. Raises ValueError where `url` is none; whether Redis is there shows
        with the first call.
        """
        client = RedisClient(parse_url(url), timeout_ms, is_binary=is_binary)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def call(self, *words: str | bytes | int) -> Reply:
        """One command. Raises StoreError for an error reply, a lost connection or a missed deadline."""
        return _checked(await (await self._connected()).send(*words))

    async def pipeline(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Reply]:
        """Commands that leave together and are answered together, a thousand at a time; the first error is raised."""
        replies: list[Reply] = []
        for start in range(0, len(commands), PIPELINE_MAX):
            connection = await self._connected()
            sent = [connection.send(*words) for words in commands[start : start + PIPELINE_MAX]]
            replies += await asyncio.gather(*sent)
        return [_checked(reply) for reply in replies]

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Reply:
        """A script by its hash; Redis is given the text where it does not know it (yet, or any more)."""
        words = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        reply = await (await self._connected()).send(*words)
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
            await self.call("SCRIPT", "LOAD", script.text)
            return await self.call(*words)
        return _checked(reply)

    async def _connected(self) -> RedisConnection:
        if (connection := self._connection) is not None and not connection.is_closed:
            return connection
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                async with self._connecting:
                    if self._connection is None or self._connection.is_closed:
                        self._connection = await open_connection(
                            self._endpoint.address,
                            self._timeout_ms,
                            self._endpoint.greeting,
                            is_binary=self._is_binary,
                        )
                    return self._connection
        except TimeoutError:
            raise StoreError(f"no connection to Redis within {self._timeout_ms} ms", may_have_happened=False) from None


def _checked(reply: Reply) -> Reply:
    if isinstance(reply, hiredis.ReplyError):
        message = str(reply)
        raise StoreError(f"Redis: {message}", may_have_happened=not message.startswith(_REFUSED))
    return reply
