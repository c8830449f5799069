"""Which heads are read as a WebSocket's, and that everything with a doubt in it is left to the HTTP library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.protocol.handshake import (
    HEAD_BYTES_MAX,
    LINE_BYTES_MAX,
    LINES_MAX,
    Denial,
    Upgrade,
    Verdict,
    accepted,
    read_upgrade,
    refused,
)

PATHS = ("/ws/session", "/ws/node")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "example.org:5010",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def head(request: str = "GET /ws/session HTTP/1.1", *more: str, **changes: str | None) -> bytes:
    """A faultless head but for what `changes` say: `Sec_WebSocket_Key=None` leaves that field out."""
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [request, *(f"{name}: {value}" for name, value in fields.items() if value is not None), *more]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def upgrade(data: bytes) -> Upgrade:
    found = read_upgrade(data, PATHS)
    assert isinstance(found, Upgrade), found
    return found


GOOD = {
    "as Firefox sends it": head(Connection="keep-alive, Upgrade"),
    "in capitals": head(Upgrade="WebSocket", Connection="UPGRADE"),
    "with a query": head("GET /ws/session?token=a&b=%20 HTTP/1.1"),
    "of a node": head("GET /ws/node HTTP/1.1"),
    "with extensions": head("GET /ws/session HTTP/1.1", "Sec-WebSocket-Extensions: permessage-deflate"),
    "two lines of Connection": head("GET /ws/session HTTP/1.1", "Connection: Upgrade", Connection="keep-alive"),
    "spaces around values": head(Host="  example.org:5010\t", Upgrade=" websocket "),
    "an empty field": head("GET /ws/session HTTP/1.1", "X-Empty:"),
    "a field in Latin-1": head("GET /ws/session HTTP/1.1", "X-Name: Jos\xe9"),
}  # fmt: skip


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_a_head_without_doubt_is_an_upgrade(data: bytes):
    found = upgrade(data + b"\x81frames")
    assert found.path in PATHS
    assert found.host == "example.org:5010"
    assert found.length == len(data)


def test_what_it_says_is_told():
    found = upgrade(
        head(
            "GET /ws/session HTTP/1.1",
            "Sec-WebSocket-Protocol: lingua, token.abc",
            "Sec-WebSocket-Protocol: more",
            "X-Forwarded-For: 192.0.2.1",
            "x-forwarded-for: 192.0.2.2, 192.0.2.3",
            "Origin: https://example.org",
        )
    )
    assert found.protocols == ["lingua", "token.abc", "more"]
    assert found.forwarded_for == ["192.0.2.1", "192.0.2.2, 192.0.2.3"]
    assert found.origin == "https://example.org"
    assert upgrade(head()).origin is None


DOUBTFUL = {
    "another path": head("GET /ws/sessions HTTP/1.1"),
    "below the path": head("GET /ws/session/ HTTP/1.1"),
    "another method": head("POST /ws/session HTTP/1.1"),
    "HTTP 1.0": head("GET /ws/session HTTP/1.0"),
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an absolute address": head("GET http://example.org/ws/session HTTP/1.1"),
    "two spaces": head("GET  /ws/session HTTP/1.1"),
    "a tab": head("GET\t/ws/session HTTP/1.1"),
    "a control character in the query": head("GET /ws/session?a=\x01 HTTP/1.1"),
    "no host": head(Host=None),
    "an empty host": head(Host=""),
    "two hosts": head("GET /ws/session HTTP/1.1", "host: other"),
    "two origins": head("GET /ws/session HTTP/1.1", "Origin: http://a", "Origin: http://b"),
    "two keys": head("GET /ws/session HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"),
    "two versions": head("GET /ws/session HTTP/1.1", "Sec-WebSocket-Version: 8"),
    "no upgrade": head(Upgrade=None),
    "another upgrade": head(Upgrade="h2c"),
    "several upgrades": head(Upgrade="websocket, h2c"),
    "no connection": head(Connection=None),
    "a connection without upgrade": head(Connection="keep-alive"),
    "another version": head(Sec_WebSocket_Version="8"),
    "no version": head(Sec_WebSocket_Version=None),
    "no key": head(Sec_WebSocket_Key=None),
    "a short key": head(Sec_WebSocket_Key="c2hvcnQ="),
    "a key that is not base64": head(Sec_WebSocket_Key="*" * 24),
    "a key beyond ASCII": head(Sec_WebSocket_Key="\xe9" * 24),
    "a body": head("GET /ws/session HTTP/1.1", "Content-Length: 5"),
    "an empty body": head("GET /ws/session HTTP/1.1", "Content-Length: 0"),
    "a body in chunks": head("GET /ws/session HTTP/1.1", "transfer-encoding: chunked"),
    "a space before the colon": head("GET /ws/session HTTP/1.1", "X : a"),
    "no colon": head("GET /ws/session HTTP/1.1", "X"),
    "a folded line": head("GET /ws/session HTTP/1.1", "X: a", " b: c"),
    "a bare carriage return": head("GET /ws/session HTTP/1.1", "X: a\rHost: b"),
    "a bare line feed": head("GET /ws/session HTTP/1.1", "X: a\nHost: b"),
    "a zero byte": head("GET /ws/session HTTP/1.1", "X: a\0b"),
    "a name beyond ASCII": head("GET /ws/session HTTP/1.1", "X\xe9: a"),
    "a long line": head("GET /ws/session HTTP/1.1", "X: " + "a" * LINE_BYTES_MAX),
    "many lines": head("GET /ws/session HTTP/1.1", *["X: a"] * LINES_MAX),
    "a long head": b"GET /ws/session HTTP/1.1\r\n" + b"X: a\r\n" * (HEAD_BYTES_MAX // 6),
    "lines that end with line feeds": head().replace(b"\r\n", b"\n") + b"x" * HEAD_BYTES_MAX,
    "TLS": b"\x16\x03\x01\x02\x00\x01",
}


@pytest.mark.parametrize("data", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_a_head_with_doubt_is_left_to_the_library(data: bytes):
    assert read_upgrade(data, PATHS) is Verdict.ELSEWHERE


@pytest.mark.parametrize("data", [b"GET /h", b"P", b"GET /ws/x", b"GET /ws/sessions", b"get /ws", b"\r\nGET /ws"])
def test_what_cannot_become_one_is_given_on_at_once(data: bytes):
    assert read_upgrade(data, PATHS) is Verdict.ELSEWHERE


@given(st.data())
def test_a_head_is_waited_for(data: st.DataObject):
    whole = data.draw(st.sampled_from(sorted(GOOD.values())))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert read_upgrade(whole[:cut], PATHS) is Verdict.MORE


@given(
    st.sampled_from(sorted(GOOD.values())), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5)
)
def test_whatever_a_head_says_nothing_is_raised(whole: bytes, changes: list[tuple[int, int]]):
    data = bytearray(whole)
    for at, value in changes:
        data[at % len(data)] = value
    found = read_upgrade(bytes(data), PATHS)
    if isinstance(found, Upgrade):
        assert b"\r\n\r\n" not in data[: found.length - 4]
        assert b"\0" not in data[: found.length]


def test_the_key_of_the_rfc_is_answered_as_the_rfc_says():
    answer = accepted(upgrade(head()), "lingua")
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: lingua\r\n\r\n"
    )
    assert b"Protocol" not in accepted(upgrade(head()), None).partition(b"\r\n")[2]


def test_a_refusal_is_a_whole_answer_and_the_last():
    said = refused(Denial(429, "slowly\n", 7), {"X-Content-Type-Options": "nosniff"})
    assert said == (
        b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 7\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 7\r\n\r\nslowly\n"
    )
