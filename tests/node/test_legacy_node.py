"""The simulated agent of protocol 1 has the habits that schedulers are tested against."""

from lingua_scheduler.protocol.node import JobAck, JobResult, JobStarted, NodeHeartbeat, NodeRegister
from tests.node.harness import FakeScheduler, Peer, job
from tests.support.legacy_node import Habits, LegacyNode

SECOND = b"\0" * 32_000


async def _told(peer: Peer, count: int) -> list[JobResult]:
    await peer.wait(JobResult, nth=count)
    return peer.all(JobResult)


async def test_it_registers_without_protocol_2_and_heartbeats() -> None:
    async with FakeScheduler() as scheduler, LegacyNode(scheduler.url) as node:
        peer = await scheduler.peer()
        heartbeat = await peer.wait(NodeHeartbeat)
        registered = peer.all(NodeRegister)[0]
        given = await node.registered()
    assert (registered.protocol_version, registered.capacity, registered.node_id) == (None, None, None)
    assert heartbeat.node_id == given == "node-given"


async def test_it_answers_without_ack_and_refuses_what_it_has_seen() -> None:
    async with FakeScheduler() as scheduler, LegacyNode(scheduler.url) as node:
        peer = await scheduler.peer()
        await node.registered()
        peer.assign(job(0), SECOND)
        peer.assign(job(0, attempt_id=2), SECOND)
        peer.assign(job(0, job_id="other"), SECOND)
        peer.cancel("job-1")
        peer.assign(job(1), 2 * SECOND)
        results = await _told(peer, 2)
    assert [one.text_asr for one in results] == ["<job-0 1.0s>", "<job-1 2.0s>"]
    assert [one["job_id"] for one in node.refused] == ["job-0", "other"]
    assert not peer.count(JobAck)
    assert not peer.count(JobStarted)


async def test_it_keeps_short_timeout_jobs_and_tails_for_the_next() -> None:
    short = {"is_manual_cut": None, "is_timeout_triggered": True}
    long = {"is_manual_cut": None, "is_max_duration_triggered": True}
    async with FakeScheduler() as scheduler, LegacyNode(scheduler.url, Habits(repeats_empty=True)) as node:
        peer = await scheduler.peer()
        await node.registered()
        peer.assign(job(0, **short), SECOND[:16_000])
        peer.assign(job(1, **long), 10 * SECOND)
        peer.assign(job(2), SECOND)
        results = await _told(peer, 4)
    assert [(one.job_id, one.text_asr) for one in results] == [
        ("job-1", "<job-0 0.5s> <job-1 5.0s>"),
        ("job-1", ""),
        ("job-2", "<tail job-1 5.0s> <job-2 1.0s>"),
        ("job-2", ""),
    ]
    assert results[1].extra == {"reason": "NO_TEXT_ASSIGNED"}


async def test_it_comes_back_under_the_id_it_was_given() -> None:
    async with FakeScheduler() as scheduler, LegacyNode(scheduler.url, Habits(reconnect_s=0.01)) as node:
        await scheduler.peer()
        await node.registered()
        node.cut()
        again = await scheduler.peer(2)
    assert again.all(NodeRegister)[0].node_id == "node-given"


async def test_a_job_waits_for_its_answer_where_a_test_wants_that() -> None:
    async with FakeScheduler() as scheduler, LegacyNode(scheduler.url, Habits(answers=False)) as node:
        peer = await scheduler.peer()
        await node.registered()
        peer.assign(job(0), SECOND)
        peer.assign(job(1), SECOND)
        await node.job(2)
        assert not peer.count(JobResult)
        await node.fail("job-1", "MODEL_NOT_AVAILABLE")
        await node.answer("job-0", text_asr="hello")
        failed, answered = await _told(peer, 2)
    assert failed.error is not None
    assert failed.error.code == "MODEL_NOT_AVAILABLE"
    assert answered.text_asr == "hello"
