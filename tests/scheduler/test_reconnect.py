"""A node whose new connection registers before its old one was taken offline.

Found on real sockets: the job of the old connection, asked for again before the new one's first heartbeat, was queued,
and stayed queued until its wait was over, although the node was idle: it was the only node, and the job excluded it
softly as the one that had failed it.
"""

from lingua_scheduler.core.node.events import Languages, NodeLoad, Registration
from lingua_scheduler.core.placement import Queued, Selected, SelectRequest, Unplaced
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.store.embedded import EmbeddedRedis
from lingua_scheduler.store.store import Store
from tests.support.peers import registration

EN, PT = Language("en"), Language("pt")
NODE, HERE = NodeId("node-a"), InstanceId("i-1")
LANGUAGES = Languages((EN,), (EN,), (PT,))


def registered() -> Registration:
    return Registration(
        node_id=NODE, protocol=2, capacity=4, languages=LANGUAGES, services=("asr", "nmt", "tts"), zone="",
        accept_public_jobs=True, binary_audio=False, message=registration(NODE),
    )  # fmt: skip


def request(attempt: int) -> SelectRequest:
    return SelectRequest(
        job_id=JobId("job-1"), job_key="k", attempt=attempt, session_id=SessionId("s"), tenant_id=TenantId(""),
        utterance_index=0, pairs=((EN, PT),), services=("asr", "nmt", "tts"), lease_ms=60_000, wait_ms=10_000,
        trace_id=TraceId("t"), preferred_instance=HERE, exclude=frozenset({NODE}) if attempt > 1 else frozenset(),
    )  # fmt: skip


async def test_a_job_that_waited_for_its_own_node_to_come_back_gets_it():
    async with EmbeddedRedis.start() as redis, Store.open(redis.url) as store:
        first = await store.nodes.register(registered(), HERE)
        await store.nodes.heartbeat(NODE, first.epoch, "ready", NodeLoad(), ("asr", "nmt", "tts"), LANGUAGES)
        assert isinstance(await store.jobs.select(request(1)), Selected)
        second = await store.nodes.register(registered(), HERE)
        await store.jobs.requeue(JobId("job-1"), 1, "closed")
        assert isinstance(await store.jobs.select(request(2)), Queued | Unplaced)
        await store.nodes.heartbeat(NODE, second.epoch, "ready", NodeLoad(), ("asr", "nmt", "tts"), LANGUAGES)
        again = await store.jobs.select(request(2))
        assert isinstance(again, Selected), again
        assert (again.node_id, again.attempt) == (NODE, 2)
