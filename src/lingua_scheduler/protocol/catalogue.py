"""The message tables of `docs/protocol.md`, made from the structs themselves.

`python -m lingua_scheduler.protocol.catalogue docs/protocol.md` rewrites the tables in place; a test holds them
current.
"""

import sys
import typing
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import msgspec

from lingua_scheduler.protocol.example import example
from lingua_scheduler.protocol.messages import ClientMessage, ServerMessage
from lingua_scheduler.protocol.node import NodeMessage, SchedulerMessage

DIRECTIONS: tuple[tuple[str, Any], ...] = (
    ("Client → scheduler", ClientMessage),
    ("Scheduler → client", ServerMessage),
    ("Node → scheduler", NodeMessage),
    ("Scheduler → node", SchedulerMessage),
)
BEGIN, END = "<!-- messages: begin -->", "<!-- messages: end -->"


def with_tables(document: str) -> str:
    """`document` with its tables made anew. ValueError where the markers are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    """One table for each direction, a row for each message, and below it an example of each."""
    return "\n".join(f"{_table(title, union)}\n\n{_examples(union)}" for title, union in DIRECTIONS)


def _table(title: str, union: Any) -> str:
    rows = [f"\n### {title}\n", "| type | fields | optional |", "|---|---|---|"]
    for struct in typing.get_args(union):
        fields = msgspec.structs.fields(struct)
        required = ", ".join(_field(field) for field in fields if field.required)
        optional = ", ".join(_field(field) for field in fields if not field.required)
        rows.append(f"| `{struct.__struct_config__.tag}` | {required} | {optional} |")
    return "\n".join(rows)


def _examples(union: Any) -> str:
    told = (msgspec.json.encode(example(struct)).decode() for struct in typing.get_args(union))
    return "\n".join(("```json", *told, "```"))


def _field(field: msgspec.structs.FieldInfo) -> str:
    return f"{field.encode_name}: {_type(field.type)}"


def _type(hint: Any) -> str:
    """A type as a reader of JSON would call it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "·".join(f'"{value}"' for value in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if isinstance(hint, UnionType) or origin is typing.Union:
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    if origin is list:
        return f"[{_type(arguments[0])}]"
    if origin is dict:
        return "object"
    names = {str: "text", int: "int", float: "number", bool: "bool", Any: "any"}
    return names.get(hint) or f"`{hint.__name__}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
