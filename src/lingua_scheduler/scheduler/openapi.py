"""The OpenAPI document of the port's HTTP side, made from the structs that answers are built as.

`python -m lingua_scheduler.scheduler.openapi docs/openapi.json` writes it; instances serve it at
`/api/v1/openapi.json`. Tests hold the file current, hold the table below to the routes, and every answer to the
document.
"""

import functools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from lingua_scheduler import __version__
from lingua_scheduler.protocol.ids import ID_PATTERN
from lingua_scheduler.protocol.schema import REFERENCE, Schema, components
from lingua_scheduler.scheduler import answers
from lingua_scheduler.store.records import JobStory

Access = Literal["open", "tenant", "operator", "control"]

PATH = "/api/v1/openapi.json"
_JSON, _TEXT, _EVENTS = "application/json", "text/plain", "text/event-stream"
_ABOUT = """\
Health, numbers and control of a fleet of schedulers, as each of its instances tells them. Speech travels over
WebSockets: the AsyncAPI document describes those.

`GET` answers under `/api/v1` are pictures that the instance makes every two seconds; no request costs a scan. Times are
Unix milliseconds. Fields may be added in any version, and none is taken away within `/api/v1`."""
_TAGS = {
    "health": "For load balancers and supervisors.",
    "fleet": "What the fleet looks like. With keys configured: an administrator's token.",
    "jobs": "What became of a sentence.",
    "control": (
        "What changes something. With keys: an administrator's token. Without: programs on the instance's own machine, "
        "directly, addressing it as localhost. The content type must be application/json; the body is not read."
    ),
}
_PARAMETERS: dict[str, Schema] = {
    "job_id": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
    "node_id": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
    "instance_id": {"type": "string", "pattern": f"^{ID_PATTERN}$"},
    "letter_id": {"type": "string", "pattern": r"^[0-9]{1,20}-[0-9]{1,20}$"},
}
_REFUSALS = {
    401: "A token is needed, or this one is not good for it.",
    403: "Only programs on the instance's own machine may do this.",
    404: "There is no such thing.",
    415: "The content type is not application/json.",
    503: "Not now: Redis does not answer, or the instance has no room.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer`: a struct, or the content type where it is none."""

    method: Literal["get", "post", "delete"]
    path: str
    tag: str
    summary: str
    answer: Any
    status: int = 200
    access: Access = "operator"
    refusals: tuple[int, ...] = ()
    more: dict[int, Any] = field(default_factory=dict[int, Any])
    """Further answers that are no refusals, by status."""


_LETTERS = "/api/v1/instances/{instance_id}/dead-letters"
OPERATIONS = (
    Operation("get", "/health", "health", "OK while the process lives", _TEXT, access="open"),
    Operation(
        "get", "/ready", "health", "Whether clients should be sent here", answers.Readiness, access="open",
        more={503: answers.Readiness},
    ),
    Operation("get", "/metrics", "fleet", "Every metric, in the text format of Prometheus", _TEXT),
    Operation("get", PATH, "health", "This document", dict[str, Any], access="open"),
    Operation("get", "/api/v1/stats", "fleet", "The fleet in a few numbers", answers.Stats),
    Operation("get", "/api/v1/cluster", "fleet", "Instances and nodes", answers.Cluster),
    Operation("get", "/api/v1/nodes", "fleet", "Every registered node", answers.NodeList),
    Operation("get", "/api/v1/sessions", "fleet", "The newest sessions", answers.SessionList),
    Operation("get", "/api/v1/pools", "fleet", "What can be translated", answers.PoolList, access="open"),
    Operation("get", "/api/v1/metrics", "fleet", "Counts and percentiles as JSON", answers.Counts),
    Operation("get", "/api/v1/models", "fleet", "Models and services, and how many nodes have them", answers.ModelList),
    Operation("get", "/api/v1/feed", "fleet", "The pictures as they change, as server-sent events", _EVENTS,
              refusals=(503,)),
    Operation("get", "/api/v1/jobs", "jobs", "The jobs that were concluded last", answers.JobList),
    Operation("get", "/api/v1/jobs/{job_id}", "jobs", "The story of one job, for an hour after it", JobStory,
              access="tenant", refusals=(404, 503)),
    Operation("get", _LETTERS, "jobs", "Messages between instances that were given up", answers.LetterList,
              refusals=(404, 503)),
    Operation("post", f"{_LETTERS}/{{letter_id}}/redeliver", "control", "Deliver a dead letter once more",
              answers.LetterMoved, access="control", refusals=(404, 503)),
    Operation("delete", f"{_LETTERS}/{{letter_id}}", "control", "Delete a dead letter", answers.LetterMoved,
              access="control", refusals=(404, 503)),
    Operation("post", "/api/v1/drain", "control", "The instance finishes what it has and leaves",
              answers.InstanceDraining, 202, access="control"),
    Operation("post", "/api/v1/nodes/{node_id}/drain", "control", "No new jobs for a node", answers.NodeTold, 202,
              access="control", refusals=(404, 503)),
    Operation("post", "/api/v1/nodes/{node_id}/resume", "control", "A drained node takes jobs again", answers.NodeTold,
              202, access="control", refusals=(404, 503)),
)  # fmt: skip


def document() -> Schema:
    """The whole document, as plain data."""
    structs = [one for op in OPERATIONS for one in (op.answer, *op.more.values()) if not isinstance(one, str)]
    unique = [*dict.fromkeys([*structs, answers.Refusal, answers.FeedEvents])]
    schemas, named = components(unique, always_whole=True)
    refer = dict(zip(unique, schemas, strict=True))
    paths: dict[str, Schema] = {}
    for op in OPERATIONS:
        paths.setdefault(op.path, {})[op.method] = _operation(op, refer)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Lingua Scheduler",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The instance that serves this document"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(named.items())),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Made by `lingua token`. Needed where keys are configured.",
                }
            },
        },
    }


