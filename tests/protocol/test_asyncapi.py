"""The description of the WebSocket side: well formed, and true of every message and frame."""

import base64
import functools
import json
import struct
import typing
import warnings
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, ValidationError

from lingua_scheduler.protocol import asyncapi, codec, messages
from lingua_scheduler.protocol.catalogue import DIRECTIONS
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing
from lingua_scheduler.protocol.errors import PeerError
from tests.protocol import strategies

TOLD: dict[str, Any] = asyncapi.document()
MESSAGES: dict[str, dict[str, Any]] = TOLD["components"]["messages"]
STRUCTS = tuple(dict.fromkeys(one for _, union in DIRECTIONS for one in typing.get_args(union)))
DECODERS = {
    "hearClient": codec.decode_client,
    "tellClient": codec.decode_server,
    "hearNode": codec.decode_node,
    "tellNode": codec.decode_scheduler,
}


CLOSED = {name: schema | {"additionalProperties": False} for name, schema in TOLD["components"]["schemas"].items()}


@functools.cache
def validator(reference: str) -> Draft7Validator:
    return Draft7Validator({"$ref": reference, "components": {"schemas": CLOSED}})


def checked(schema: dict[str, str], value: Any) -> None:
    """ValidationError where the schema does not take a value, or the value has more than is told of."""
    validator(schema["$ref"]).validate(value)


def operations() -> Iterator[tuple[str, str]]:
    """Each operation with each of its messages."""
    for name, told in TOLD["operations"].items():
        for reference in told["messages"]:
            yield name, reference["$ref"].rpartition("/")[2]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in cast("dict[str, Any]", value).items():
            yield from [one] if name == "$ref" else references(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from references(one)


def test_it_is_a_document_of_asyncapi():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the library's fields hide methods of their base
        from asyncapi3 import AsyncAPI3

    AsyncAPI3.model_validate(TOLD)
    with pytest.raises(ValueError, match="should be 'send' or 'receive'"):
        AsyncAPI3.model_validate(TOLD | {"operations": {"x": TOLD["operations"]["hearNode"] | {"action": "hear"}}})


def test_every_reference_leads_somewhere():
    for reference in references(TOLD):
        found: Any = TOLD
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_schemas_are_schemas():
    for schema in TOLD["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


@pytest.mark.parametrize(("operation", "name"), list(operations()))
def test_each_example_is_what_it_stands_for(operation: str, name: str):
    """It holds to its schema, and the codec of its direction takes it."""
    told = MESSAGES[name]
    (example,) = told["examples"]
    if told.get("contentType") == "application/octet-stream":
        assert DECODERS[operation](base64.b64decode(example["payload"], validate=True))
    else:
        checked(told["payload"], example["payload"])
        decoded = DECODERS[operation](json.dumps(example["payload"]))
        assert type(decoded[0] if isinstance(decoded, tuple) else decoded).__name__ == name


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_every_message_holds_to_its_schema(kind: type[messages.Wire], data: st.DataObject):
    message = data.draw(strategies.message(kind))
    checked(MESSAGES[kind.__name__]["payload"], json.loads(codec.encode(message)))


@pytest.mark.parametrize(("operation", "name"), list(operations()))
def test_what_the_schema_requires_the_codec_requires(operation: str, name: str):
    told = MESSAGES[name]
    if "contentType" in told:
        return
    whole = told["examples"][0]["payload"]
    for field in TOLD["components"]["schemas"][name]["required"]:
        broken = {one: value for one, value in whole.items() if one != field}
        with pytest.raises(ValidationError):
            checked(told["payload"], broken)
        with pytest.raises(PeerError):
            DECODERS[operation](json.dumps(broken))


# --- frames of bytes, read by nothing but their layout ---

NUMBERS = {"u8": "<B", "u32": "<I"}


def read(name: str, frame: bytes) -> dict[str, Any]:
    """The fields of a frame, as `x-layout` tells them."""
    fields: dict[str, Any] = {}
    for field in MESSAGES[name]["payload"]["x-layout"]:
        if form := NUMBERS.get(field["type"]):
            size = struct.calcsize(form)
            fields[field["name"]] = struct.unpack(form, frame[:size])[0]
        else:
            size = fields.get(field["length"], len(frame))
            fields[field["name"]] = {"utf-8": bytes.decode, "json": json.loads, "bytes": bytes}[field["type"]](
                frame[:size]
            )
        assert fields[field["name"]] == field.get("value", fields[field["name"]])
        frame = frame[size:]
    assert not frame
    return fields


@given(session=st.text(max_size=40), seq=st.integers(0, 2**32 - 1), is_final=st.booleans(), audio=st.binary(max_size=9))
def test_a_clients_frame_is_laid_out_as_told(session: str, seq: int, is_final: bool, audio: bytes):
    frame = codec.encode_chunk(BinaryChunk(session, seq, 7, is_final, audio))
    if is_final and not audio:
        assert read("BinaryFinal", frame) == {
            "type": 2, "session_id_bytes": len(session.encode()), "seq": seq, "timestamp_ms": 7, "session_id": session,
        }  # fmt: skip
        return
    fields = read("BinaryAudio", frame)
    assert (fields["session_id"], fields["seq"], fields["audio"]) == (session, seq, audio)
    assert fields["is_final"] == is_final


@pytest.mark.parametrize("is_pong", [False, True])
def test_a_ping_is_laid_out_as_told(is_pong: bool):
    fields = read("BinaryPong" if is_pong else "BinaryPing", codec.encode_ping(BinaryPing("s", 3, 4, is_pong)))
    assert (fields["session_id"], fields["seq"], fields["timestamp_ms"]) == ("s", 3, 4)


@pytest.mark.parametrize("name", ["BinaryJobAssign", "BinaryJobPreview", "BinaryJobResult"])
def test_a_nodes_frame_is_laid_out_as_told(name: str):
    (example,) = MESSAGES[name]["examples"]
    fields = read(name, base64.b64decode(example["payload"]))
    assert fields["audio"]
    _, header, _ = MESSAGES[name]["payload"]["x-layout"]
    checked(header["schema"], fields["header"])
    assert msgspec.json.decode(msgspec.json.encode(fields["header"])).get("audio", "") == ""
