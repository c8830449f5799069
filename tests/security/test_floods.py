"""Who says too much, too often, too slowly or too large is held up or shown out, and nobody else notices."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientSession, WSServerHandshakeError

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.runtime import memory
from lingua_scheduler.runtime.config import Config, LimitsConfig, TenantConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.scheduler.limits import of_whom
from lingua_scheduler.scheduler.shedding import shed
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.scheduler.conftest import QUICK, changed
from tests.support.peers import ClientPeer, Peers, registration
from tests.support.waiting import wait_until
from tests.tidy import sources

TRY_AGAIN_LATER = 1013
TOO_BIG = 1009
UPGRADE = (
    b"GET /ws/session HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=["own", "aiohttp"], autouse=True)
def config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Whoever serves the WebSockets, the limits are the same."""
    config = changed(QUICK, "server", websocket=request.param)
    monkeypatch.setitem(globals(), "QUICK", config)
    return config


@asynccontextmanager
async def limited(redis: EmbeddedRedis, **limits: Any) -> AsyncGenerator[Scheduler]:
    async with Scheduler.start(limits_of(**limits), redis.url) as running:
        yield running


def limits_of(**limits: Any) -> Config:
    return changed(QUICK, "limits", **limits)


async def dial(scheduler: Scheduler) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = scheduler.url.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def is_served(peers: Peers) -> None:
    """Others go on."""
    await (await peers.client()).open()


# ------------------------------------------------------------------------------------------- the handshake


@pytest.mark.parametrize("said", [b"", b"GET / HT", UPGRADE], ids=["nothing", "half a line", "a header without end"])
async def test_a_header_that_does_not_end_is_cut_off(redis: EmbeddedRedis, said: bytes):
    async with limited(redis, header_ms=1) as scheduler, Peers.of(scheduler.url) as peers:
        reader, writer = await dial(scheduler)
        writer.write(said)
        async with asyncio.timeout(15):
            assert await reader.read() == b""
        writer.close()
        await is_served(peers)


async def test_a_header_in_time_is_not_cut_off(redis: EmbeddedRedis):
    """Sweeps go over a connection that was heard, and leave it alone."""
    async with limited(redis, header_ms=1) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        reader, writer = await dial(scheduler)
        async with asyncio.timeout(15):
            assert await reader.read() == b"", "the sweep has been here"
        writer.close()
        await client.open()


async def test_a_header_that_is_too_large_is_refused(scheduler: Scheduler):
    for said in (
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
    ):
        reader, writer = await dial(scheduler)
        writer.write(said)
        async with asyncio.timeout(15):
            assert (await reader.readline()).startswith(b"HTTP/1.0 400"), said[:20]
        writer.close()


SMUGGLED = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello",
    "a folded line": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b: c\r\n\r\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n",
    "a zero byte": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
}


@pytest.mark.parametrize("said", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_headers_that_proxies_read_otherwise_are_refused(scheduler: Scheduler, said: bytes):
    reader, writer = await dial(scheduler)
    writer.write(said)
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.0 400"), answer[:80]
    assert answer.count(b"HTTP/1.") == 1, "one request, one answer, and the connection ends"


async def test_there_are_no_more_connections_than_may_be(redis: EmbeddedRedis):
    async with limited(redis, connections=2) as scheduler, Peers.of(scheduler.url) as peers:
        first = await peers.client()
        second = await peers.client()
        reader, writer = await dial(scheduler)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(15):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        await first.open()
        await second.open()


async def is_let_in(scheduler: Scheduler) -> bool:
    reader, writer = await dial(scheduler)
    writer.write(HEALTH)
    try:
        async with asyncio.timeout(15):
            return b" 200 " in await reader.readline()
    except ConnectionError:
        return False
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", UPGRADE + b"\r\n"],
    ids=["nothing", "page", "socket"],
)
async def test_an_address_has_no_more_tcp_connections_than_it_may(redis: EmbeddedRedis, said: bytes):
    """Story: one address held all of an instance's connections by asking for a page on each, now and then."""
    async with limited(redis, tcp_connections_per_address=2, loopback_is_limited=True) as scheduler:
        held = [await dial(scheduler), await dial(scheduler)]
        async with asyncio.timeout(15):
            for reader, writer in held:
                writer.write(said)
                if said:
                    await reader.readuntil(b"\r\n\r\n")
        assert not await is_let_in(scheduler)
        for _, writer in held:
            writer.transport.abort()
        async with asyncio.timeout(15):
            while not await is_let_in(scheduler):
                pass


