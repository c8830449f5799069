"""The example of each message is one: its struct takes it, and it goes out as it came in."""

import typing

import msgspec
import pytest

from lingua_scheduler.protocol import example as examples
from lingua_scheduler.protocol.catalogue import DIRECTIONS

STRUCTS = tuple(dict.fromkeys(struct for _, union in DIRECTIONS for struct in typing.get_args(union)))


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_an_example_is_a_message(struct: type[msgspec.Struct]):
    told = examples.example(struct)
    message = msgspec.convert(told, struct)

    assert msgspec.to_builtins(message) == told


def test_nothing_is_said_of_what_no_message_has():
    names = {field.encode_name for struct in STRUCTS for field in msgspec.structs.fields(struct)}
    tags = {struct.__struct_config__.tag for struct in STRUCTS}

    assert examples._BY_MESSAGE.keys() <= tags
    assert not {name for fields in examples._BY_MESSAGE.values() for name in fields} - names
