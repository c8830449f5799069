"""What a node's failures come to for the speaker: one announced gap, with the node's own code and a hint."""

import asyncio

import pytest

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import HINTS, ErrorCode
from tests.support.peers import NodePeer, Peers

FROM_NODES = (
    ErrorCode.MODEL_NOT_AVAILABLE,
    ErrorCode.MODEL_LOAD_FAILED,
    ErrorCode.MODEL_VERIFY_FAILED,
    ErrorCode.MODEL_CORRUPTED,
    ErrorCode.NO_GPU_AVAILABLE,
    ErrorCode.UNSUPPORTED_FEATURE,
    ErrorCode.NMT_TIMEOUT,
    ErrorCode.TTS_TIMEOUT,
    ErrorCode.PROCESSING_ERROR,
    ErrorCode.NODE_OVERLOADED,
)


async def fail_everything(node: NodePeer, code: str) -> None:
    while True:
        job = await node.take_job()
        fault = node_wire.NodeFault(code=code, message="as the test wants it")
        await node.answer(job, success=False, text_asr=None, text_translated=None, error=fault)


@pytest.mark.parametrize("code", FROM_NODES)
async def test_a_failure_that_every_node_repeats_is_told_with_its_code_and_hint(peers: Peers, code: ErrorCode):
    nodes = [await peers.node() for _ in range(4)]
    for number, node in enumerate(nodes):
        await node.register(f"node-{number}")
    client = await peers.client()
    await client.open()
    failing = [asyncio.ensure_future(fail_everything(node, code)) for node in nodes]
    try:
        await client.speak(400)
        missing = await client.wait_for(wire.MissingResult)
    finally:
        for task in failing:
            task.cancel()
        await asyncio.gather(*failing, return_exceptions=True)
    assert missing.utterance_index == 0
    [error] = [one for one in client.received if isinstance(one, wire.UiEvent) and one.status == "error"]
    assert error.error_code is code
    assert error.hint == HINTS[code].en


async def test_a_code_that_nobody_knows_is_told_as_a_processing_error(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    failing = asyncio.ensure_future(fail_everything(node, "SOMETHING_ELSE"))
    try:
        await client.speak(400)
        await client.wait_for(wire.MissingResult)
    finally:
        failing.cancel()
    [error] = [one for one in client.received if isinstance(one, wire.UiEvent) and one.status == "error"]
    assert error.error_code in {ErrorCode.PROCESSING_ERROR, ErrorCode.INTERNAL_ERROR}
