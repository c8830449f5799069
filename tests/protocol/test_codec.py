"""Frames as other programs write and read them; and whatever they hold, nothing but a peer's fault comes of it."""

import json
import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.protocol import bus, codec, kept
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from tests.protocol import strategies

DIRECTIONS: dict[str, tuple[Any, Callable[[str], object]]] = {
    "client": (wire.ClientMessage, codec.decode_client),
    "server": (wire.ServerMessage, codec.decode_server),
    "node": (node_wire.NodeMessage, codec.decode_node),
    "scheduler": (node_wire.SchedulerMessage, lambda frame: codec.decode_scheduler(frame)[0]),
}
KINDS = [(name, struct) for name, (union, _) in DIRECTIONS.items() for struct in typing.get_args(union)]
DECODERS: list[Callable[[Any], object]] = [
    codec.decode_client,
    codec.decode_server,
    codec.decode_node,
    codec.decode_scheduler,
]
RESULT = node_wire.JobResult(
    job_id="j", attempt_id=1, node_id="n", session_id="s", utterance_index=0, success=True, trace_id="t"
)
ASSIGN = node_wire.JobAssign(
    job_id="j",
    attempt_id=2,
    session_id="s",
    utterance_index=0,
    src_lang="en",
    tgt_lang="pt",
    pipeline=wire.Pipeline(),
    audio="",
    audio_format="opus",
    sample_rate=16_000,
    enable_streaming_asr=False,
    partial_update_interval_ms=1000,
    trace_id="t",
)


# ----------------------------------------------------------------------------------------------- text frames


@pytest.mark.parametrize(("name", "struct"), KINDS, ids=lambda one: getattr(one, "__name__", one))
@given(st.data())
def test_every_message_comes_back_as_it_went(name: str, struct: type[wire.Wire], data: st.DataObject):
    message = data.draw(strategies.message(struct))
    frame = codec.encode(message)
    if isinstance(message, node_wire.JobAssign | node_wire.JobPreview):
        message = msgspec.structs.replace(message, audio="")
        frame = codec.encode(message)
    if isinstance(message, node_wire.JobResult) and message.tts_audio:  # what is no base64 is left out on arrival
        message = msgspec.structs.replace(message, tts_audio=codec.encode_audio(message.tts_audio.encode()))
        frame = codec.encode(message)
    assert DIRECTIONS[name][1](frame.decode()) == message
    assert json.loads(frame)["type"] == struct.__struct_config__.tag


@pytest.mark.parametrize(("name", "struct"), KINDS, ids=lambda one: getattr(one, "__name__", one))
@given(st.data())
def test_absent_fields_are_omitted_and_nulls_and_unknown_fields_are_accepted(
    name: str, struct: type[wire.Wire], data: st.DataObject
):
    required = {
        field.encode_name: data.draw(strategies.of_type(field.type))
        for field in msgspec.structs.fields(struct)
        if field.required and field.name != "audio"
    }
    if "audio" in {field.name for field in msgspec.structs.fields(struct)}:
        required["audio"] = ""
    bare = struct(**required)
    plain = json.loads(codec.encode(bare))
    assert set(plain) == {"type", *required}

    optional = [field for field in msgspec.structs.fields(struct) if not field.required and field.default is None]
    plain |= {field.encode_name: None for field in optional} | {"a field of next year": [1, {"x": None}]}
    assert DIRECTIONS[name][1](json.dumps(plain)) == bare


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (
            wire.MissingResult(session_id="s", utterance_index=3, reason="no_speech", created_at_ms=9),
            '{"type":"missing_result","session_id":"s","utterance_index":3,"reason":"no_speech","created_at_ms":9}',
        ),
        (
            wire.Backpressure(action="PAUSE", resume_after_ms=500),
            '{"type":"backpressure","action":"PAUSE","resume_after_ms":500}',
        ),
        (
            wire.ErrorMessage(code=ErrorCode.ROOM_FULL, message="满"),
            '{"type":"error","code":"ROOM_FULL","message":"满"}',
        ),
        (
            wire.ServerHeartbeat(session_id="s", timestamp=1),
            '{"type":"server_heartbeat","session_id":"s","timestamp":1}',
        ),
        (wire.SessionCloseAck(session_id="s"), '{"type":"session_close_ack","session_id":"s"}'),
        (wire.AudioAck(session_id="s", seq=4), '{"type":"audio_ack","session_id":"s","seq":4}'),
    ],
)
def test_messages_look_like_this(message: wire.Wire, golden: str):
    assert codec.encode(message) == golden.encode()


