"""What a token says, and what its bearer may therefore do. Signatures are checked by `scheduler/auth/keys.py`."""

import base64
from collections.abc import Iterable
from typing import Literal

import msgspec

from lingua_scheduler.protocol.ids import Language, NodeId, TenantId, language, valid_id

Kind = Literal["client", "node", "admin"]
Scope = Literal["session", "room"]

TOKEN_CHARS_MAX = 4096
MINUTES_MAX = 10_000_000
"""Some twenty years: whatever counts them counts exactly."""
LEEWAY_S = 5
"""What the clocks of two machines may differ by."""
SUBPROTOCOL_NAME = "lingua"
SUBPROTOCOL = f"{SUBPROTOCOL_NAME}.token."
"""A WebSocket subprotocol that carries a token behind it, for clients that cannot put one into their first message."""
WILDCARD = "*"
CERTIFICATE = "cert-"
"""Before the SHA-256 of a certificate: its name where tokens have theirs, for logs and revocations."""
_TENANT_URI = "lingua:tenant:"


class AccessError(Exception):
    """A token does not open what it was shown for. The message is for its bearer and holds nothing of the token."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload of a token."""

    kind: Kind
    jti: str
    """Its own name: what a revocation names."""
    exp: int
    """Seconds since 1970, as the two below."""
    iat: int = 0
    nbf: int = 0
    tenant: str = ""
    """client: whose sessions, rooms and jobs these are."""
    scopes: tuple[Scope, ...] = ()
    languages: tuple[str, ...] = ()
    """client: spoken or listened to; empty: all."""
    audio_minutes: int = 0
    """client: of the jobs of all its sessions together; 0: as much as its tenant may."""
    tenants: tuple[str, ...] = ()
    """node: whose jobs alone it may be given; empty: everybody's."""
    node: str = ""
    """node: the id that it may take, or the beginning of it before a `*`."""


class Grant(msgspec.Struct, frozen=True):
    """A token that was found good, and the key that signed it."""

    claims: Claims
    kid: str
    """Empty: it was a certificate."""

    @property
    def tenant_id(self) -> TenantId:
        return TenantId(self.claims.tenant)

    def check_languages(self, wanted: Iterable[Language | str | None]) -> None:
        """AccessError where one of them is not allowed. None, empty and `auto` are no languages."""
        allowed = {language(code) for code in self.claims.languages}
        for code in wanted if allowed else ():
            if code and code != "auto" and language(code) not in allowed:
                raise AccessError(f"the token does not allow {code[:20]!r}")

    def check_scope(self, scope: Scope) -> None:
        if scope not in self.claims.scopes:
            raise AccessError(f"the token is not for this ({scope})")

    def may_be(self, node_id: str) -> bool:
        pattern = self.claims.node
        return node_id.startswith(pattern[:-1]) if pattern.endswith(WILDCARD) else node_id == pattern

    def tenants_of(self, wanted: Iterable[str] | None) -> list[str]:
        """Of the tenants that a node names those that it may serve; all that it may where it names none."""
        allowed = self.claims.tenants
        return list(allowed) if wanted is None else [one for one in wanted if one in allowed]

    def node_id(self, fresh: NodeId) -> NodeId:
        """An id that a node without one may take; `fresh` is unlike any other."""
        return _node_id(self.claims.node, fresh)


def certified(name: str, digest: str, uris: Iterable[str]) -> Grant:
    """What a node's certificate allows: the id that it names. AccessError where it names none.

    `digest`: SHA-256 of its DER form, in hex. `uris` are its alternative names: where one is `lingua:tenant:acme`, the
    node serves these tenants alone.
    """
    if not valid_id(name):
        raise AccessError("the certificate's common name is no node id")
    tenants = tuple(uri.removeprefix(_TENANT_URI) for uri in uris if uri.startswith(_TENANT_URI))
    claims = Claims(kind="node", jti=f"{CERTIFICATE}{digest}", exp=0, node=name, tenants=tenants)
    check_shape(claims)
    return Grant(claims, "")


def check_shape(claims: Claims) -> None:
    """AccessError where claims are missing or cannot be, whatever the time is."""
    if not valid_id(claims.jti):
        raise AccessError("the token has no usable id (jti)")
    match claims.kind:
        case "client":
            is_whole = valid_id(claims.tenant) and bool(claims.scopes)
            is_whole = is_whole and all(language(code) is not None for code in claims.languages)
            is_whole = is_whole and 0 <= claims.audio_minutes <= MINUTES_MAX
        case "node":
            name = claims.node.removesuffix(WILDCARD)
            is_whole = valid_id(name) if name else claims.node == WILDCARD
            is_whole = is_whole and all(valid_id(one) for one in claims.tenants)
        case "admin":
            is_whole = True
    if not is_whole:
        raise AccessError(f"the {claims.kind} token lacks a claim that its kind needs")


def check_time(claims: Claims, now_s: int, *, may_be_expired: bool = False) -> None:
    """AccessError where the token is not good yet, or not any more. `now_s` is seconds since 1970."""
    if claims.nbf > now_s + LEEWAY_S:
        raise AccessError("the token is not good yet")
    if claims.exp <= now_s - LEEWAY_S and not may_be_expired:
        raise AccessError("the token has expired")


def node_id_of(token: str, fresh: NodeId) -> NodeId:
    """An id that a node's own token allows, as far as it can be read; `fresh` is unlike any other."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Claims)
        check_shape(claims)
    except (IndexError, ValueError, msgspec.DecodeError, AccessError):
        return fresh  # not of this form: whoever is shown it will say what it is worth
    return _node_id(claims.node, fresh) if claims.kind == "node" else fresh


def _node_id(pattern: str, fresh: NodeId) -> NodeId:
    if not pattern.endswith(WILDCARD):
        return NodeId(pattern)
    start = pattern.removesuffix(WILDCARD)
    return fresh if fresh.startswith(start) else NodeId(f"{start}{fresh.removeprefix('node-')}")


def token_among(subprotocols: Iterable[str]) -> str | None:
    """The token that a client offers as a subprotocol."""
    return next((one.removeprefix(SUBPROTOCOL) for one in subprotocols if one.startswith(SUBPROTOCOL)), None)
