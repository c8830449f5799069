"""The node's connection against a real WebSocket server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from lingua_scheduler.node.link import SPEECH_BYTES_MAX, Link, LinkRefused, LinkSettings, addresses
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import NodeId
from lingua_scheduler.protocol.messages import ErrorMessage
from lingua_scheduler.protocol.node import (
    ActiveJob,
    Hardware,
    JobAck,
    JobAssign,
    JobCancel,
    JobPreview,
    JobResult,
    LanguageCapabilities,
    NodeControl,
    NodeError,
    NodeHeartbeat,
    NodeRegister,
    ResourceUsage,
)
from lingua_scheduler.runtime.config import ConfigError
from lingua_scheduler.runtime.sockets import Pong
from tests.node.harness import FakeScheduler, Peer, admit_all, job, refuse_with
from tests.support import wait_until


class Recorder:
    """An agent that keeps what it was told."""

    def __init__(self) -> None:
        self.got: list[tuple[JobAssign | JobPreview | JobCancel | NodeControl, bytes]] = []
        self.jobs: list[ActiveJob] = []

    def registration(self) -> NodeRegister:
        return NodeRegister(
            version="1",
            platform="test",
            hardware=Hardware(cpu_cores=1, memory_gb=1),
            installed_models=[],
            capability_by_type=[],
            features_supported={},
            accept_public_jobs=True,
            language_capabilities=LanguageCapabilities(
                asr_languages=["en"], semantic_languages=["en"], tts_languages=["pt"]
            ),
            protocol_version="2",
        )

    def heartbeat(self) -> NodeHeartbeat:
        return NodeHeartbeat(node_id="n-1", timestamp=1, resource_usage=ResourceUsage())

    def active_jobs(self) -> list[ActiveJob]:
        return self.jobs

    def registered(self) -> None:
        return

    def receive(self, message: JobAssign | JobPreview | JobCancel | NodeControl, audio: bytes) -> None:
        self.got.append((message, audio))


class Rig:
    def __init__(
        self,
        *urls: str,
        heartbeat_ms: int = 15_000,
        binary: bool = True,
        ping_ms: int = 5000,
        silence_ms: int = 20_000,
    ) -> None:
        self.agent = Recorder()
        self.told: list[str] = []
        settings = LinkSettings(urls, NodeId("n-1"), heartbeat_ms, binary, ping_ms)
        self.link = Link(settings, self.agent, self.told.append)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["asyncio.Task[None]"]:
        task = asyncio.create_task(self.link.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def result(index: int, **fields: object) -> JobResult:
    given: dict[str, object] = {
        "job_id": f"job-{index}",
        "attempt_id": 1,
        "node_id": "n-1",
        "session_id": "s-1",
        "utterance_index": index,
        "success": True,
        "trace_id": "t-1",
        **fields,
    }
    return JobResult(**given)  # pyright: ignore[reportArgumentType]


async def test_registers_then_heartbeats_at_once_and_at_its_interval() -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url, heartbeat_ms=30)
        async with rig.running():
            peer = await scheduler.peer()
            await peer.wait(NodeHeartbeat, nth=3)
            registered = peer.all(NodeRegister)
    assert [one.node_id for one in registered] == ["n-1"]
    assert registered[0].binary_audio is True
    assert registered[0].protocol_version == "2"
    assert rig.told == [f"registered at {scheduler.url} as n-1"]


async def test_answers_pings() -> None:
    async with FakeScheduler() as scheduler, Rig(scheduler.url).running():
        peer = await scheduler.peer()
        for _ in range(3):
            peer.ping()
        await peer.wait_for(lambda: peer.count(Pong) == 3, "three pongs")


@pytest.mark.parametrize("binary", [True, False])
async def test_hands_on_jobs_with_their_audio_in_either_form(binary: bool) -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url, binary=binary)
        async with rig.running():
            peer = await scheduler.peer()
            peer.assign(job(), b"\x01\x02" * 1000)
            peer.cancel("job-0")
            peer.control("drain")
            await wait_until(lambda: len(rig.agent.got) == 3, "three messages")
    (assign, audio), (cancel, _), (control, _) = rig.agent.got
    assert isinstance(assign, JobAssign)
    assert audio == b"\x01\x02" * 1000
    assert isinstance(cancel, JobCancel)
    assert isinstance(control, NodeControl)


async def test_what_cannot_be_understood_is_answered_and_costs_nothing() -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running():
            peer = await scheduler.peer()
            for bad in (b"{", b'{"type":"nonsense"}', b'{"type":"job_cancel"}'):
                peer.socket.send_text_nowait(bad)
            peer.socket.send_binary_nowait(b"\xff\xff\xff\xff")
            peer.cancel("job-7")
            await wait_until(lambda: rig.agent.got, "the message behind them")
            errors = [await peer.wait(NodeError, nth=n) for n in (1, 2, 3, 4)]
    assert {error.code for error in errors} == {"INVALID_MESSAGE"}


async def test_results_made_while_there_is_no_scheduler_are_sent_when_it_is_back() -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running():
            await scheduler.peer()
            await scheduler.stop()
            await wait_until(lambda: not rig.link.is_registered, "the loss")
            rig.agent.jobs = [ActiveJob(job_id="job-9", attempt_id=2)]
            assert not rig.link.send(JobAck(job_id="x", attempt_id=1, node_id="n-1", session_id="s", trace_id="t"))
            rig.link.send_result(result(1), b"abc")
            rig.link.send_result(result(2), b"")
            await scheduler.start()
            peer = await scheduler.peer(2)
            first, second = await peer.result("job-1"), await peer.result("job-2")
            await rig.link.wait_delivered()
            registered = peer.all(NodeRegister)[0]
    assert first.tts_audio == "YWJj"
    assert second.tts_audio in {None, ""}
    assert registered.active_jobs == [
        ActiveJob(job_id="job-9", attempt_id=2),
        ActiveJob(job_id="job-1", attempt_id=1),
        ActiveJob(job_id="job-2", attempt_id=1),
    ]
    assert not peer.all(JobAck), "what speaks of the moment is not kept"
    assert len(rig.told) == 3, rig.told


@pytest.mark.parametrize(("size", "arrives"), [(SPEECH_BYTES_MAX, True), (SPEECH_BYTES_MAX + 1, False)])
@pytest.mark.parametrize("binary", [True, False])
async def test_of_speech_too_long_for_a_message_the_text_arrives(size: int, arrives: bool, binary: bool) -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url, binary=binary)
        async with rig.running():
            peer = await scheduler.peer()
            rig.link.send_result(result(0, text_asr="hello", tts_format="pcm16"), bytes(size))
            got = await peer.wait(JobResult)
    assert got.text_asr == "hello"
    assert bool(got.tts_audio) is arrives
    assert got.tts_format == ("pcm16" if arrives else None)
    assert got.reason_codes == (None if arrives else ["TTS_TOO_LONG"])


async def test_a_result_swallowed_with_its_connection_is_sent_again() -> None:
    """A write into a socket says nothing: the other side may be gone before it reads."""
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running():
            peer = await scheduler.peer()
            peer.http.transport.pause_reading()  # pyright: ignore[reportOptionalMemberAccess]
            rig.link.send_result(result(1), b"abc")
            await scheduler.stop()
            await scheduler.start()
            again = await scheduler.peer(2)
            await again.result("job-1")
            await rig.link.wait_delivered()
    assert not peer.all(JobResult)


async def test_a_result_that_was_read_is_not_repeated() -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running():
            peer = await scheduler.peer()
            rig.link.send_result(result(1), b"abc")
            await rig.link.wait_delivered()
            await scheduler.stop()
            await scheduler.start()
            again = await scheduler.peer(2)
            rig.link.send_result(result(2), b"")
            await again.result("job-2")
    assert peer.count(JobResult) == 1
    assert [one.job_id for one in again.all(JobResult)] == ["job-2"]


async def test_waits_for_a_scheduler_that_is_not_there_yet_and_says_so_once() -> None:
    scheduler = FakeScheduler()
    await scheduler.start()
    await scheduler.stop()
    rig = Rig(scheduler.url)
    async with rig.running():
        await wait_until(lambda: rig.told, "a word about it")
        await scheduler.start()
        await scheduler.peer()
        await wait_until(lambda: len(rig.told) == 2, "the registration")
    await scheduler.stop()
    assert "no scheduler answers" in rig.told[0]
    assert "refused" in rig.told[0].lower()
    assert rig.told[1].startswith("registered at")


async def test_registers_again_under_its_id_when_asked_to() -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running():
            peer = await scheduler.peer()
            peer.send(ErrorMessage(code=ErrorCode.NODE_NOT_REGISTERED, message="expired"))
            peer.socket.close_nowait(4001, "register again")
            again = await scheduler.peer(2)
            await again.wait(NodeHeartbeat)
    assert again.all(NodeRegister)[0].node_id == "n-1"


async def test_a_node_whose_instance_leaves_goes_on_at_the_next() -> None:
    """It knew one address, and waited for an instance that did not come back while others stood idle."""
    async with FakeScheduler() as first, FakeScheduler() as other:
        rig = Rig(first.url, other.url)
        async with rig.running():
            (await first.peer()).socket.close_nowait(1001, "leaves")
            peer = await other.peer()
            await peer.wait(NodeHeartbeat)
    assert peer.all(NodeRegister)[0].node_id == "n-1"
    assert other.url in rig.told[-1]


def _close_with(code: int):
    def close(peer: Peer) -> None:
        peer.socket.close_nowait(code, "")

    return close


@pytest.mark.parametrize(("code", "words"), [(4002, "took over"), (4003, "not allow")])
async def test_stops_where_going_on_is_pointless(code: int, words: str) -> None:
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url)
        async with rig.running() as task:
            _close_with(code)(await scheduler.peer())
            with pytest.raises(LinkRefused, match=words):
                await task


@pytest.mark.parametrize("code", [ErrorCode.UNAUTHORIZED, ErrorCode.INVALID_CAPABILITY_SCHEMA])
async def test_a_refused_registration_ends_it_with_the_reason(code: ErrorCode) -> None:
    async with FakeScheduler() as scheduler:
        scheduler.admit = refuse_with(code, "languages: empty", 4001)
        rig = Rig(scheduler.url)
        async with rig.running() as task:
            with pytest.raises(LinkRefused, match=f"{code}: languages: empty"):
                await task


async def test_a_conflict_may_pass() -> None:
    async with FakeScheduler() as scheduler:
        scheduler.admit = refuse_with(ErrorCode.NODE_ID_CONFLICT, "taken", 4001)
        rig = Rig(scheduler.url)
        async with rig.running():
            await scheduler.peer()
            scheduler.admit = admit_all
            await (await scheduler.peer(2)).wait(NodeHeartbeat)


@pytest.mark.parametrize(("status", "words"), [(401, "credentials"), (403, "forbids"), (404, "no scheduler")])
async def test_a_wrong_address_is_told(status: int, words: str) -> None:
    async with FakeScheduler() as scheduler:
        scheduler.http_status = status
        async with Rig(scheduler.url).running() as task:
            with pytest.raises(LinkRefused, match=words):
                await task


async def test_a_gateway_without_a_scheduler_behind_it_is_waited_for() -> None:
    async with FakeScheduler() as scheduler:
        scheduler.http_status = 502
        rig = Rig(scheduler.url)
        async with rig.running():
            await wait_until(lambda: rig.told, "a word about it")
            scheduler.http_status = None
            await scheduler.peer()
    assert "HTTP 502" in rig.told[0]


@pytest.mark.parametrize(
    "url", ["", "ws://a:1/ws/node,", "localhost:5010", "http://x/ws/node", "ws://", "ws://[::1/ws", "ws://h:99999/x"]
)
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="scheduler's address"):
        addresses(url)


async def test_a_connection_that_fell_silent_is_given_up_for_a_new_one():
    """The peer's process is stopped, or the network swallows everything: no close frame ever comes."""
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url, ping_ms=20)
        async with rig.running():
            peer = await scheduler.peer()
            peer.http.transport.pause_reading()  # pyright: ignore[reportOptionalMemberAccess]
            await (await scheduler.peer(2)).wait(NodeHeartbeat)


async def test_a_quiet_connection_that_answers_pings_is_kept():
    async with FakeScheduler() as scheduler:
        rig = Rig(scheduler.url, heartbeat_ms=50, ping_ms=20)
        async with rig.running():
            peer = await scheduler.peer()
            await peer.wait(NodeHeartbeat, nth=12)
    assert len(scheduler.peers) == 1
