"""The seam between the store and Redis: commands and scripts with a deadline, over one connection that mends itself.

All callers of a process share one pipelining connection (`connection`), so ten concurrent scripts cost one write. A
blocking read would hold up everybody behind it: those take a client of their own. Where Redis is away, each call tries
to connect, one at a time, and fails within its deadline; the first call after Redis is back succeeds.

Where the keys may come to be on another server (`servers.Finder`), what a server says of that is followed: MOVED and
READONLY by a connection to the new one, ASK once, TRYAGAIN by asking again. Commands that are under way on the
connection that is left are still answered.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import resources
from typing import cast

import hiredis

from lingua_scheduler.store.connection import Address, RedisConnection, Reply, open_connection
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.keys import Keys
from lingua_scheduler.store.servers import Endpoint, Finder, OneServer

_REFUSED = (
    "NOSCRIPT", "LOADING", "OOM", "READONLY", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOAUTH", "WRONGPASS",
    "NOPERM", "BUSY", "MOVED", "ASK", "WRONGTYPE", "NOREPLICAS", "UNBLOCKED",
)  # fmt: skip
"""Error replies to a command that Redis did not begin. A script is begun before it meets most of them, but ours check
before they write; only OOM may come late, and Redis lets a script that has written write on."""

PIPELINE_MAX = 1000
HOPS_MAX = 5
"""Servers that one command is sent on to: a cluster whose nodes disagree would send it round for ever."""
TRY_AGAIN_S = 0.05
Words = Sequence[str | bytes | int]
_SCRIPTS = resources.files("lingua_scheduler.store") / "scripts"


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

    async def __call__(self, script: Script, *arguments: str | bytes | int) -> list[Reply]:
        """The script's reply, an array whose first item is a word. Raises StoreError."""
        return await self._on(self._areas, script, arguments)

    async def on_keys(self, script: Script, keys: Sequence[str], *arguments: str | bytes | int) -> list[Reply]:
        """The same for a script that is about certain keys."""
        return await self._on(keys, script, arguments)

    async def _on(self, keys: Sequence[str], script: Script, arguments: Sequence[str | bytes | int]) -> list[Reply]:
        names = script.argument_names
        fits = len(arguments) + 1 == len(names) or (names[-1] == "..." and len(arguments) + 2 >= len(names))
        assert fits, f"{script.name} takes {names}"
        now = "" if self._now_ms is None else self._now_ms()
        return cast("list[Reply]", await self.client.run(script, keys, (now, *arguments)))