async def test_an_address_connects_no_more_often_than_it_may(redis: EmbeddedRedis):
    limits = {"connects_per_minute_per_address": 4, "loopback_is_limited": True}
    async with limited(redis, **limits) as scheduler, ClientSession() as http:
        for path in ("/ws/session", "/ws/node"):
            async with http.ws_connect(f"{scheduler.url}{path}"):
                pass
        for path in ("/ws/session", "/ws/node"):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await http.ws_connect(f"{scheduler.url}{path}")
            assert refusal.value.status == 429
            assert 1 <= int((refusal.value.headers or {})["Retry-After"]) <= 60


async def test_an_address_has_no_more_connections_than_it_may(redis: EmbeddedRedis):
    limits = {"connections_per_address": 1, "loopback_is_limited": True}
    async with limited(redis, **limits) as scheduler, ClientSession() as http:
        url = f"{scheduler.url}/ws/session"
        async with http.ws_connect(url):
            with pytest.raises(WSServerHandshakeError) as refusal:
                await http.ws_connect(url)
            assert refusal.value.status == 429
        async with http.ws_connect(url) as ws:
            await ClientPeer(ws).open()


async def test_an_address_asks_no_more_often_than_it_may(redis: EmbeddedRedis):
    """Each question that brings a forged token costs half a millisecond."""
    limits = {"requests_per_minute_per_address": 6, "loopback_is_limited": True}
    async with limited(redis, **limits) as scheduler, ClientSession() as http:
        answers: list[int] = []
        for path in ("/health", "/", "/api/v1/stats", "/static/nothing"):
            async with http.get(f"{scheduler.url}{path}") as response:
                answers.append(response.status)
        assert answers == [200, 200, 200, 429]


