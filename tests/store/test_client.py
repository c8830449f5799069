"""Commands end within their deadline, say whether they may have happened, and work again when Redis is back."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lingua_scheduler.store import connection
from lingua_scheduler.store.client import RedisClient, Script
from lingua_scheduler.store.connection import Address
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.servers import parse_url, without_password
from tests.support.waiting import wait_until

SOON_MS = 60
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(path: Path, handle: Handler) -> AsyncGenerator[str]:
    """Something at the other end that is not a Redis in good health."""
    writers: list[asyncio.StreamWriter] = []

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await handle(reader, writer)

    async with await asyncio.start_unix_server(tracked, path):
        yield f"unix://{path}"
        for writer in writers:
            writer.close()
    await asyncio.to_thread(path.unlink, missing_ok=True)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.close()


async def pongs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"PING\r\n"):
        writer.write(b"+PONG\r\n")


@pytest.mark.parametrize(
    ("url", "address", "greeting"),
    [
        ("redis://h", Address(host="h"), ()),
        ("redis://h:7/2", Address(host="h", port=7), (("SELECT", "2"),)),
        ("redis://:p%40s@h", Address(host="h"), (("AUTH", "p@s"),)),
        ("redis://u:p@h", Address(host="h"), (("AUTH", "u", "p"),)),
        ("unix:///run/r.sock", Address(path="/run/r.sock"), ()),
        ("unix:///run/r.sock?db=1", Address(path="/run/r.sock"), (("SELECT", "1"),)),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address, greeting: tuple[tuple[str, ...], ...]):
    endpoint = parse_url(url)
    assert (endpoint.address, endpoint.greeting) == (address, greeting)


def test_rediss_means_tls():
    assert parse_url("rediss://h").address.tls is not None


@pytest.mark.parametrize("url", ["http://h", "h:6379", "", "redis://h/zero", "redis://h:port"])
def test_a_wrong_url_is_refused(url: str):
    with pytest.raises(ValueError):  # noqa: PT011 - two wordings: ours and the URL parser's
        parse_url(url)


def test_a_password_is_not_shown():
    assert without_password("redis://u:secret@h/1") == "redis://u:…@h/1"
    assert without_password("redis://h") == "redis://h"


async def test_replies_come_as_values(redis_urls: str):
    async with RedisClient.open(redis_urls) as client:
        assert await client.call("SET", "k", b"\xff\x00", "PX", 1000) == "OK"
        got = await client.call("GET", "k")
        assert isinstance(got, str)
        assert got.encode("utf-8", "surrogateescape") == b"\xff\x00"
        assert await client.pipeline([("GET", "no"), ("INCR", "n"), ("LRANGE", "no", 0, -1)]) == [None, 1, []]


async def test_an_error_reply_is_a_store_error(redis_url: str):
    async with RedisClient.open(redis_url) as client:
        await client.call("SET", "k", "v")
        with pytest.raises(StoreError, match="WRONGTYPE") as caught:
            await client.call("HGET", "k", "f")
        assert not caught.value.may_have_happened
        with pytest.raises(StoreError) as caught:
            await client.call("EVAL", "redis.call('SET', 'x', 1) error('late')", 0)
        assert caught.value.may_have_happened
        with pytest.raises(StoreError):
            await client.pipeline([("PING",), ("HGET", "k", "f")])
        assert await client.call("PING") == "PONG"


async def test_concurrent_calls_get_their_own_replies(redis_url: str):
    async with RedisClient.open(redis_url) as client:
        replies = await asyncio.gather(*(client.call("ECHO", str(number)) for number in range(500)))
        assert replies == [str(number) for number in range(500)]


async def test_a_caller_that_gives_up_leaves_the_others_their_replies(redis_url: str):
    async with RedisClient.open(redis_url) as client:
        await client.call("PING")
        async with asyncio.TaskGroup() as group:
            given_up = group.create_task(client.call("ECHO", "1"))
            kept = group.create_task(client.call("ECHO", "2"))
            await asyncio.sleep(0)
            given_up.cancel()
        assert await kept == "2"
        assert await client.call("ECHO", "3") == "3"


async def test_a_script_that_redis_forgot_is_given_again(redis_url: str):
    script = Script("renew_owner")
    async with RedisClient.open(redis_url) as client:
        words = (script, ["key"], ["", "me", 1, 1000])
        assert await client.run(*words) == ["LOST", ""]
        await client.call("SCRIPT", "FLUSH")
        assert await client.run(*words) == ["LOST", ""]


async def test_a_silent_server_costs_no_more_than_the_deadline(tmp_path: Path):
    async with server(tmp_path / "s", silent) as url, RedisClient.open(url, timeout_ms=SOON_MS) as client:
        calls = await asyncio.gather(*(client.call("PING") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(fault, StoreError) and fault.may_have_happened for fault in calls)


async def test_a_server_that_accepts_nothing_costs_no_more_than_the_deadline():
    async with RedisClient.open("redis://192.0.2.1", timeout_ms=SOON_MS) as client:  # a network that leads nowhere
        calls = await asyncio.gather(*(client.call("PING") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(fault, StoreError) and not fault.may_have_happened for fault in calls)


async def test_a_lost_connection_leaves_it_open_what_happened(tmp_path: Path):
    async with server(tmp_path / "s", hangs_up) as url, RedisClient.open(url) as client:
        with pytest.raises(StoreError, match="closed by the server") as caught:
            await client.call("PING")
        assert caught.value.may_have_happened


async def test_nothing_there_means_nothing_happened(tmp_path: Path):
    async with RedisClient.open(f"unix://{tmp_path}/none") as client:
        with pytest.raises(StoreError, match="cannot reach Redis") as caught:
            await client.call("PING")
        assert not caught.value.may_have_happened


async def test_what_never_left_did_not_happen(redis_url: str):
    async with RedisClient.open(redis_url) as client:
        await client.call("PING")
        assert client._connection
        reply = client._connection.send("PING")
        client.close()
        with pytest.raises(StoreError) as caught:
            await reply
        assert not caught.value.may_have_happened


async def test_rubbish_ends_the_connection(tmp_path: Path):
    async def rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n")

    async with server(tmp_path / "s", rubbish) as url, RedisClient.open(url) as client:
        with pytest.raises(StoreError, match="broken reply"):
            await client.call("PING")


async def test_a_reply_that_nobody_asked_for_ends_the_connection(tmp_path: Path):
    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+PONG\r\n+PONG\r\n")
        await reader.read(100)

    async with server(tmp_path / "s", eager) as url, RedisClient.open(url) as client:
        await client.call("PING")
        answered = client._connection
        assert answered
        await wait_until(lambda: answered.is_closed, "the connection to be given up")


async def test_it_recovers_by_itself(tmp_path: Path):
    path = tmp_path / "s"
    told: list[str] = []
    async with RedisClient.open(f"unix://{path}", timeout_ms=1000) as client:
        client.broken = told.append
        for _ in range(2):
            async with server(path, pongs):
                assert await client.call("PING") == "PONG"
            connected = client._connection
            assert connected
            await wait_until(lambda ended=connected: ended.is_closed, "the connection's end to be noticed")
            with pytest.raises(StoreError):
                await client.call("PING")
    assert told == ["connection closed by the server"] * 2, "each break once, though no command was under way"


async def test_many_callers_connect_once(tmp_path: Path):
    connections = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await pongs(reader, writer)

    async with server(tmp_path / "s", counted) as url, RedisClient.open(url) as client:
        await asyncio.gather(*(client.call("PING") for _ in range(50)))
    assert connections == 1


async def test_too_many_commands_in_flight_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "IN_FLIGHT_MAX", 3)
    async with server(tmp_path / "s", silent) as url, RedisClient.open(url, timeout_ms=SOON_MS) as client:
        calls = await asyncio.gather(*(client.call("PING") for _ in range(5)), return_exceptions=True)
        refused = [fault for fault in calls if isinstance(fault, StoreError) and not fault.may_have_happened]
        assert len(refused) == 2


async def test_a_wrong_password_is_told():
    async with EmbeddedRedis.start() as redis:
        async with RedisClient.open(redis.url) as client:
            await client.call("CONFIG", "SET", "requirepass", "right")
        path = redis.url.removeprefix("unix://")
        with pytest.raises(StoreError, match="refused the connection: WRONGPASS"):
            async with RedisClient.open(f"unix://:wrong@{path}") as client:
                await client.call("PING")
        async with RedisClient.open(f"unix://:right@{path}?db=3") as client:
            assert "db=3" in str(await client.call("CLIENT", "INFO"))