CHUNK = '{"type":"audio_chunk","session_id":"s","seq":1,"is_final":false,"payload":"AAE="}'
REFUSED = {
    "not JSON": "{",
    "empty": "",
    "no object": "[1]",
    "no type": '{"session_id":"s"}',
    "an unknown type": '{"type":"audio_lump"}',
    "a type that is no string": '{"type":5}',
    "a missing field": '{"type":"audio_chunk","session_id":"s","is_final":false}',
    "a field of the wrong type": CHUNK.replace("1,", '"1",'),
    "a fraction for a count": CHUNK.replace("1,", "1.5,"),
    "a required null": CHUNK.replace('"s"', "null"),
    "two messages": CHUNK + CHUNK,
    "a number without end": CHUNK.replace("1,", "1" * 5000 + ","),
    "half of a surrogate pair": CHUNK.replace('"s"', '"\\ud800"'),
    "half of a surrogate pair, raw": CHUNK.replace('"s"', '"\ud800"'),
    "nesting without end": '{"type":"webrtc_ice","room_code":"1","to":"x","candidate":' + "[" * 100_000,
}


@pytest.mark.parametrize("frame", REFUSED.values(), ids=REFUSED)
def test_a_text_frame_that_is_no_message_is_the_fault_of_its_sender(frame: str):
    with pytest.raises(PeerError) as caught:
        codec.decode_client(frame)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE
    assert caught.value.message


def test_a_number_past_64_bits_can_be_sent_back():
    beat = codec.decode_client('{"type":"client_heartbeat","session_id":"s","timestamp":1' + "0" * 30 + "}")
    assert isinstance(beat, wire.ClientHeartbeat)
    assert codec.encode(wire.ServerHeartbeat(session_id="s", timestamp=beat.timestamp))


WITH = (
    '{"type":"job_result","job_id":"j","attempt_id":1,"node_id":"n","session_id":"s","utterance_index":0,'
    '"success":true,"trace_id":"t","text_asr":"hello",%s}'
)
ODD = {
    "a number past 64 bits": '"extra":{"a":[18446744073709551616]}',
    "what nests deep": '"extra":{"a":' + "[" * 900 + "]" * 900 + "}",
    "audio that is no base64": '"tts_audio":"!!!"',
    "a fault with a number past 64 bits": '"error":{"code":"X","message":"m","details":-18446744073709551616}',
}


@pytest.mark.parametrize("field", ODD.values(), ids=ODD.keys())
def test_a_result_goes_on_without_what_cannot_be_passed_on(field: str):
    result = codec.decode_node(WITH % field)
    assert isinstance(result, node_wire.JobResult)
    assert result.text_asr == "hello"
    assert (result.extra, result.tts_audio, result.error and result.error.details) == (None, None, None)
    assert bus.decode_bus(bus.encode_bus(bus.ReportJob(node_id="n", report=result)))
    assert kept.decode_kept(kept.encode_report("n", result))


def test_a_result_keeps_what_can_be_passed_on():
    result = codec.decode_node(WITH % '"extra":{"a":[9223372036854775807,{"b":null}]},"tts_audio":"AAAA"')
    assert isinstance(result, node_wire.JobResult)
    assert result.extra == {"a": [9223372036854775807, {"b": None}]}
    assert result.tts_audio == "AAAA"


@pytest.mark.parametrize("signal", ["18446744073709551616", "[" * 900 + "]" * 900])
def test_a_signal_that_cannot_be_passed_on_is_refused(signal: str):
    for kind, field in (("webrtc_offer", "sdp"), ("webrtc_answer", "sdp"), ("webrtc_ice", "candidate")):
        with pytest.raises(PeerError):
            codec.decode_client(f'{{"type":"{kind}","room_code":"1","to":"s","{field}":{signal}}}')


