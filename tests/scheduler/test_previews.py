"""Partial texts while somebody is speaking: which node is shown the speech, what it may say of it, and when it ends."""

import asyncio
from typing import Any

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.codec import decode_audio
from lingua_scheduler.scheduler.app import Scheduler
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers

STREAMING: dict[str, Any] = {"enable_streaming_asr": True, "partial_update_interval_ms": 200}
READS_ALONG: dict[str, Any] = {"advanced_features": [node_wire.JOB_PREVIEW]}


async def partial(node: NodePeer, preview: node_wire.JobPreview, text: str, stable_chars: int, **fields: Any) -> None:
    settled: dict[str, Any] = {"job_id": preview.job_id, "is_final": False, "stable_chars": stable_chars}
    await node.send(
        node_wire.NodeAsrPartial(
            node_id=node.node_id,
            session_id=preview.session_id,
            utterance_index=preview.utterance_index,
            text=text,
            trace_id=preview.trace_id,
            **(settled | fields),
        )
    )


async def speak_until_shown(node: NodePeer, client: ClientPeer) -> node_wire.JobPreview:
    """Speak without an end until the node is shown something new."""
    waiting = asyncio.create_task(node.wait_for(node_wire.JobPreview))
    while not waiting.done():
        await client.speak(100, is_final=False)
        await asyncio.wait([waiting], timeout=0.05)
    return await waiting


async def test_the_speaker_reads_along_before_the_final(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register(**READS_ALONG)
    await client.open(protocol_version="1.1", **STREAMING)
    first = await speak_until_shown(node, client)
    await partial(node, first, "hel", 0)
    assert (await client.wait_for(wire.AsrPartial)).text == "hel"
    second = await speak_until_shown(node, client)
    assert (first.at_bytes, second.at_bytes) == (0, len(decode_audio(first.audio)))
    await partial(node, second, "hello wor", 6)
    told = await client.wait_for(wire.AsrPartial)
    assert (told.text, told.stable_chars, told.is_final, told.utterance_index) == ("hello wor", 6, False, 0)

    await client.speak(100)
    job = await node.take_job()
    assert (job.job_id, job.utterance_index) == (first.job_id, 0)
    assert decode_audio(job.audio).startswith(decode_audio(first.audio) + decode_audio(second.audio))
    await partial(node, second, "jello", 0)
    await partial(node, second, "hello world", 11, is_final=True)
    last = await client.wait_for(wire.AsrPartial)
    assert (last.text, last.is_final) == ("hello world", True), "what was stable is never taken back"
    await node.answer(job, "hello world")
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "hello world"


async def test_a_client_of_1_0_reads_along_without_what_is_newer(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register(**READS_ALONG)
    await client.open(**STREAMING)
    await partial(node, await speak_until_shown(node, client), "hello wor", 6)
    told = await client.wait_for(wire.AsrPartial)
    assert (told.text, told.stable_chars) == ("hello wor", None)


async def test_only_the_node_that_is_shown_the_speech_may_speak_of_it(peers: Peers):
    node, other, client = await peers.node(), await peers.node(), await peers.client()
    await other.register("node-b")
    await node.register("node-a", **READS_ALONG)
    await client.open(**STREAMING)
    shown = await speak_until_shown(node, client)
    await partial(other, shown, "lies", 0)
    await other.send(node_wire.NodeError(node_id="node-b", code="INTERNAL_ERROR", message="read to here"))
    await partial(node, shown, "truth", 0)
    assert (await client.wait_for(wire.AsrPartial)).text == "truth"


async def test_a_node_that_takes_over_is_shown_the_utterance_from_its_start(peers: Peers):
    first, second, client = await peers.node(), await peers.node(), await peers.client()
    await first.register("node-a", **READS_ALONG)
    await client.open(protocol_version="1.1", **STREAMING)
    shown = await speak_until_shown(first, client)
    await second.register("node-b", **READS_ALONG)
    await first.ws.close()
    again = await speak_until_shown(second, client)
    assert (again.job_id, again.at_bytes) == (shown.job_id, 0)
    assert decode_audio(again.audio).startswith(decode_audio(shown.audio))


async def test_nodes_that_do_not_read_along_or_serve_other_languages_are_shown_nothing(
    scheduler: Scheduler, peers: Peers
):
    plain, foreign, client = await peers.node(), await peers.node(), await peers.client()
    await plain.register("node-a")
    await foreign.register("node-b", src="de", **READS_ALONG)
    await client.open(**STREAMING)
    dropped = scheduler.context.metrics.previews.labels("no_node")

    async def has_dropped() -> bool:
        await client.speak(100, is_final=False)
        return (
            sum(sample.value for metric in dropped.collect() for sample in metric.samples if "total" in sample.name) > 0
        )

    await wait_until(has_dropped, "a preview to be dropped")
    await client.speak(100)
    job = await plain.take_job()
    await plain.answer(job)
    await client.wait_for(wire.TranslationResult)
    assert not [one for one in plain.received + foreign.received if isinstance(one, node_wire.JobPreview)]
