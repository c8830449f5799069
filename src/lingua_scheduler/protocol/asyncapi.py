"""The AsyncAPI document of both WebSocket doors, made from the message structs.

`python -m lingua_scheduler.protocol.asyncapi docs/asyncapi.json` writes it; tests hold the file current, and every
message of the tests to its schema. The described application is the scheduler: it *receives* what clients and nodes
say.
"""

import sys
import typing
from pathlib import Path
from typing import Any

import msgspec
import pybase64

from lingua_scheduler import __version__
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from lingua_scheduler.protocol.example import example
from lingua_scheduler.protocol.messages import ClientMessage, ServerMessage
from lingua_scheduler.protocol.node import (
    JobAssign,
    JobPreview,
    JobResult,
    NodeMessage,
    SchedulerMessage,
)
from lingua_scheduler.protocol.schema import Schema, components

_ABOUT = """\
Speech goes in, translations come out, in the order of speech. Every frame that is not binary is one JSON object tagged
by `type`. Optional fields that are absent are left out of what the scheduler sends; `null` and unknown fields are
accepted in what it receives. Fields and messages marked 1.1 exist for clients that ask for `protocol_version` "1.1" in
`session_init`, those marked 2 for nodes that announce "2" in `node_register`."""
_CLIENT_ABOUT = "Microphones and ears: one connection is one session, opened by `session_init` or `session_resume`."
_NODE_ABOUT = "Worker nodes: `node_register` first, then heartbeats and jobs."
_BYTES = "application/octet-stream"
_HEAD = [
    {"name": "type", "type": "u8"},
    {"name": "session_id_bytes", "type": "u8"},
    {"name": "seq", "type": "u32"},
    {"name": "timestamp_ms", "type": "u32"},
]
_ID = {"name": "session_id", "type": "utf-8", "length": "session_id_bytes"}
_FLAGS = [{"name": "is_final", "type": "u8"}, {"name": "reserved", "type": "u8"}]
_REST = {"name": "audio", "type": "bytes", "length": "the rest"}
_AUDIO = b"\x00\x01\x00\x02"


class _Direction(typing.NamedTuple):
    """What travels one way through one door."""

    channel: str
    action: str
    operation: str
    union: Any
    binary: tuple[str, ...]


DIRECTIONS = (
    _Direction("client", "receive", "hearClient", ClientMessage, ("BinaryAudio", "BinaryFinal", "BinaryPing")),
    _Direction("client", "send", "tellClient", ServerMessage, ("BinaryPing", "BinaryPong")),
    _Direction("node", "receive", "hearNode", NodeMessage, ("BinaryJobResult",)),
    _Direction("node", "send", "tellNode", SchedulerMessage, ("BinaryJobAssign", "BinaryJobPreview")),
)


def document() -> Schema:
    """The whole document, as plain data."""
    structs = [*dict.fromkeys(struct for one in DIRECTIONS for struct in typing.get_args(one.union))]
    _, schemas = components(structs)
    messages = {struct.__name__: _message(struct, schemas) for struct in structs} | _binary_messages()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lingua Scheduler",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "instance": {
                "host": "localhost:5010",
                "protocol": "ws",
                "description": "Any instance of the fleet; `wss` where it has a certificate or stands behind a proxy.",
            }
        },
        "channels": {
            "client": _channel("/ws/session", _CLIENT_ABOUT, "client"),
            "node": _channel("/ws/node", _NODE_ABOUT, "node"),
        },
        "operations": {one.operation: _operation(one) for one in DIRECTIONS},
        "components": {"schemas": dict(sorted(schemas.items())), "messages": dict(sorted(messages.items()))},
    }


def names(one: _Direction) -> list[str]:
    """The messages of a direction, by their names in the document."""
    return [*(struct.__name__ for struct in typing.get_args(one.union)), *one.binary]


def _channel(address: str, about: str, channel: str) -> Schema:
    told = dict.fromkeys(name for one in DIRECTIONS if one.channel == channel for name in names(one))
    return {
        "address": address,
        "description": about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in told},
        "bindings": {"ws": {"method": "GET"}},
    }


def _operation(one: _Direction) -> Schema:
    return {
        "action": one.action,
        "channel": {"$ref": f"#/channels/{one.channel}"},
        "messages": [{"$ref": f"#/channels/{one.channel}/messages/{name}"} for name in names(one)],
    }


def _message(struct: type[msgspec.Struct], schemas: dict[str, Schema]) -> Schema:
    told: Schema = {
        "name": str(struct.__struct_config__.tag),
        "title": struct.__name__,
        "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
        "examples": [{"payload": example(struct)}],
    }
    if about := schemas[struct.__name__].get("description"):
        told["description"] = about
    return told


def _binary_messages() -> dict[str, Schema]:
    session, at_ms = "s-9b2e", 90_000
    chunk = BinaryChunk(session, 41, at_ms, is_final=False, audio=_AUDIO)
    final = BinaryChunk(session, 42, at_ms, is_final=True, audio=b"")
    ping, pong = BinaryPing(session, 43, at_ms), BinaryPing(session, 43, at_ms, is_pong=True)
    heads = {
        "BinaryAudio": (codec.AUDIO, "1.1: audio, little endian.", [*_FLAGS, _ID, _REST], codec.encode_chunk(chunk)),
        "BinaryFinal": (codec.FINAL, "1.1: an empty final.", [_ID], codec.encode_chunk(final)),
        "BinaryPing": (codec.PING, "1.1: answered with a pong of the same numbers.", [_ID], codec.encode_ping(ping)),
        "BinaryPong": (codec.PONG, "1.1: the answer to a ping.", [_ID], codec.encode_ping(pong)),
    }
    told = {
        name: _binary(name, about, [_HEAD[0] | {"value": kind}, *_HEAD[1:], *rest], frame)
        for name, (kind, about, rest, frame) in heads.items()
    }
    for struct in (JobAssign, JobPreview, JobResult):
        name = f"Binary{struct.__name__}"
        about = f"2, with `binary_audio`: `{struct.__struct_config__.tag}` with its audio behind it, little endian."
        told[name] = _binary(name, about, _behind_header(struct), _with_header(struct))
    return told


def _behind_header(struct: type[msgspec.Struct]) -> list[Schema]:
    header = {"name": "header", "type": "json", "length": "header_bytes"}
    schema = {"schema": {"$ref": f"#/components/schemas/{struct.__name__}"}}
    return [{"name": "header_bytes", "type": "u32"}, header | schema, _REST]


def _with_header(struct: type[msgspec.Struct]) -> bytes:
    told = example(struct)
    told |= {"audio": ""} if "audio" in told else {}
    told.pop("tts_audio", None)
    message: Any = msgspec.convert(told, struct)
    encode = codec.encode_result if struct is JobResult else codec.encode_assign
    frame = encode(message, _AUDIO, binary=True)
    assert isinstance(frame, bytes)
    return frame


def _binary(name: str, about: str, layout: list[Schema], frame: bytes) -> Schema:
    """A frame of bytes: `x-layout` tells its fields in order. Examples are base64, as JSON cannot hold bytes."""
    return {
        "name": name,
        "title": name,
        "contentType": _BYTES,
        "description": about,
        "payload": {"type": "string", "contentEncoding": "base64", "x-layout": layout},
        "examples": [{"payload": pybase64.b64encode_as_string(frame)}],
    }


def write(path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document()), indent=2) + b"\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
