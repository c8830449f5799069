"""Nodes over real sockets: registration and its faults, reconnect races, death in every form, strangers."""

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.scheduler.app import Scheduler
from tests.support import wait_until
from tests.support.peers import ClientPeer, Peers, registration


async def speaking(peers: Peers, **fields: Any) -> ClientPeer:
    client = await peers.client()
    await client.open(**fields)
    await client.speak(400)
    return client


@pytest.mark.parametrize("field", ["asr_languages", "semantic_languages", "tts_languages"])
async def test_an_empty_language_list_is_refused_by_name(peers: Peers, field: str):
    node = await peers.node()
    faultless = registration("node-a").language_capabilities
    languages = msgspec.structs.replace(faultless, **{field: []})
    await node.send(registration("node-a", language_capabilities=languages))
    error = await node.wait_for(wire.ErrorMessage)
    assert error.code is ErrorCode.INVALID_CAPABILITY_SCHEMA
    assert field in error.message


async def test_a_registration_that_does_not_decode_names_the_field(peers: Peers):
    node = await peers.node()
    await node.ws.send_str('{"type":"node_register","version":"1","platform":"linux"}')
    error = await node.wait_for(wire.ErrorMessage)
    assert error.code is ErrorCode.INVALID_CAPABILITY_SCHEMA
    assert "hardware" in error.message


async def test_a_node_without_an_id_gets_one_and_keeps_it(peers: Peers):
    node = await peers.node()
    await node.send(registration(None))
    ack = await node.wait_for(node_wire.NodeRegisterAck)
    assert ack.node_id.startswith("node-")


async def test_a_heartbeat_before_registration_is_answered_and_closed_with_4001(peers: Peers):
    node = await peers.node()
    node.node_id = "node-x"
    await node.heartbeat()
    assert (await node.wait_for(wire.ErrorMessage)).code is ErrorCode.NODE_NOT_REGISTERED
    assert await node.wait_closed() == 4001


async def test_a_newer_connection_of_the_same_node_wins_and_the_older_can_harm_nothing(peers: Peers):
    old, new = await peers.node(), await peers.node()
    await old.register("node-a")
    await new.register("node-a")
    assert await old.wait_closed() == 4002
    client = await speaking(peers)
    await new.answer(await new.take_job(), "from the newer")
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "from the newer"


async def test_a_node_that_reconnects_gets_its_job_again_as_a_new_attempt(peers: Peers):
    first = await peers.node()
    await first.register("node-a")
    client = await speaking(peers)
    await first.take_job()
    await first.ws.close()
    again = await peers.node()
    await again.register("node-a")
    job = await again.take_job()
    assert job.attempt_id == 2
    await again.answer(job)
    await client.wait_for(wire.TranslationResult)


@pytest.mark.parametrize("protocol", ["2", None])
async def test_an_answer_of_a_stranger_or_of_an_old_attempt_changes_nothing(
    peers: Peers, scheduler: Scheduler, protocol: str | None
):
    first, second = await peers.node(), await peers.node()
    await first.register("node-a", protocol_version=protocol)
    client = await speaking(peers)
    job = await first.take_job()
    await second.register("node-b", src="zh", tgt="en")
    await second.answer(job, "a stranger's words")
    await first.answer(job, "an old attempt", attempt_id=job.attempt_id + 1)
    await first.answer(job, "the truth")
    result = await client.wait_for(wire.TranslationResult)
    assert result.text_asr == "the truth"
    assert b'lingua_refused_reports_total{why="stranger"} 1.0' in scheduler.context.metrics.exposition()


async def test_a_repeated_result_is_delivered_once(peers: Peers):
    node = await peers.node()
    await node.register()
    client = await speaking(peers)
    job = await node.take_job()
    for _ in range(3):
        await node.answer(job, "once")
    await client.speak(400)
    await node.answer(await node.take_job(), "next")
    texts = [(await client.wait_for(wire.TranslationResult)).text_asr for _ in range(2)]
    assert texts == ["once", "next"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text_asr": "", "text_translated": "", "extra": {"reason": "ASR_EMPTY"}}, "no_speech"),
        ({"text_asr": "", "text_translated": "", "extra": {"reason": "NO_TEXT_ASSIGNED"}}, "merged"),
        ({"text_asr": " ", "text_translated": ""}, "silence_detected"),
    ],
)
async def test_results_without_text_end_as_missing_with_the_right_reason(
    peers: Peers, fields: dict[str, Any], reason: str
):
    node = await peers.node()
    await node.register()
    client = await speaking(peers)
    await node.answer(await node.take_job(), **fields)
    assert (await client.wait_for(wire.MissingResult)).reason == reason