def test_a_refusal_names_the_field():
    with pytest.raises(PeerError, match=r"seq"):
        codec.decode_client(REFUSED["a missing field"])


@given(st.data())
def test_a_damaged_text_frame_raises_nothing_but_a_peers_fault(data: st.DataObject):
    name, struct = data.draw(st.sampled_from(KINDS))
    frame = list(codec.encode(data.draw(strategies.message(struct))).decode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(frame) - 1))
        frame[at : at + data.draw(st.integers(0, 4))] = data.draw(st.text(max_size=3))
    for decode in DECODERS:
        _decodes_or_blames(decode, "".join(frame))
    assert name in DIRECTIONS


@given(st.one_of(st.text(max_size=60), st.binary(max_size=80)))
def test_noise_raises_nothing_but_a_peers_fault(frame: str | bytes):
    for decode in DECODERS:
        _decodes_or_blames(decode, frame)


def _decodes_or_blames(decode: Callable[[Any], object], frame: str | bytes) -> None:
    told = ErrorCode.INVALID_MESSAGE
    try:
        decode(frame)
    except PeerError as error:
        told = error.code
    assert told is ErrorCode.INVALID_MESSAGE


# ----------------------------------------------------------------------------------------------- base64


@given(st.binary(max_size=300))
def test_audio_survives_base64(audio: bytes):
    assert codec.decode_audio(codec.encode_audio(audio)) == audio


@pytest.mark.parametrize("text", [None, ""])
def test_an_absent_payload_is_no_audio(text: str | None):
    assert codec.decode_audio(text) == b""


@pytest.mark.parametrize("text", ["A", "AAE", "AA=E", "A A=", "AAE=\n", "ÄÄE=", "AA-_", "%%%%", "AAE=="])
def test_what_is_not_base64_is_the_fault_of_its_sender(text: str):
    with pytest.raises(PeerError) as caught:
        codec.decode_audio(text)
    assert caught.value.code is ErrorCode.INVALID_MESSAGE


@given(st.text(max_size=40))
def test_no_text_in_place_of_audio_raises_anything_else(text: str):
    _decodes_or_blames(codec.decode_audio, text)


# ----------------------------------------------------------------------------------------------- binary frames


@pytest.mark.parametrize(
    ("chunk", "golden"),
    [
        (
            BinaryChunk("s-1", seq=258, timestamp_ms=0x0A0B0C0D, is_final=False, audio=b"\xaa\xbb"),
            "01 03 02010000 0d0c0b0a 00 00 732d31 aabb",
        ),
        (
            BinaryChunk("s-1", seq=1, timestamp_ms=0, is_final=True, audio=b"\xaa"),
            "01 03 01000000 00000000 01 00 732d31 aa",
        ),
        (BinaryChunk("é", seq=7, timestamp_ms=1, is_final=True, audio=b""), "02 02 07000000 01000000 c3a9"),
    ],
)
def test_a_binary_chunk_looks_like_this(chunk: BinaryChunk, golden: str):
    assert codec.encode_chunk(chunk) == bytes.fromhex(golden)
    assert codec.decode_client(bytes.fromhex(golden)) == chunk


def test_a_binary_ping_looks_like_this():
    ping = BinaryPing("s", seq=3, timestamp_ms=4)
    assert codec.encode_ping(ping) == bytes.fromhex("10 01 03000000 04000000 73")
    pong = BinaryPing("s", seq=3, timestamp_ms=4, is_pong=True)
    assert codec.encode_ping(pong) == bytes.fromhex("11 01 03000000 04000000 73")
    assert codec.decode_client(codec.encode_ping(ping)) == codec.decode_server(codec.encode_ping(ping)) == ping
    assert codec.decode_server(codec.encode_ping(pong)) == pong


@given(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.binary(max_size=100),
)
def test_a_binary_chunk_comes_back_as_it_went(session_id: str, seq: int, at_ms: int, is_final: bool, audio: bytes):
    chunk = BinaryChunk(session_id, seq, at_ms, is_final, audio)
    assert codec.decode_client(codec.encode_chunk(chunk)) == chunk