def test_whoever_has_a_network_is_one():
    """Of IPv6 everybody has a network, and had as many limits as addresses in it."""
    assert of_whom("2001:db8:1:2:3::4") == of_whom("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert of_whom("2001:db8:1:3::4") != of_whom("2001:db8:1:2::4")
    assert of_whom("::ffff:192.0.2.1") == of_whom("192.0.2.1") == "192.0.2.1"
    assert [of_whom(one) for one in ("::1", "127.0.0.1", "", "x")] == ["::1", "127.0.0.1", "", "x"]
    assert of_whom("fe80::1%eth0") == "fe80::/64"


async def test_who_connects_and_opens_nothing_is_shown_out(redis: EmbeddedRedis):
    async with limited(redis, silence_ms=300) as scheduler, Peers.of(scheduler.url) as peers:
        silent, ended, speaking = await peers.client(), await peers.client(), await peers.client()
        await speaking.open()
        await ended.open()
        await ended.send(wire.SessionClose(session_id=ended.session_id, reason="done"))
        assert await silent.wait_closed() == TRY_AGAIN_LATER
        assert await ended.wait_closed() == TRY_AGAIN_LATER
        await speaking.send(wire.ClientHeartbeat(session_id=speaking.session_id, timestamp=1))
        await speaking.wait_for(wire.ServerHeartbeat)


# ------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("path", ["/ws/session", "/ws/node"])
@pytest.mark.parametrize("claimed", [1 << 62, 17 << 20])
async def test_a_frame_that_is_too_large_is_refused_at_its_header(scheduler: Scheduler, path: str, claimed: int):
    """Nothing of it has to arrive."""
    reader, writer = await dial(scheduler)
    writer.write(UPGRADE.replace(b"/ws/session", path.encode()) + b"\r\n")
    async with asyncio.timeout(15):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x82\xff" + struct.pack(">Q", claimed) + b"mask")
        head = await reader.readexactly(4)
    writer.close()
    assert head[0] == 0x88
    assert struct.unpack(">H", head[2:])[0] == TOO_BIG


async def test_fragments_are_one_message(scheduler: Scheduler):
    reader, writer = await dial(scheduler)
    writer.write(UPGRADE + b"\r\n")
    part = bytes(60_000)
    async with asyncio.timeout(15):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x02\xfe" + struct.pack(">H", len(part)) + bytes(4) + part)
        for _ in range(18):
            writer.write(b"\x00\xfe" + struct.pack(">H", len(part)) + bytes(4) + part)
        head = await reader.readexactly(4)
    writer.close()
    assert struct.unpack(">H", head[2:])[0] == TOO_BIG


async def test_the_size_of_a_clients_frame_is_configured(redis: EmbeddedRedis):
    config = changed(QUICK, "security", max_frame_bytes=10_000)
    async with Scheduler.start(config, redis.url) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        await client.ws.send_str("x" * 10_001)
        assert await client.wait_closed() == TOO_BIG


async def test_a_compressed_frame_is_a_fault(scheduler: Scheduler):
    """Compression is not negotiated, so nothing small unfolds: a frame that says it is compressed ends the socket."""
    reader, writer = await dial(scheduler)
    writer.write(UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    async with asyncio.timeout(15):
        assert b"deflate" not in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\xc2\x84" + bytes(4) + b"bomb")
        assert (await reader.readexactly(4))[0] == 0x88
    writer.close()


async def test_a_flood_of_frames_is_read_no_faster_than_it_may_come(redis: EmbeddedRedis):
    """Not lost: held up. What is waiting does not lie in this process but with the sender."""
    async with limited(redis, frames_per_second=50) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        await client.open()
        began_ms = scheduler.context.clock.now_ms()
        for stamp in range(150):
            await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=stamp))
        await client.wait_for(wire.ServerHeartbeat, lambda beat: beat.timestamp == 149)
        assert scheduler.context.clock.now_ms() - began_ms >= 900, "100 at once, then one each 20 ms"


