"""What a peer chooses is data: in Redis scripts, in keys, in codecs, in documents."""

import json

import pytest

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import language, valid_id
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.replies import texts
from tests.support.peers import Peers, registration

HOSTILE = (
    "'] redis.call('FLUSHALL') --",
    "a b",
    "a:b",
    "a,b=9",
    "*",
    "{a}",
    "a/b",
    "../a",
    "a\x00b",
    "a\nb",
    "!a",
    "%d%s",
    "١٢٣",
    "x" * 129,
    "",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_becomes_part_of_a_key_has_one_harmless_alphabet(text: str):
    assert not valid_id(text)
    assert language(text) is None


async def test_hostile_ids_and_languages_reach_no_key(peers: Peers, scheduler: Scheduler):
    """As node, zone, tenant, service, job, trace and language: refused or replaced, and Redis holds nothing of it."""
    for text in HOSTILE[:-1]:
        client = await peers.client()
        for fields in ({"src_lang": text}, {"tgt_lang": text}, {"tenant_id": text}, {"lang_a": text, "lang_b": "en"}):
            asked = {"client_version": "t", "platform": text, "src_lang": "en", "tgt_lang": "pt", **fields}
            await client.ws.send_str(json.dumps({"type": "session_init", **asked}))
            assert (await client.wait_for(wire.ErrorMessage)).code in {
                ErrorCode.INVALID_MESSAGE,
                ErrorCode.NO_AVAILABLE_NODE,
            }
        ack = await client.open(trace_id=text, dialect=text, platform=text)
        assert ack.trace_id != text
        for fields in (
            {"node_id": text},
            {"zone": text},
            {"active_jobs": [node_wire.ActiveJob(job_id=text, attempt_id=1)]},
        ):
            node = await peers.node()
            named = registration(fields.pop("node_id", "n"), **fields)  # pyright: ignore[reportArgumentType]
            await node.send(named)
            assert isinstance(await node.next(), wire.ErrorMessage)
        node = await peers.node()
        services = [node_wire.Capability(type=kind, ready=True) for kind in ("asr", "nmt", "tts", text)]
        await node.register("good", capability_by_type=services)
        await node.ws.close()
    names = texts(await scheduler.context.store.client.call("KEYS", "*"))
    assert names
    assert not [name for name in names if any(text in name for text in HOSTILE[:-1] if text not in {"*", "a:b", "{a}"})]


async def test_opus_that_is_none_costs_its_sender_an_error_at_most(peers: Peers):
    client, node = await peers.client(), await peers.node()
    await node.register()
    await client.open(audio_format="opus")
    for payload in (b"\xff\xff" + b"a" * 50, b"\x00\x00", b"\x02\x00\x03\x3f", b"\x01", bytes(range(256))):
        await client.chunk(codec.encode_audio(payload), is_final=False)
        assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_MESSAGE
    await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=1))
    await client.wait_for(wire.ServerHeartbeat)


async def test_a_used_resume_token_is_worth_nothing(peers: Peers):
    owner = await peers.client()
    ack = await owner.open(protocol_version="1.1")
    await owner.ws.close()
    ask = wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    again = await peers.client()
    await again.send(ask)
    fresh = await again.wait_for(wire.SessionResumeAck)
    await again.send(wire.ClientHeartbeat(session_id=ack.session_id, timestamp=1))
    await again.wait_for(wire.ServerHeartbeat)
    for stolen in (ack.resume_token or "", "", "x" * 40):
        thief = await peers.client()
        await thief.send(wire.SessionResume(session_id=ack.session_id, resume_token=stolen, last_result_seq=0))
        assert (await thief.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION
    assert fresh.resume_token != ack.resume_token
    await again.send(wire.ClientHeartbeat(session_id=ack.session_id, timestamp=2))
    await again.wait_for(wire.ServerHeartbeat, lambda beat: beat.timestamp == 2)


async def test_nobody_speaks_in_or_ends_anothers_session(peers: Peers):
    owner, thief = await peers.client(), await peers.client()
    ack = await owner.open()
    await thief.open()
    for message in (
        wire.SessionClose(session_id=ack.session_id, reason="mine"),
        wire.AudioChunk(session_id=ack.session_id, seq=1, is_final=True, payload="AAAA"),
        wire.ClientHeartbeat(session_id=ack.session_id, timestamp=1),
        wire.ResultAck(session_id=ack.session_id, result_seq=9),
    ):
        await thief.send(message)
        assert (await thief.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION
    await owner.send(wire.ClientHeartbeat(session_id=ack.session_id, timestamp=2))
    assert (await owner.wait_for(wire.ServerHeartbeat)).timestamp == 2
