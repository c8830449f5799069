"""The messages in `docs/protocol.md`, made from the structs themselves.

`python -m lingua_scheduler.protocol.catalogue docs/protocol.md` rewrites the tables in place; a test holds them
current.
"""

import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import msgspec

from lingua_scheduler.protocol.errors import HINTS, ErrorCode
from lingua_scheduler.protocol.example import example
from lingua_scheduler.protocol.messages import ClientMessage, ServerMessage
from lingua_scheduler.protocol.node import NodeMessage, SchedulerMessage
from lingua_scheduler.protocol.schema import field_docs

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
    """Every message of each direction, what it means, its fields and an example; what stands inside; the codes."""
    parts = [f"\n### {title}\n\n" + "\n".join(_messages(union)) for title, union in DIRECTIONS]
    inside = sorted(_inside(), key=lambda struct: struct.__name__)
    parts.append("\n### Inside messages\n\n" + "\n".join(_section(struct.__name__, struct) for struct in inside))
    codes = [f"| `{code.value}` | {HINTS[code].en} |" for code in ErrorCode]
    parts.append("\n".join(["\n### Error codes\n", "| code | what a person is told |", "|---|---|", *codes]))
    return "\n".join(parts)


def _messages(union: Any) -> Iterator[str]:
    for struct in typing.get_args(union):
        yield _section(f"`{struct.__struct_config__.tag}`", struct)
        yield f"```json\n{msgspec.json.encode(example(struct)).decode()}\n```\n"


def _section(title: str, struct: type[msgspec.Struct]) -> str:
    about = inspect.cleandoc(struct.__doc__ or "")
    told = field_docs(struct)
    rows = [_row(field, told.get(field.name, "")) for field in msgspec.structs.fields(struct)]
    return "\n".join([
        f"#### {title}\n", *([f"{about}\n"] if about else []), "| field | type | |", "|---|---|---|", *rows, "",
    ])  # fmt: skip


def _row(field: msgspec.structs.FieldInfo, about: str) -> str:
    kind = _type(field.type) + ("" if field.required else ", optional")
    return f"| `{field.encode_name}` | {kind} | {about} |"


def _inside() -> set[type[msgspec.Struct]]:
    """The structs that messages are made of."""
    found: set[type[msgspec.Struct]] = set()
    waiting = [field.type for _, union in DIRECTIONS for one in typing.get_args(union) for field in _fields(one)]
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in found:
            found.add(hint)
            waiting += [field.type for field in _fields(hint)]
    return found


def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(struct)


def _type(hint: Any) -> str:
    """A type as a reader of JSON would call it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _type(arguments[0])
    if isinstance(hint, UnionType) or origin is typing.Union:
        return " or ".join(_type(part) for part in arguments if part is not NoneType)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "object"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    if hint is ErrorCode:
        return "[code](#error-codes)"
    return {str: "text", int: "int", float: "number", bool: "bool", Any: "anything"}[hint]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