async def test_frames_that_say_nothing_are_read_no_faster_than_others(redis: EmbeddedRedis, config: Config):
    """Story: pings and empty parts of messages counted nowhere, and a flood of them slowed everybody else down."""
    silent = [[b"\x89\x80"] * 150, [b"\x8a\x80"] * 150]
    if config.server.websocket == "own":  # aiohttp tells nobody of them
        silent.append([b"\x02\x80", *[b"\x00\x80"] * 149])
    async with limited(redis, frames_per_second=50, node_frames_per_second=50) as scheduler:

        async def flood(path: bytes, frames: list[bytes]) -> int:
            """Milliseconds until a ping behind them was answered."""
            reader, writer = await dial(scheduler)
            writer.write(UPGRADE.replace(b"/ws/session", path) + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            began_ms = scheduler.context.clock.now_ms()
            writer.write(b"".join(one + bytes(4) for one in [*frames, b"\x89\x84"]) + b"last")
            await reader.readuntil(b"\x8a\x04last")
            writer.close()
            return scheduler.context.clock.now_ms() - began_ms

        async with asyncio.timeout(30):
            took_ms = await asyncio.gather(
                *(flood(path, one) for path in (b"/ws/session", b"/ws/node") for one in silent)
            )
        assert min(took_ms) >= 900, f"100 at once, then one each 20 ms: {took_ms}"


async def test_who_is_refused_all_the_time_is_shown_out(redis: EmbeddedRedis):
    async with limited(redis, refusals_per_minute=20) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        for _ in range(30):
            await client.ws.send_str("{}")
        assert await client.wait_closed() == TRY_AGAIN_LATER
        assert 10 <= len(client.received) <= 12
        await is_served(peers)


async def test_rooms_are_asked_for_no_more_often_than_they_may(redis: EmbeddedRedis):
    async with limited(redis, room_requests_per_minute=4) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        await client.open()
        for _ in range(3):
            await client.send(wire.RoomLeave(room_code="123456"))
        error = await client.wait_for(wire.ErrorMessage)
        assert error.code is ErrorCode.RATE_LIMITED
        assert 1 <= (error.details or {})["retry_after_ms"] <= 15_001


async def test_a_node_registers_no_more_often_than_it_may(redis: EmbeddedRedis):
    async with limited(redis, registrations_per_minute=4) as scheduler, Peers.of(scheduler.url) as peers:
        node = await peers.node()
        for _ in range(3):
            await node.send(registration("n1"))
        error = await node.wait_for(wire.ErrorMessage)
        assert error.code is ErrorCode.RATE_LIMITED
        assert await node.wait_closed() == TRY_AGAIN_LATER


async def test_sessions_are_opened_no_more_often_than_they_may(redis: EmbeddedRedis):
    """One connection opened and closed three hundred a second, each with its round trips, checks and log lines."""
    async with limited(redis, opens_per_minute=4) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        for _ in range(2):
            await client.open()
            await client.send(wire.SessionClose(session_id=client.session_id, reason="done"))
            await client.wait_for(wire.SessionCloseAck)
        await assert_no_session(client)
        await client.send(wire.SessionResume(session_id="s", resume_token="t", last_result_seq=0))
        assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.RATE_LIMITED
        await is_served(peers)


async def test_who_says_much_without_speech_is_refused(scheduler: Scheduler, peers: Peers):
    """A dialect of a megabyte was kept in Redis, and sent to a node with each utterance."""
    client = await peers.client()
    long = wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt", dialect="d" * 70_000)
    await client.send(long)
    assert "without speech" in (await client.wait_for(wire.ErrorMessage)).message
    await client.open()
    await client.chunk(codec.encode_audio(bytes(100_000)), is_final=False)
    await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=1))
    await client.wait_for(wire.ServerHeartbeat)
    assert not [one for one in client.received if isinstance(one, wire.ErrorMessage)][1:]


async def test_a_node_says_no_more_than_anybody_needs(scheduler: Scheduler, peers: Peers):
    """Forty frames of a node made two hundred megabytes of log; its registration of twelve was kept."""
    node = await peers.node()
    await node.send(registration("n1", platform="p" * 300_000))
    assert "without a result" in (await node.wait_for(wire.ErrorMessage)).message
    await node.register("n1")
    await node.send(node_wire.NodeError(node_id="n1", code="c" * 300_000, message=""))
    assert "without a result" in (await node.wait_for(wire.ErrorMessage)).message
    for bad in ("j" * 1000, "j\n", ""):
        await node.send(node_wire.JobAck(job_id=bad, attempt_id=1, node_id="n1", session_id="s", trace_id="t"))
        assert "job_id" in (await node.wait_for(wire.ErrorMessage)).message


async def test_a_node_that_is_refused_all_the_time_is_shown_out(redis: EmbeddedRedis):
    async with limited(redis, refusals_per_minute=20) as scheduler, Peers.of(scheduler.url) as peers:
        node, other = await peers.node(), await peers.node()
        await node.register("n1")
        for _ in range(30):
            await node.ws.send_str("{}")
        assert await node.wait_closed() == TRY_AGAIN_LATER
        await other.register("n2")


