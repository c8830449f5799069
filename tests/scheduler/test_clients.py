"""One connection of a client: what it is bound to, what is refused with which code, and that it goes on after that."""

import json
from typing import Any

import pytest

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.errors import ErrorCode
from tests.support.peers import ClientPeer, Peers


async def refused(client: ClientPeer, frame: Any) -> wire.ErrorMessage:
    """Send raw text (or what becomes JSON) and wait for the error that answers it."""
    await client.ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))
    return await client.wait_for(wire.ErrorMessage)


async def still_works(client: ClientPeer) -> None:
    """A heartbeat is answered."""
    await client.send(wire.ClientHeartbeat(session_id=client.session_id, timestamp=7))
    assert (await client.wait_for(wire.ServerHeartbeat)).session_id == client.session_id


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"type":"nonsense"}',
        '{"no":"type"}',
        '{"type":"audio_chunk"}',
        '{"type":"audio_chunk","session_id":1,"seq":0,"is_final":false}',
        '{"type":"audio_chunk","session_id":"s","seq":"x","is_final":false}',
        "[" * 100_000,
    ],
)
async def test_a_malformed_message_is_refused_and_the_connection_goes_on(peers: Peers, frame: str):
    client = await peers.client()
    await client.open()
    assert (await refused(client, frame)).code is ErrorCode.INVALID_MESSAGE
    await still_works(client)


@pytest.mark.parametrize(
    "frame", [b"", b"\x01", b"\x07" + bytes(20), b"\x01\xff" + bytes(10), b"\x02\x02" + bytes(8) + b"\xff\xfe"]
)
async def test_a_malformed_binary_frame_is_refused_and_the_connection_goes_on(peers: Peers, frame: bytes):
    client = await peers.client()
    await client.open(protocol_version="1.1", binary=True)
    await client.ws.send_bytes(frame)
    assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_MESSAGE
    await still_works(client)


