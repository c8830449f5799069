"""Every parser of bytes from elsewhere: what it may raise of its own, and what it likes, for fuzzers to start from."""

from collections.abc import Callable
from typing import Any

import msgspec

from lingua_scheduler.client.dial import session_url
from lingua_scheduler.client.errors import ClientError
from lingua_scheduler.core import access
from lingua_scheduler.protocol import audio, bus, codec, kept
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol import node as node_wire
from lingua_scheduler.protocol.errors import PeerError
from lingua_scheduler.protocol.ids import NodeId, language, valid_id
from lingua_scheduler.runtime.config import ConfigError
from lingua_scheduler.scheduler import proxies
from lingua_scheduler.scheduler.auth.guard import is_loopback
from lingua_scheduler.scheduler.auth.keys import parse_keys
from lingua_scheduler.scheduler.limits import of_whom
from lingua_scheduler.scheduler.nodes import decode
from lingua_scheduler.store.servers import parse_url

RESULT = node_wire.JobResult(
    job_id="j", attempt_id=1, node_id="n", session_id="s", utterance_index=0, success=True, trace_id="t", text_asr="a",
    extra={"a": [1, {"b": None}]}, tts_audio="QUFB",
)  # fmt: skip
CHUNK = wire.AudioChunk(session_id="s", seq=1, is_final=True, payload="QUFB")
INIT = wire.SessionInit(client_version="1", platform="p", src_lang="en", tgt_lang="pt")
TOKEN = b"eyJhbGciOiJIUzI1NiIsImtpZCI6ImEifQ.eyJraW5kIjoiY2xpZW50IiwianRpIjoiYSIsImV4cCI6MX0.c2ln"
RING = parse_keys("a:HS256:" + "QUFB" * 11)
OPUS = audio.join_packets([bytes([9 << 3, 1, 2]), bytes([(31 << 3) | 3, 6, 0])])


def _text(parse: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


def _is_sent_on(data: bytes) -> None:
    """What a node may say can be told to the next instance, and written down."""
    message = decode(data.decode("utf-8", "replace"))
    if isinstance(message, node_wire.JobResult):
        assert bus.decode_bus(bus.encode_bus(bus.ReportJob(node_id="n", report=message)))
        assert kept.decode_kept(kept.encode_report(NodeId("n"), message))


def _through(text: str) -> str:
    return proxies.origin("10.0.0.9", [text], proxies.networks(["10.0.0.0/8"]))


PARSERS: dict[str, tuple[Callable[[bytes], Any], tuple[type[Exception], ...], list[bytes]]] = {
    "client text": (_text(codec.decode_client), (PeerError,), [codec.encode(CHUNK), codec.encode(INIT)]),
    "client binary": (codec.decode_client, (PeerError,), [b"\x01\x00\x00\x00\x01s" + bytes(30), b"\x02" + bytes(20)]),
    "node text": (_is_sent_on, (PeerError,), [codec.encode(RESULT)]),
    "node binary": (decode, (PeerError,), [b"\x00\x00\x00\x02{}" + bytes(9), codec.encode(RESULT)]),
    "server text": (
        _text(codec.decode_server),
        (PeerError,),
        [codec.encode(wire.ServerHeartbeat(session_id="s", timestamp=1))],
    ),
    "scheduler frames": (codec.decode_scheduler, (PeerError,), [b"\x00\x00\x00\x02{}" + bytes(9)]),
    "between instances": (
        bus.decode_bus,
        (msgspec.DecodeError,),
        [bus.encode_bus(bus.ReportJob(node_id="n", report=RESULT))],
    ),
    "kept results": (kept.decode_kept, (msgspec.DecodeError,), [kept.encode_report(NodeId("n"), RESULT)]),
    "audio in text": (_text(codec.decode_audio), (PeerError,), [b"QUFB", b"QUE="]),
    "Opus": (lambda data: audio.opus_samples(data, 48_000), (PeerError,), [OPUS]),
    "claims": (_text(lambda text: access.node_id_of(text, NodeId("n"))), (), [TOKEN]),
    "tokens": (_text(RING.verify), (access.AccessError,), [TOKEN]),
    "keys": (_text(parse_keys), (ConfigError,), [b"a:HS256:" + b"QUFB" * 11]),
    "ids": (_text(valid_id), (), [b"node-1"]),
    "languages": (_text(language), (), [b"zh-Hant-TW"]),
    "addresses": (_text(is_loopback), (), [b"::ffff:127.0.0.1", b"127.0.0.1%lo"]),
    "whose limits": (_text(of_whom), (), [b"2001:db8::1", b"::ffff:192.0.2.1"]),
    "proxies": (_text(_through), (), [b"10.0.0.1", b"6.6.6.6, 192.0.2.1, 10.0.0.2"]),
    "Redis URLs": (_text(parse_url), (ValueError,), [b"redis://user:pass@[::1]:6379/0?db=1", b"unix:///x?db=0"]),
    "scheduler URLs": (_text(session_url), (ClientError,), [b"wss://host:1/ws?x=1", b"[::1]:99"]),
}


def parse(name: str, data: bytes) -> None:
    """AssertionError where the parser raises what is not its own."""
    read, own, _ = PARSERS[name]
    try:
        read(data)
    except own:
        pass
    except Exception as error:
        raise AssertionError(f"{name}: {data!r}") from error
