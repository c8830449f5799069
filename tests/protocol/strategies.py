"""Any message of the protocol, made from its struct."""

import typing
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import msgspec
from hypothesis import strategies as st

# What JSON can carry and Python gives back the same: no lone surrogates, no not-a-number, no integers past 64 bits.
_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_INT = st.integers(-(2**63), 2**63 - 1)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _INT | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: _INT,
    float: _FLOAT,
    bool: st.booleans(),
    NoneType: st.none(),
    Any: _JSON,
}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Annotated:
        return of_type(arguments[0])
    if origin is typing.Union or isinstance(hint, UnionType):
        return st.one_of([of_type(one) for one in arguments])
    if origin is list:
        return st.lists(of_type(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(of_type(arguments[0]), of_type(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    assert issubclass(hint, msgspec.Struct), hint
    return message(hint)


def message(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Messages of one kind; fields that may be absent are, now and then."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(struct):
        (required if field.required else optional)[field.name] = of_type(field.type)
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: struct(**fields))