class RedisClient:
    """Commands and scripts. `async with RedisClient.open(url) as client: await client.call("PING")`."""

    def __init__(self, finder: Finder, timeout_ms: int, *, is_binary: bool = False) -> None:
        self._finder = finder
        self._timeout_ms = timeout_ms
        self._is_binary = is_binary
        self._connection: RedisConnection | None = None
        self._connecting = asyncio.Lock()
        self._greeting: tuple[tuple[str, ...], ...] = ()
        self._aside: RedisConnection | None = None
        self.observe: Callable[[float], None] | None = None
        """Hears of each command's seconds, from being handed in to its reply."""
        self.broken: Callable[[str], None] | None = None
        """Told when the connection breaks: at its other end may be another server next, without the last writes."""

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(
        where: str | Finder, *, timeout_ms: int = 2000, is_binary: bool = False
    ) -> "AsyncGenerator[RedisClient]":
        """A client of the server at a URL, or of the one that is found. Each call ends within `timeout_ms`.

        Twice that where one has to connect first. `is_binary`: strings in replies are bytes. Raises ValueError where
        `where` is no URL; whether Redis is there shows with the first call.
        """
        finder = OneServer(where) if isinstance(where, str) else where
        client = RedisClient(finder, timeout_ms, is_binary=is_binary)
        try:
            yield client
        finally:
            client.close()

    @property
    def in_flight(self) -> int:
        """Commands whose reply has not come."""
        return self._connection.in_flight if self._connection is not None else 0

    def close(self) -> None:
        for connection in (self._connection, self._aside):
            if connection is not None:
                connection.close()

    async def call(self, *words: str | bytes | int) -> Reply:
        """One command. Raises StoreError for an error reply, a lost connection or a missed deadline."""
        connection = await self._connected()
        return await self._settled(words, await connection.send(*words), connection)

    async def pipeline(self, commands: Sequence[Words]) -> list[Reply]:
        """Commands that leave together and are answered together, a thousand at a time; the first error is raised."""
        replies: list[Reply] = []
        for start in range(0, len(commands), PIPELINE_MAX):
            part = commands[start : start + PIPELINE_MAX]
            connection = await self._connected()
            answers = await asyncio.gather(*[connection.send(*words) for words in part])
            replies += [
                await self._settled(words, reply, connection) for words, reply in zip(part, answers, strict=True)
            ]
        return replies

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Reply:
        """A script by its hash; Redis is given the text where it does not know it (yet, or any more)."""
        rest = (len(keys), *keys, *arguments)
        by_hash: Words = ("EVALSHA", script.sha, *rest)
        try:
            return await self.call(*by_hash)
        except StoreError as fault:
            if not _is_unknown_script(fault):
                raise
        try:
            return (await self.pipeline([("SCRIPT", "LOAD", script.text), by_hash]))[-1]
        except StoreError as fault:
            if not _is_unknown_script(fault):
                raise
        # While a cluster's slot moves, a hash alone is pointed on to a server that was not given the text.
        return await self.call("EVAL", script.text, *rest)

    async def _connected(self) -> RedisConnection:
        if (connection := self._connection) is not None and not connection.is_closed:
            return connection
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                async with self._connecting:
                    if self._connection is None or self._connection.is_closed:
                        self._connection = await self._open(await self._finder.find())
                        self._connection.broken = self.broken
                    return self._connection
        except TimeoutError:
            raise StoreError(f"no connection to Redis within {self._timeout_ms} ms", may_have_happened=False) from None

    async def _open(self, endpoint: Endpoint) -> RedisConnection:
        self._greeting = endpoint.greeting
        connection = await open_connection(
            endpoint.address, self._timeout_ms, endpoint.greeting, is_binary=self._is_binary
        )
        connection.observe = self.observe
        return connection

    # ------------------------------------------------------------------------------- servers that change

    async def _settled(self, words: Words, reply: Reply, asked: RedisConnection) -> Reply:
        """The reply, from wherever the keys are by now. Raises StoreError for an error that stays one."""
        if isinstance(reply, hiredis.ReplyError):
            if self._finder.may_move:
                reply = await self._follow(words, reply, asked)
            if isinstance(reply, hiredis.ReplyError):
                message = str(reply)
                raise StoreError(f"Redis: {message}", may_have_happened=not message.startswith(_REFUSED))
        return reply

    async def _follow(self, words: Words, reply: Reply, asked: RedisConnection) -> Reply:
        """Go where error replies point to, and say `words` there."""
        give_up_at = asyncio.get_running_loop().time() + self._timeout_ms / 1000
        hops = 0
        while isinstance(reply, hiredis.ReplyError) and hops < HOPS_MAX:
            match str(reply).split(" "):
                case ["MOVED", _, where, *_]:
                    if asked is self._connection:
                        self._finder.moved(_address(where, asked.address))
                    self._leave(asked)
                case ["READONLY" | "UNBLOCKED", *_]:
                    self._leave(asked)
                case ["ASK", _, where, *_]:
                    hops += 1
                    aside = await self._asking(_address(where, asked.address))
                    try:
                        _, reply = await asyncio.gather(aside.send("ASKING"), aside.send(*words))
                    finally:
                        if asked is not self._connection:  # the slot has moved meanwhile: nobody asks aside any more
                            self._leave_aside()
                    continue
                case ["TRYAGAIN", *_] if asyncio.get_running_loop().time() < give_up_at:
                    await asyncio.sleep(TRY_AGAIN_S)
                    hops = 0
                case _:
                    break
            hops += 1
            asked = await self._connected()
            reply = await asked.send(*words)
        return reply

    def _leave(self, connection: RedisConnection) -> None:
        """The next command connects anew; what is under way here is still answered."""
        if connection is self._connection:
            self._connection = None
            self._leave_aside()  # the slot has moved, to there
        connection.retire()

    def _leave_aside(self) -> None:
        if self._aside is not None:
            self._aside.retire()
            self._aside = None

    async def _asking(self, address: Address) -> RedisConnection:
        """A connection for commands that are sent elsewhere while a slot moves."""
        async with self._connecting:
            aside = self._aside
            if aside is None or aside.is_closed or aside.address != address:
                if aside is not None:
                    aside.retire()
                aside = self._aside = await self._open(Endpoint(address, self._greeting))
        return aside


def _address(told: str, asked: Address) -> Address:
    """`host:port` of a redirection; without a host it is the host that was asked."""
    host, _, port = told.rpartition(":")
    return replace(asked, host=host or asked.host, port=int(port))


def _is_unknown_script(fault: StoreError) -> bool:
    return str(fault).startswith("Redis: NOSCRIPT")