async def test_a_flood_of_a_nodes_frames_is_read_no_faster_than_it_may(redis: EmbeddedRedis):
    async with limited(redis, node_frames_per_second=50) as scheduler, Peers.of(scheduler.url) as peers:
        node = await peers.node()
        await node.register("n1")
        began_ms = scheduler.context.clock.now_ms()
        for _ in range(150):
            await node.heartbeat()
        await node.send(registration("n1", zone="told-last"))
        await node.wait_for(node_wire.NodeRegisterAck, lambda ack: ack is not node.received[0])
        assert scheduler.context.clock.now_ms() - began_ms >= 900, "100 at once, then one each 20 ms"


# ------------------------------------------------------------------------------------------- the instance


async def assert_no_session(client: ClientPeer) -> None:
    await client.send(wire.SessionInit(client_version="t", platform="t", src_lang="en", tgt_lang="pt"))
    error = await client.wait_for(wire.ErrorMessage)
    assert error.code is ErrorCode.RATE_LIMITED
    assert (error.details or {})["retry_after_ms"] > 0


async def test_an_instance_has_no_more_sessions_than_it_may(redis: EmbeddedRedis):
    async with limited(redis, sessions=1) as scheduler, Peers.of(scheduler.url) as peers:
        client = await peers.client()
        await client.open()
        await assert_no_session(await peers.client())
        await client.send(wire.SessionClose(session_id=client.session_id, reason="done"))
        await client.wait_for(wire.SessionCloseAck)
        await is_served(peers)


async def test_without_memory_there_are_no_new_sessions_and_the_old_go_on(redis: EmbeddedRedis):
    async with limited(redis, memory_mib=1) as scheduler, Peers.of(scheduler.url) as peers, ClientSession() as http:
        client = await peers.client()
        await client.open()
        scheduler.context.limits.look_at_memory()
        await assert_no_session(await peers.client())
        await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=1))
        await client.wait_for(wire.ServerHeartbeat)
        async with http.get(f"{scheduler.url}/ready") as response:
            assert response.status == 503
            assert "no memory for new sessions" in (await response.json())["reasons"]


async def test_before_memory_is_exhausted_those_who_keep_most_have_to_go(redis: EmbeddedRedis):
    """Open sessions went on growing, each up to its bounds, until the system ended the process with all of them."""
    async with limited(redis) as scheduler, Peers.of(scheduler.url) as peers:
        heavy, slight, node = await peers.client(), await peers.client(), await peers.node()
        await node.register()  # which answers nothing: the audio is kept
        await heavy.open()
        await slight.open()
        await heavy.chunk(codec.encode_audio(bytes(300_000)), is_final=False)
        await slight.chunk(codec.encode_audio(bytes(3000)), is_final=False)
        await wait_until(lambda: any(one.machine.kept_bytes > 250_000 for one in scheduler.sessions.all()), "the audio")
        shed(scheduler.sessions, scheduler.context.limits)
        assert len(scheduler.sessions) == 2, "there is memory"
        scheduler.context.limits.memory_bytes = 1 << 20
        assert (await heavy.wait_for(wire.ErrorMessage)).code is ErrorCode.RATE_LIMITED
        await heavy.wait_for(wire.SessionCloseAck)
        await slight.send(wire.ClientHeartbeat(session_id=slight.session_id, timestamp=1))
        await slight.wait_for(wire.ServerHeartbeat)
        assert [one.session_id for one in scheduler.sessions.all()] == [slight.session_id]


def test_memory_is_told():
    assert 1 << 20 < memory.used_bytes() < memory.available_bytes()


# ------------------------------------------------------------------------------------------- the page


def test_every_limit_is_documented():
    page = (sources.ROOT / "docs/limits.md").read_text("utf-8")
    named = {f"limits.{name}" for name in LimitsConfig.__struct_fields__} - {"limits.tenant"}
    assert not [key for key in named if f"`{key}`" not in page]
    assert not [name for name in TenantConfig.__struct_fields__ if f"\n{name} = " not in page]