def test_a_clock_past_32_bits_wraps_around():
    chunk = codec.decode_client(codec.encode_chunk(BinaryChunk("s", 0, 1_700_000_000_123, is_final=False, audio=b"x")))
    assert isinstance(chunk, BinaryChunk)
    assert chunk.timestamp_ms == 1_700_000_000_123 % 2**32


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x01",
        bytes.fromhex("01 03 01000000 00000000 00 00 73"),
        bytes.fromhex("02 03 01000000 00000000 73"),
        bytes.fromhex("03 01 01000000 00000000 73"),
        bytes.fromhex("01 01 01000000 00000000 00 00 ff"),
    ],
    ids=["empty", "cut head", "cut id", "cut final", "unknown type", "id that is no UTF-8"],
)
def test_a_binary_frame_that_is_no_chunk_is_the_fault_of_its_sender(frame: bytes):
    with pytest.raises(PeerError):
        codec.decode_client(frame)


def test_a_server_sends_no_audio_frames():
    with pytest.raises(PeerError):
        codec.decode_server(codec.encode_chunk(BinaryChunk("s", 0, 0, is_final=False, audio=b"x")))


def test_audio_of_a_chunk_is_the_same_in_both_forms():
    text = codec.decode_client(CHUNK)
    assert isinstance(text, wire.AudioChunk)
    assert (
        codec.chunk_audio(text) == codec.chunk_audio(BinaryChunk("s", 0, 0, is_final=False, audio=b"\0\1")) == b"\0\1"
    )


# ----------------------------------------------------------------------------------------------- nodes


@given(st.binary(max_size=200))
def test_an_assignment_brings_its_audio_in_both_forms(audio: bytes):
    for binary in (False, True):
        frame = codec.encode_assign(ASSIGN, audio, binary=binary)
        assert isinstance(frame, bytes) == binary
        assign, brought = codec.decode_scheduler(frame)
        assert isinstance(assign, node_wire.JobAssign)
        assert (msgspec.structs.replace(assign, audio=""), brought) == (ASSIGN, audio)


@given(st.binary(max_size=200))
def test_a_result_brings_its_speech_in_both_forms(audio: bytes):
    for binary in (False, True):
        frame = codec.encode_result(RESULT, audio, binary=binary)
        result = codec.decode_node(frame)
        assert isinstance(result, node_wire.JobResult)
        assert codec.decode_audio(result.tts_audio) == audio
        assert msgspec.structs.replace(result, tts_audio=None) == RESULT


def test_a_binary_frame_of_a_node_looks_like_this():
    frame = codec.encode_result(RESULT, b"\xaa\xbb", binary=True)
    assert isinstance(frame, bytes)
    header = codec.encode(RESULT)
    assert frame == len(header).to_bytes(4, "little") + header + b"\xaa\xbb"


@pytest.mark.parametrize(
    "frame",
    [b"", b"\1\0", b"\xff\xff\xff\xff{}", b"\2\0\0\0{}", b"\5\0\0\0{}"],
    ids=["empty", "cut", "huge", "no type", "past"],
)
def test_a_binary_frame_of_a_node_that_is_none_is_its_fault(frame: bytes):
    for decode in (codec.decode_node, codec.decode_scheduler):
        with pytest.raises(PeerError):
            decode(frame)


def test_only_results_come_from_nodes_in_binary():
    header = codec.encode(node_wire.JobAck(job_id="j", attempt_id=1, node_id="n", session_id="s", trace_id="t"))
    with pytest.raises(PeerError, match="job_result"):
        codec.decode_node(len(header).to_bytes(4, "little") + header)


@given(st.data())
def test_a_damaged_binary_frame_raises_nothing_but_a_peers_fault(data: st.DataObject):
    frames = [
        codec.encode_chunk(BinaryChunk("session", 1, 2, is_final=False, audio=b"sound")),
        codec.encode_ping(BinaryPing("session", 1, 2)),
        codec.encode_result(RESULT, b"sound", binary=True),
        codec.encode_assign(ASSIGN, b"sound", binary=True),
    ]
    frame = bytearray(typing.cast("bytes", data.draw(st.sampled_from(frames))))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    del frame[data.draw(st.integers(0, len(frame))) :]
    for decode in DECODERS:
        _decodes_or_blames(decode, bytes(frame))
