"""The trace of an utterance, as a collector gets it: over scheduler and node, each span below the right one."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lingua_scheduler.node.app import NodeApp
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.node import NodeFault
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, NodeConfig, ObservabilityConfig
from lingua_scheduler.runtime.traces import open_traces, valid_traceparent
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.node.rig import counted
from tests.scheduler.conftest import QUICK, changed
from tests.support import wait_until
from tests.support.collector import Collector, Seen
from tests.support.peers import Peers

THE_CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector.start() as running:
        yield running


@pytest.fixture
def config(collector: Collector) -> Config:
    return changed(QUICK, "observability", otlp_url=collector.url)


async def utterance(collector: Collector) -> Seen:
    return (await wait_until(lambda: collector.named("utterance"), "the utterance's span"))[0]


async def test_one_utterance_is_one_trace_over_scheduler_and_node(
    scheduler: Scheduler, peers: Peers, collector: Collector
):
    observed, url = ObservabilityConfig(otlp_url=collector.url), scheduler.url.replace("http", "ws", 1)
    async with open_traces(observed, Clock(), "lingua-node", "node-a") as traces:
        app = NodeApp(NodeConfig(url=f"{url}/ws/node", node_id="node-a", engines="scripted", capacity=2), traces=traces)
        working = asyncio.create_task(app.run())

        async def is_selectable() -> bool:
            return any(one.pairs for one in await scheduler.context.store.nodes.snapshot())

        await wait_until(is_selectable, "the node to be selectable")
        client = await peers.client()
        await client.open(protocol_version="1.1", traceparent=THE_CLIENTS, trace_id="from-the-client")
        await client.chunk(codec.encode_audio(counted(0, 16_000)), is_final=True)
        await client.wait_for(wire.TranslationResult)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    root = await utterance(collector)
    assert f"00-{root.trace}-{root.parent}-01" == THE_CLIENTS
    assert (root.service, root.told["trace_id"], root.told["outcome"]) == (
        "lingua-scheduler", "from-the-client", "translated",
    )  # fmt: skip
    parts = collector.below(root)
    assert parts.keys() == {"speech", "placement", "node", "delivery"}
    assert parts["speech"].told["reason"] == "IsFinal"
    assert parts["placement"].told == {"attempt": 1, "node": "node-a"}
    (job,) = collector.below(parts["node"]).values()
    assert (job.service, job.name, job.told["job_id"]) == ("lingua-node", "job", root.told["job_id"])
    assert collector.below(job).keys() >= {"decode", "asr", "nmt", "tts"}
    assert {span.trace for span in collector.spans} == {root.trace}
    order = [parts[name].began_ns for name in ("speech", "placement", "node", "delivery")]
    assert order == sorted(order)
    assert all(root.began_ns <= part.began_ns <= part.ended_ns <= root.ended_ns for part in parts.values())


async def test_each_attempt_has_its_place_and_says_why_it_failed(
    scheduler: Scheduler, peers: Peers, collector: Collector
):
    client, first, second = await peers.client(), await peers.node(), await peers.node()
    await first.register("node-a")
    await client.open()
    await client.speak(400)
    lost = await first.take_job()
    await second.register("node-b")
    await first.ws.close()
    again = await second.take_job()
    await second.answer(again)
    await client.wait_for(wire.TranslationResult)
    root = await utterance(collector)
    attempts = [span for span in collector.named("node") if span.parent == root.span]
    assert [(one.told["node"], one.error) for one in attempts] == [("node-a", "node_closed"), ("node-b", "")]
    told = [f"00-{root.trace}-{one.span}" for one in attempts]
    assert [(job.traceparent or "").rpartition("-")[0] for job in (lost, again)] == told


async def test_what_ends_without_text_says_so(scheduler: Scheduler, peers: Peers, collector: Collector):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    await client.speak(400)
    await node.answer(await node.take_job(), success=False, error=NodeFault(code="INVALID_MESSAGE", message="no"))
    await client.wait_for(wire.MissingResult)
    root = await utterance(collector)
    assert (root.told["outcome"], root.told["error"]) == ("job_failed", "INVALID_MESSAGE")
    assert collector.below(root).keys() == {"speech", "placement", "node", "delivery"}


async def test_an_utterance_that_nobody_waits_for_any_more_is_closed(
    scheduler: Scheduler, peers: Peers, collector: Collector
):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    await client.speak(400)
    await node.take_job()
    scheduler.sessions.all()[0]._witness.over("connection_lost")
    assert (await utterance(collector)).error == "connection_lost"


async def test_without_a_collector_nothing_is_passed_on(redis: EmbeddedRedis):
    async with Scheduler.start(QUICK, redis.url) as running, Peers.of(running.url, running.context.store) as peers:
        assert running.context.traces is None
        node, client = await peers.node(), await peers.client()
        await node.register()
        await client.open(protocol_version="1.1", traceparent=THE_CLIENTS)
        await client.speak(400)
        assert (await node.take_job()).traceparent is None


@pytest.mark.parametrize(
    "text", [None, "", "00-1-2-01", THE_CLIENTS + "x", THE_CLIENTS.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01"]
)
def test_what_is_no_trace_context_is_not_continued(text: str | None):
    assert valid_traceparent(text) == ""


def test_a_trace_context_is_continued():
    assert valid_traceparent(THE_CLIENTS) == THE_CLIENTS