@functools.cache
def document_json() -> bytes:
    return msgspec.json.encode(document())


def _operation(op: Operation, refer: dict[Any, Schema]) -> Schema:
    told: Schema = {"operationId": _id(op), "tags": [op.tag], "summary": op.summary}
    if names := [part[1:-1] for part in op.path.split("/") if part.startswith("{")]:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]} for name in names
        ]
    if op.access == "control":
        told["requestBody"] = {"required": True, "content": {_JSON: {"schema": {}, "example": {}}}}
    if op.access != "open":
        told["security"] = [{}, {"token": []}]
    told["responses"] = {str(code): one for code, one in sorted(_responses(op, refer).items())}
    return told


def _responses(op: Operation, refer: dict[Any, Schema]) -> dict[int, Schema]:
    told = {op.status: {"description": op.summary, "content": _content(op.answer, refer)}}
    for code, answer in op.more.items():
        told[code] = {"description": "Not now, and why", "content": _content(answer, refer)}
    barred = {"open": (), "tenant": (401,), "operator": (401,), "control": (401, 403, 415)}[op.access]
    for code in (*barred, *op.refusals):
        told[code] = {"description": _REFUSALS[code], "content": _content(answers.Refusal, refer)}
    return told


def _content(answer: Any, refer: dict[Any, Schema]) -> Schema:
    if answer == _EVENTS:
        events = {"$ref": REFERENCE.format(name=answers.FeedEvents.__name__)}
        about = "Each event is named as a field of FeedEvents, and its data is that field's JSON on one line."
        return {_EVENTS: {"schema": {"type": "string", "description": about}, "x-events": events}}
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "string"}}}
    return {_JSON: {"schema": refer[answer]}}


def _id(op: Operation) -> str:
    """`get_v1_jobs_of_job_id`: unique, and stable while the path is."""
    words = [part for part in op.path.removeprefix("/api").replace(".", "_").split("/") if part]
    return "_".join([op.method, *(f"of_{part[1:-1]}" if part[0] == "{" else part for part in words)]).replace("-", "_")


def write(path: Path) -> None:
    path.write_bytes(msgspec.json.format(document_json(), indent=2) + b"\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
