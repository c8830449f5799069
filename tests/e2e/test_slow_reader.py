"""A client that does not read: it is let go when too much waits for it, and gets everything when it comes back."""

from typing import Any

import aiohttp
import pytest

from lingua_scheduler.protocol import messages as wire
from tests.e2e.fleet import Fleet
from tests.support import wait_until
from tests.support.peers import Peers

SENTENCES = 60
SPOKEN_BYTES = 300_000
"""In base64 400 kB a sentence: 24 MB in all, where 8 MiB may wait beside what the kernel takes."""


@pytest.mark.parametrize("wakes", [True, False], ids=["for a while", "ever again"])
async def test_a_client_that_does_not_read_is_let_go_and_can_resume(fleet: Fleet, wakes: bool):
    """One that never read again kept its connection for good: closing it waited until it had taken what was sent.

    And the task that closed it died early: cancelling the writer cancelled the very future that closing waits for.
    """
    [a] = await fleet.serve()
    node = await fleet.node("node", a, spoken_bytes=SPOKEN_BYTES)
    async with Peers.of(a.url) as peers:
        deaf = await peers.client()
        ack = await deaf.open(protocol_version="1.1")
        transport = _transport(deaf.ws)
        transport.pause_reading()
        for _ in range(SENTENCES):
            await deaf.speak(100)
        await wait_until(lambda: node.child.stdout.count("answered") == SENTENCES, "all answers", 30)
        if wakes:
            transport.resume_reading()
            assert await deaf.wait_closed() == 1013
        else:
            with_node = a.descriptors_at_start + 1
            await wait_until(lambda: a.descriptors() <= with_node, "the deaf client's socket to be closed", 30)

        back = await peers.client()
        await back.send(
            wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
        )
        resumed = await back.wait_for(wire.SessionResumeAck)
        assert resumed.replayed == SENTENCES
        results = [await back.wait_for(wire.TranslationResult) for _ in range(SENTENCES)]
        assert [one.result_seq for one in results] == list(range(1, SENTENCES + 1))
        assert [one.utterance_index for one in results] == list(range(SENTENCES))
        assert all(one.text_translated for one in results)
        await back.send(wire.SessionClose(session_id=ack.session_id, reason="done"))
        await back.wait_for(wire.SessionCloseAck)
        assert len([one for one in back.received if isinstance(one, wire.TranslationResult)]) == SENTENCES
    await fleet.finish()


def _transport(ws: aiohttp.ClientWebSocketResponse) -> Any:
    connection: Any = ws._response.connection
    return connection.transport
