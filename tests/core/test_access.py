"""What claims allow, and the edges of time."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.access import (
    LEEWAY_S,
    AccessError,
    Claims,
    Grant,
    check_shape,
    check_time,
    node_id_of,
    token_among,
)
from lingua_scheduler.protocol.ids import NodeId, valid_id

FRESH = NodeId("node-abc123")


def token(claims: object) -> str:
    return f"head.{base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("now_s", "is_good"),
    [(1000 - LEEWAY_S - 1, False), (1000 - LEEWAY_S, True), (1999 + LEEWAY_S, True), (2000 + LEEWAY_S, False)],
)
def test_a_token_is_good_for_its_time(now_s: int, is_good: bool):
    claims = Claims(kind="admin", jti="a", nbf=1000, exp=2000)
    if is_good:
        check_time(claims, now_s)
    else:
        with pytest.raises(AccessError):
            check_time(claims, now_s)


@pytest.mark.parametrize(
    "claims",
    [
        Claims(kind="admin", jti="", exp=1),
        Claims(kind="admin", jti="a b", exp=1),
        Claims(kind="client", jti="a", exp=1, scopes=("session",)),
        Claims(kind="client", jti="a", exp=1, tenant="a:b", scopes=("session",)),
        Claims(kind="client", jti="a", exp=1, tenant="acme"),
        Claims(kind="client", jti="a", exp=1, tenant="acme", scopes=("session",), languages=("?",)),
        Claims(kind="node", jti="a", exp=1),
        Claims(kind="node", jti="a", exp=1, node="a*b"),
        Claims(kind="node", jti="a", exp=1, node="-*"),
    ],
)
def test_claims_that_a_kind_needs_are_there(claims: Claims):
    with pytest.raises(AccessError):
        check_shape(claims)


def test_languages_are_compared_as_codes():
    grant = Grant(Claims(kind="client", jti="a", exp=1, languages=("en", "zh-TW")), "k")
    grant.check_languages(["EN", "zh_tw", "auto", None, ""])
    with pytest.raises(AccessError, match="'zh'"):
        grant.check_languages(["en", "zh"])


@given(st.text())
def test_any_text_is_some_nodes_token(text: str):
    assert node_id_of(text, FRESH) == FRESH
    assert node_id_of(token(text), FRESH) == FRESH


@pytest.mark.parametrize(
    ("pattern", "called"), [("gpu-1", "gpu-1"), ("gpu-*", "gpu-abc123"), ("*", FRESH), ("node-*", FRESH)]
)
def test_a_node_calls_itself_what_its_token_allows(pattern: str, called: str):
    claims = Claims(kind="node", jti="a", exp=1, node=pattern)
    assert node_id_of(token(claims), FRESH) == called
    assert Grant(claims, "k").may_be(called)
    assert valid_id(called)


def test_a_token_is_found_among_subprotocols():
    assert token_among(["lingua", "lingua.token.a.b.c"]) == "a.b.c"
    assert token_among(["lingua", "graphql-ws"]) is None