async def test_an_utterance_that_two_nodes_cannot_process_is_poison_and_the_next_goes_through(peers: Peers):
    first, second = await peers.node(), await peers.node()
    await first.register("node-a")
    await second.register("node-b")
    client = await speaking(peers)
    fault = node_wire.NodeFault(code="PROCESSING_ERROR", message="no")

    async def refuse(node: Any) -> None:
        await node.answer(await node.take_job(), success=False, text_asr=None, text_translated=None, error=fault)

    await asyncio.gather(refuse(first), refuse(second))
    assert (await client.wait_for(wire.MissingResult)).reason == "job_failed"
    error = next(m for m in client.received if isinstance(m, wire.UiEvent) and m.status == "error")
    assert error.error_code is ErrorCode.PROCESSING_ERROR
    assert error.hint
    await client.speak(400)
    takers = [asyncio.ensure_future(node.take_job()) for node in (first, second)]
    done, pending = await asyncio.wait(takers, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    taken = done.pop()
    await (first, second)[takers.index(taken)].answer(taken.result(), "next")
    assert (await client.wait_for(wire.TranslationResult)).text_asr == "next"


async def test_a_node_that_rejects_is_passed_over(peers: Peers):
    full, other = await peers.node(), await peers.node()
    await full.register("node-a")
    client = await speaking(peers)
    job = await full.take_job()
    await other.register("node-b")
    await full.send(node_wire.JobReject(job_id=job.job_id, attempt_id=job.attempt_id, code="FULL"))
    again = await other.take_job()
    assert again.attempt_id == 2
    await other.answer(again)
    await client.wait_for(wire.TranslationResult)


async def test_binary_audio_goes_both_ways_to_a_node_that_asked_for_it(peers: Peers):
    node = await peers.node()
    await node.register(binary_audio=True)
    client = await speaking(peers)
    frame = await node.ws.receive()
    assert frame.type is WSMsgType.BINARY
    job, audio = codec.decode_scheduler(frame.data)
    assert isinstance(job, node_wire.JobAssign)
    assert len(audio) == 400 * 32
    result = node_wire.JobResult(
        job_id=job.job_id, attempt_id=job.attempt_id, node_id=node.node_id, session_id=job.session_id,
        utterance_index=0, success=True, trace_id=job.trace_id, text_asr="hi", text_translated="oi", tts_format="pcm16",
    )  # fmt: skip
    encoded = codec.encode_result(result, b"speech", binary=True)
    assert isinstance(encoded, bytes)
    await node.ws.send_bytes(encoded)
    delivered = await client.wait_for(wire.TranslationResult)
    assert codec.decode_audio(delivered.tts_audio) == b"speech"


async def test_a_drained_node_finishes_and_gets_nothing_new(peers: Peers, scheduler: Scheduler):
    leaving, staying = await peers.node(), await peers.node()
    await leaving.register("node-a")
    client = await speaking(peers)
    job = await leaving.take_job()
    await leaving.send(node_wire.NodeDrain(node_id="node-a"))
    await staying.register("node-b")
    await wait_until(lambda: _status(scheduler, "node-a"), "node-a is draining")
    for _ in range(4):
        await client.speak(400)
        await staying.answer(await staying.take_job())
    await leaving.answer(job)
    indices = [(await client.wait_for(wire.TranslationResult)).utterance_index for _ in range(5)]
    assert indices == [0, 1, 2, 3, 4]


async def _status(scheduler: Scheduler, node_id: str) -> bool:
    return any(n.node_id == node_id and n.status == "draining" for n in await scheduler.context.store.nodes.snapshot())


async def test_the_story_of_a_job_names_its_attempts_and_why_each_node(peers: Peers, scheduler: Scheduler):
    first, second = await peers.node(), await peers.node()
    await first.register("node-a")
    client = await speaking(peers)
    job = await first.take_job()
    await second.register("node-b")
    await first.ws.close()
    await second.answer(await second.take_job())
    await client.wait_for(wire.TranslationResult)
    story = await scheduler.context.store.jobs.story(JobId(job.job_id))
    assert story is not None
    assert (story.status, story.attempt, story.node_id) == ("completed", 2, "node-b")
    assert set(story.choices) == {1, 2}
    assert "closed" in story.causes[1]


async def test_the_higher_epoch_is_the_node_in_whatever_order_the_store_answers(peers: Peers, scheduler: Scheduler):
    """Two connections of a node were confirmed at once; the older one's answer came last and took the node over."""
    older, newer = await peers.node(), await peers.node()
    await older.register("node-a")
    entry = scheduler.nodes.get(NodeId("node-a"))
    assert entry is not None
    await newer.register("node-a")
    scheduler.nodes.registered(entry)
    present = scheduler.nodes.get(NodeId("node-a"))
    assert present is not None
    assert present.epoch > entry.epoch
    client = await speaking(peers)
    await newer.answer(await newer.take_job())
    await client.wait_for(wire.TranslationResult)
