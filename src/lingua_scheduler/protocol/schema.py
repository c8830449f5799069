"""JSON Schema of structs, with what docstrings say of each field: the ground of the OpenAPI and AsyncAPI documents.

msgspec makes the schemas. A docstring behind a field is in the source alone, so that is read; where a program comes
without its sources, fields go without descriptions.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec
from msgspec import inspect as kinds

REFERENCE = "#/components/schemas/{name}"

Schema = dict[str, Any]


def components(types: Iterable[Any], *, always_whole: bool = False) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of `types`, and by name all that they refer to.

    `always_whole`: the schemas are of what we send; a field with a default is there all the same, unless its struct
    omits those.
    """
    listed = list(types)
    schemas, named = msgspec.json.schema_components(listed, ref_template=REFERENCE)
    for one in _classes(listed):
        _describe(one, named[one.__name__])
        if always_whole:
            _require_all(one, named[one.__name__])
    return list(schemas), named


def _classes(types: list[Any]) -> set[type]:
    """Every struct and dataclass in them."""
    found: set[type] = set()
    waiting = list(kinds.multi_type_info(types))
    while waiting:
        one = waiting.pop()
        if isinstance(one, kinds.StructType | kinds.DataclassType):
            if one.cls in found:
                continue
            found.add(one.cls)
            waiting += [field.type for field in one.fields]
        else:
            waiting += _inside(one)
    return found


def _inside(kind: kinds.Type) -> Iterator[kinds.Type]:
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        listed = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        yield from (one for one in listed if isinstance(one, kinds.Type))


def _describe(struct: type, schema: Schema) -> None:
    told: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        told |= field_docs(base)
    for name, field in schema["properties"].items():
        if name in told:
            field["description"] = told[name]


def _require_all(struct: type, schema: Schema) -> None:
    unset: set[str] = set()
    if issubclass(struct, msgspec.Struct):
        if struct.__struct_config__.omit_defaults:
            return
        unset = {one.encode_name for one in msgspec.structs.fields(struct) if one.default is msgspec.UNSET}
    schema["required"] = [name for name in schema["properties"] if name not in unset]
    for field in schema["properties"].values():
        field.pop("default", None)


@functools.cache
def field_docs(struct: type) -> dict[str, str]:
    """The docstring behind each field that the class itself declares, on one line."""
    try:
        source = textwrap.dedent(inspect.getsource(struct))
    except (OSError, TypeError):
        return {}
    body = ast.parse(source).body[0]
    assert isinstance(body, ast.ClassDef)
    told: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            told[ast.unparse(field.target)] = " ".join(str(after.value.value).split())
    return told