async def test_base64_that_is_none_is_refused_and_the_buffer_keeps_what_it_had(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    await client.speak(300, is_final=False)
    await client.chunk("!!!", is_final=False)
    assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_MESSAGE
    await client.speak(200, is_final=True)
    job = await node.take_job()
    assert len(codec.decode_audio(job.audio)) == 500 * 32


async def test_nulls_for_absent_fields_and_unknown_fields_are_accepted(peers: Peers):
    client = await peers.client()
    opening = {
        "type": "session_init", "client_version": "1", "platform": "web", "src_lang": "en", "tgt_lang": "pt",
        "dialect": None, "features": None, "mode": None, "lang_a": None, "trace_id": None, "colour": "blue",
    }  # fmt: skip
    await client.ws.send_str(json.dumps(opening))
    ack = await client.wait_for(wire.SessionInitAck)
    assert (ack.protocol_version, ack.use_binary_frame, ack.resume_token) == ("1.0", False, None)


async def test_what_is_sent_has_no_nulls(peers: Peers):
    client = await peers.client()
    await client.ws.send_str(
        '{"type":"session_init","client_version":"1","platform":"w","src_lang":"en","tgt_lang":"pt"}'
    )
    raw = await client.ws.receive_str()
    assert "null" not in raw
    assert json.loads(raw)["type"] == "session_init_ack"


async def test_a_session_id_has_at_least_96_random_bits_and_the_trace_id_is_the_clients(peers: Peers):
    one, other = await peers.client(), await peers.client()
    first, second = await one.open(trace_id="trace-1"), await other.open()
    assert first.trace_id == "trace-1"
    assert len(second.trace_id) == 36
    bits = first.session_id.removeprefix("s-")
    assert int(bits, 16) != int(second.session_id.removeprefix("s-"), 16)
    assert len(bits) * 4 >= 96


@pytest.mark.parametrize("known", [False, True])
async def test_a_message_that_names_another_session_is_refused(peers: Peers, known: bool):
    """Also where that session exists: knowing an id gives no power over it."""
    victim, client = await peers.client(), await peers.client()
    await victim.open()
    await client.open()
    own, client.session_id = client.session_id, victim.session_id if known else "s-unknown"
    for message in (
        wire.AudioChunk(session_id=client.session_id, seq=1, is_final=True),
        wire.ClientHeartbeat(session_id=client.session_id, timestamp=1),
        wire.SessionClose(session_id=client.session_id, reason="x"),
        wire.ResultAck(session_id=client.session_id, result_seq=1),
        wire.TtsStarted(session_id=client.session_id, trace_id="t", group_id="g", ts_start_ms=0),
        wire.TtsPlayEnded(session_id=client.session_id, trace_id="t", group_id="g", ts_end_ms=0),
    ):
        await client.send(message)
        assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION, message
    client.session_id = own
    await still_works(client)
    await still_works(victim)


async def test_before_a_session_is_open_nothing_else_is_accepted(peers: Peers):
    client = await peers.client()
    error = await refused(client, {"type": "client_heartbeat", "session_id": "s-1", "timestamp": 1})
    assert error.code is ErrorCode.INVALID_SESSION


async def test_a_closed_session_is_answered_with_its_own_code_and_the_connection_can_open_another(peers: Peers):
    client = await peers.client()
    await client.open()
    await client.send(wire.SessionClose(session_id=client.session_id, reason="done"))
    assert (await client.wait_for(wire.SessionCloseAck)).session_id == client.session_id
    await client.chunk(None, is_final=True)
    assert (await client.wait_for(wire.ErrorMessage)).code is ErrorCode.SESSION_CLOSED
    await client.open()
    await still_works(client)


async def test_a_second_session_on_one_connection_is_refused_while_the_first_is_open(peers: Peers):
    client = await peers.client()
    await client.open()
    error = await refused(
        client, {"type": "session_init", "client_version": "1", "platform": "w", "src_lang": "en", "tgt_lang": "pt"}
    )
    assert error.code is ErrorCode.INVALID_MESSAGE
    await still_works(client)


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"src_lang": "klingon!"}, ErrorCode.INVALID_MESSAGE, "src_lang"),
        ({"tgt_lang": ""}, ErrorCode.INVALID_MESSAGE, "tgt_lang"),
        ({"src_lang": "auto"}, ErrorCode.NO_AVAILABLE_NODE, "lang_a"),
        ({"src_lang": "auto", "lang_a": "en"}, ErrorCode.NO_AVAILABLE_NODE, "lang_b"),
        ({"mode": "two_way_auto"}, ErrorCode.NO_AVAILABLE_NODE, "lang_a"),
        ({"src_lang": "auto", "lang_a": "en", "lang_b": "en"}, ErrorCode.INVALID_MESSAGE, "same"),
        ({"audio_format": "opus", "sample_rate": 44_100}, ErrorCode.INVALID_MESSAGE, "sample_rate"),
        ({"sample_rate": 1}, ErrorCode.INVALID_MESSAGE, "sample_rate"),
        ({"audio_format": "mp3"}, ErrorCode.INVALID_MESSAGE, "audio_format"),
        ({"tenant_id": "a b"}, ErrorCode.INVALID_MESSAGE, "tenant_id"),
        ({"mode": "sideways"}, ErrorCode.INVALID_MESSAGE, "mode"),
        ({"auto_langs": ["x" * 40]}, ErrorCode.INVALID_MESSAGE, "auto_langs"),
    ],
)
async def test_a_bad_opening_names_the_field(peers: Peers, fields: dict[str, Any], code: ErrorCode, word: str):
    client = await peers.client()
    opening = {"type": "session_init", "client_version": "1", "platform": "w", "src_lang": "en", "tgt_lang": "pt"}
    error = await refused(client, {**opening, **fields})
    assert error.code is code
    assert word in error.message
    await client.open()


async def test_a_pair_that_no_node_serves_is_told_and_the_session_opens(peers: Peers):
    client = await peers.client()
    ack = await client.open("zh", "en")
    assert "no node serves zh:en" in ack.message
    await still_works(client)


