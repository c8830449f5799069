"""The tables of `docs/http.md`, made from the OpenAPI document: operations, and every field of every answer.

`python -m lingua_scheduler.scheduler.http_doc docs/http.md` rewrites the tables in place; a test holds them current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lingua_scheduler.protocol.schema import Schema
from lingua_scheduler.scheduler import openapi

BEGIN, END = "<!-- operations: begin -->", "<!-- operations: end -->"
ACCESS = {"open": "everybody", "tenant": "operators, and clients of the job's tenant", "operator": "operators",
          "control": "whoever may control"}  # fmt: skip


def with_tables(page: str) -> str:
    """`page` with its tables made anew. ValueError where the markers are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    document = openapi.document()
    schemas: dict[str, Schema] = document["components"]["schemas"]
    rows = [_row(op, document["paths"][op.path][op.method]) for op in openapi.OPERATIONS]
    parts = [*rows, "", "## Answers", ""]
    parts = ["| operation | answers | refuses | heard are |", "|---|---|---|---|", *parts]
    for name in _in_order(document):
        parts += _struct(name, schemas[name])
    return "\n".join(parts)


def _row(op: openapi.Operation, told: Schema) -> str:
    success = told["responses"][str(op.status)]
    (content,) = success["content"].values()
    refused = " · ".join(code for code in told["responses"] if int(code) >= 400)
    answer = _type(content.get("x-events") or content["schema"])
    return (
        f"| `{op.method.upper()} {op.path}`<br>{op.summary} | {op.status} {answer} | {refused} | {ACCESS[op.access]} |"
    )


def _in_order(document: Schema) -> list[str]:
    """Structs as a reader of the operations meets them."""
    met: dict[str, None] = {}

    def meet(value: Any) -> None:
        for name in _references(value):
            if name not in met:
                met[name] = None
                meet(document["components"]["schemas"][name])

    for op in openapi.OPERATIONS:
        meet(document["paths"][op.path][op.method])
    return list(met)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in cast("Schema", value).items():
            yield from [_name(one)] if name == "$ref" else _references(one)
    elif isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _references(one)


def _struct(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    if about := schema.get("description"):
        yield f"{about}\n"
    yield "| field | type | |"
    yield "|---|---|---|"
    required = schema.get("required", ())
    for field, told in schema["properties"].items():
        rare = "" if field in required else " (may be absent)"
        yield f"| `{field}` | {_type(told)} | {told.get('description', '')}{rare} |"
    yield ""


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _type(schema: Schema) -> str:
    """A schema as a reader would call it."""
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " · ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "prefixItems" in schema:
        return f"[{', '.join(_type(one) for one in schema['prefixItems'])}]"
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}"
        case "object":
            return f"object of {_type(schema.get('additionalProperties') or {})}"
        case str(kind):
            return {"string": "text", "boolean": "bool", "integer": "int"}.get(kind, kind)
        case _:
            return "any"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
