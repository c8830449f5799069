"""The HTTP head that asks for a WebSocket, and the answers to it: bytes in, values out.

Only a head without any doubt is read here: one that two programs could read differently is nobody's business but that
of the HTTP library, which refuses it, and so is every other request of the port. What an `Upgrade` says has been
checked; nothing but frames can follow it, so there is nothing to smuggle behind.
"""

import base64
import binascii
import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

HEAD_BYTES_MAX = 16_384
LINE_BYTES_MAX = 8190
LINES_MAX = 100
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REQUEST = re.compile(rb"GET (/[!-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
_ALONE = ("host", "origin", "upgrade", "sec-websocket-key", "sec-websocket-version")
"""Fields that may stand there once."""
_BODY = ("content-length", "transfer-encoding", "trailer", "expect")
_STATUS = {403: "Forbidden", 429: "Too Many Requests", 503: "Service Unavailable"}


class Verdict(Enum):
    MORE = "the head is not complete"
    ELSEWHERE = "not for us, or not beyond doubt"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request that may be answered with `accepted`."""

    path: str
    key: bytes
    host: str
    origin: str | None
    protocols: list[str]
    """Subprotocols that the peer offers."""
    forwarded_for: list[str]
    """The values of its headers `X-Forwarded-For`, in order."""
    length: int
    """Bytes of the head: what stands behind them are frames."""


@dataclass(frozen=True, slots=True)
class Denial:
    """The answer to a peer that may not have a WebSocket: the connection ends with it."""

    status: int
    text: str
    retry_after_s: int | None = None


def read_upgrade(data: bytes, paths: Collection[str]) -> Upgrade | Verdict:
    """What the first bytes of a connection ask for; `paths`: where there are WebSockets."""
    if not any(_may_become(data, b"GET " + path.encode()) for path in paths):
        return Verdict.ELSEWHERE
    head, end, _ = data.partition(b"\r\n\r\n")
    if len(head) > HEAD_BYTES_MAX:
        return Verdict.ELSEWHERE
    if not end:
        return Verdict.MORE
    lines = head.split(b"\r\n")
    request = _REQUEST.fullmatch(lines[0])
    fields = _fields(lines[1:])
    if request is None or fields is None or max(map(len, lines)) > LINE_BYTES_MAX:
        return Verdict.ELSEWHERE
    path = request[1].partition(b"?")[0].decode()
    if path not in paths or not _asks_for_websocket(fields):
        return Verdict.ELSEWHERE
    return Upgrade(
        path=path,
        key=fields["sec-websocket-key"][0].encode(),
        host=fields["host"][0],
        origin=fields["origin"][0] if "origin" in fields else None,
        protocols=_tokens(fields.get("sec-websocket-protocol", ())),
        forwarded_for=fields.get("x-forwarded-for", []),
        length=len(head) + len(end),
    )


def accepted(upgrade: Upgrade, protocol: str | None) -> bytes:
    """The head of the answer behind which frames follow. No extension is ever accepted."""
    digest = base64.b64encode(hashlib.sha1(upgrade.key + _ACCEPT, usedforsecurity=False).digest()).decode()
    chosen = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol is not None else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {digest}\r\n{chosen}\r\n"
    ).encode()


def refused(refusal: Denial, headers: Mapping[str, str]) -> bytes:
    """The whole answer."""
    body = refusal.text.encode()
    lines = [f"HTTP/1.1 {refusal.status} {_STATUS[refusal.status]}", "Connection: close"]
    lines += ["Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if refusal.retry_after_s is not None:
        lines.append(f"Retry-After: {refusal.retry_after_s}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _may_become(data: bytes, start: bytes) -> bool:
    return (data.startswith(start) and data[len(start) : len(start) + 1] in {b"", b" ", b"?"}) or start.startswith(data)


def _fields(lines: Sequence[bytes]) -> dict[str, list[str]] | None:
    """By lower-case name; None where a line leaves room for doubt."""
    if len(lines) > LINES_MAX:
        return None
    fields: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        if (field := _FIELD.fullmatch(line)) is None:
            return None
        fields[field[1].decode().lower()].append(field[2].decode("latin-1").strip(" \t"))
    return dict(fields)


def _asks_for_websocket(fields: Mapping[str, Sequence[str]]) -> bool:
    if any(len(fields.get(name, ())) > 1 for name in _ALONE) or any(name in fields for name in _BODY):
        return False
    alone = {name: fields[name][0] for name in _ALONE if name in fields}
    return (
        bool(alone.get("host"))
        and alone.get("upgrade", "").lower() == "websocket"
        and "upgrade" in [token.lower() for token in _tokens(fields.get("connection", ()))]
        and alone.get("sec-websocket-version") == "13"
        and _is_key(alone.get("sec-websocket-key", ""))
    )


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _tokens(values: Sequence[str]) -> list[str]:
    return [token for value in values for one in value.split(",") if (token := one.strip())]