async def test_two_way_needs_a_node_for_both_directions(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    ack = await client.open("auto", "pt", lang_a="en", lang_b="pt")
    assert "no node serves" in ack.message


async def test_binary_frames_carry_the_same_speech(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    ack = await client.open(protocol_version="1.1", binary=True)
    assert ack.use_binary_frame
    audio = bytes(range(256)) * 50
    for seq, (piece, is_final) in enumerate([(audio, False), (audio, False), (b"", True)]):
        await client.ws.send_bytes(codec.encode_chunk(codec.BinaryChunk(client.session_id, seq, 0, is_final, piece)))
    job = await node.take_job()
    assert codec.decode_audio(job.audio) == audio * 2


async def test_a_binary_ping_is_answered_with_its_own_numbers(peers: Peers):
    client = await peers.client()
    await client.open(protocol_version="1.1", binary=True)
    await client.ws.send_bytes(codec.encode_ping(codec.BinaryPing(client.session_id, 3, 4)))
    assert await client.wait_for(codec.BinaryPing) == codec.BinaryPing(client.session_id, 3, 4, is_pong=True)


async def test_a_frame_over_a_mebibyte_closes_the_socket_with_1009(peers: Peers):
    client = await peers.client()
    await client.open()
    await client.ws.send_str("x" * ((1 << 20) + 1))
    assert await client.wait_closed() == 1009


async def test_what_was_buffered_when_the_socket_was_lost_is_translated_and_waits_for_the_resume(peers: Peers):
    node, client = await peers.node(), await peers.client()
    await node.register()
    opened = await client.open(protocol_version="1.1")
    await client.speak(400, is_final=False)
    await still_works(client)
    await client.ws.close()
    await node.answer(await node.take_job(), "last words")
    again = await peers.client()
    await again.send(
        wire.SessionResume(session_id=opened.session_id, resume_token=opened.resume_token or "", last_result_seq=0)
    )
    ack = await again.wait_for(wire.SessionResumeAck)
    assert ack.resume_token != opened.resume_token
    assert (await again.wait_for(wire.TranslationResult)).text_asr == "last words"


async def test_a_resume_token_serves_once(peers: Peers):
    client = await peers.client()
    opened = await client.open(protocol_version="1.1")
    resume = wire.SessionResume(session_id=opened.session_id, resume_token=opened.resume_token or "", last_result_seq=0)
    await client.ws.close()
    second, third = await peers.client(), await peers.client()
    await second.send(resume)
    await second.wait_for(wire.SessionResumeAck)
    second.session_id = opened.session_id
    await still_works(second)
    await third.send(resume)
    assert (await third.wait_for(wire.ErrorMessage)).code is ErrorCode.INVALID_SESSION


async def test_a_resume_whose_answer_was_lost_can_be_repeated(peers: Peers):
    """A connection that broke between the new token's making and its reading once lost the session."""
    client = await peers.client()
    opened = await client.open(protocol_version="1.1")
    resume = wire.SessionResume(session_id=opened.session_id, resume_token=opened.resume_token or "", last_result_seq=0)
    await client.ws.close()
    second, third = await peers.client(), await peers.client()
    await second.send(resume)
    await second.wait_for(wire.SessionResumeAck)
    await second.ws.close()
    await third.send(resume)
    await third.wait_for(wire.SessionResumeAck)
    third.session_id = opened.session_id
    await still_works(third)


async def test_a_resume_takes_the_session_from_a_connection_that_still_lives(peers: Peers):
    client = await peers.client()
    opened = await client.open(protocol_version="1.1")
    second = await peers.client()
    await second.send(
        wire.SessionResume(session_id=opened.session_id, resume_token=opened.resume_token or "", last_result_seq=0)
    )
    await second.wait_for(wire.SessionResumeAck)
    assert await client.wait_closed() == 4000
    second.session_id = opened.session_id
    await still_works(second)
