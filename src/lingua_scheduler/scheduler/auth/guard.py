"""The guard of an instance: whether it may run without tokens, who is let in, and who has to leave again.

Theory of operation. A connection shows its token once; the guard remembers it with the way to end the connection. Keys
are read again when their file has changed (`refresh`, called by the clock): new keys are good from then on, connections
whose token or key was taken back end. A file that cannot be read then changes nothing, and is told once. A token's
expiry ends nothing that is under way; it only opens nothing new.

Without keys, and only where the port is bound to loopback, everybody is let in.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.core.access import AccessError, Grant, Kind, Scope, check_time
from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config, ConfigError, SecurityConfig
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.runtime.sockets import Caller
from lingua_scheduler.runtime.tls import Stamp, stamp

if TYPE_CHECKING:
    from lingua_scheduler.scheduler.auth.keys import KeyRing

_log = get_logger("scheduler.auth")

OPEN_DOOR = "authentication is off: every program and every user of this machine can speak, listen and be a node"
_HOST = re.compile(r"(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?")
_ORIGIN = re.compile(r"https?://([^/@\s]+)")


class Guard:
    """Lets in and sends away. `is_on` is False where everybody may."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """ConfigError, in one line, where the keys cannot be used, or are missing where they must not."""
        security = config.security
        self._clock = clock
        self._origins = frozenset(origin.rstrip("/").lower() for origin in security.allowed_origins)
        self._hosts = frozenset(origin.partition("://")[2] for origin in self._origins)
        self._nodes_show = config.server.nodes_show
        self._security = security
        self._path = Path(security.keys_file) if security.keys_file else None
        self._stamp = self._look()
        self._ring = configured_keys(security)
        self._held: dict[object, tuple[tuple[Grant, ...], Callable[[], None]]] = {}
        self.is_on = _must_be_on(config, has_keys=self._ring is not None)

    # ------------------------------------------------------------------------------- who is let in

    def client(self, token: str | None, scope: Scope, *, resumes: bool = False) -> Grant | None:
        """The grant of a client; None where none is needed. PeerError UNAUTHORIZED where it has none.

        A session goes on with a token that has expired meanwhile: its resume token shows whose it is.
        """
        if not self.is_on:
            return None
        try:
            grant = self._grant(token, "client", may_be_expired=resumes)
            grant.check_scope(scope)
        except AccessError as error:
            raise unauthorized(error) from None
        return grant

    def node(self, token: str | None, certificate: Grant | None = None) -> tuple[Grant, ...]:
        """The grants of a node, which has to keep to each of them; none where none is needed.

        PeerError UNAUTHORIZED where it lacks one. `certificate`: of the one that it showed.
        """
        grants = () if certificate is None else (certificate,)
        if self._ring is None or not self.is_on:
            return grants
        if not all(map(self._ring.is_good, grants)):
            raise unauthorized(AccessError("the certificate was revoked"))
        is_enough = bool(grants) and self._nodes_show == "certificate" and not token
        try:
            return grants if is_enough else (self._grant(token, "node"), *grants)
        except AccessError as error:
            raise unauthorized(error) from None

    def admin(self, authorization: str) -> str | None:
        """Why the header `Authorization` is not an administrator's; None where it is. Only asked where `is_on`."""
        scheme, _, token = authorization.partition(" ")
        try:
            self._grant(token.strip() if scheme.lower() == "bearer" else None, "admin")
        except AccessError as error:
            return str(error)
        return None

    def may_see(self, authorization: str, tenant_id: str) -> bool:
        """Whether the bearer may be told of a tenant's jobs: administrators of all, clients of their own."""
        return not self.is_on or self.admin(authorization) is None or self.tenant(authorization) == tenant_id

    def tenant(self, authorization: str) -> str | None:
        """Whose client the header `Authorization` is of; None where of nobody's."""
        scheme, _, token = authorization.partition(" ")
        try:
            return self._grant(token.strip() if scheme.lower() == "bearer" else None, "client").tenant_id
        except AccessError:
            return None

    def name(self, authorization: str) -> str:
        """What a good token calls itself: kind, id and key; "" where it is none."""
        scheme, _, token = authorization.partition(" ")
        if self._ring is None or scheme.lower() != "bearer":
            return ""
        try:
            grant = self._ring.verify(token.strip())
        except AccessError:
            return ""
        return f"{grant.claims.kind} {grant.claims.jti} (key {grant.kid})"

    def is_own_page(self, caller: Caller) -> bool:
        """Whether no browser sends this, or one that shows a page of this port or of an allowed origin."""
        if (origin := caller.origin) is None:
            return True
        found = _ORIGIN.fullmatch(origin.lower())
        return found is not None and (found[1] == caller.host.lower() or found[0] in self._origins)

    def is_own_name(self, named: str | None) -> bool:
        """Whether a request with this `Host` names the instance as whoever belongs here does.

        Without tokens only loopback is open, to every page whose name somebody lets lead there (DNS rebinding): for a
        browser that page and this port are one origin. So the name must be loopback's, or of an allowed origin.
        """
        if self.is_on or named is None:
            return True
        name = named.lower()
        found = _HOST.fullmatch(name)
        host = (found[1] or found[2]) if found is not None else ""
        return is_loopback(host) or host.endswith(".localhost") or name in self._hosts

    def _grant(self, token: str | None, kind: Kind, *, may_be_expired: bool = False) -> Grant:
        if not token:
            raise AccessError("a token is needed")
        assert self._ring is not None, "nobody is asked for a token where there are no keys"
        grant = self._ring.verify(token)
        check_time(grant.claims, self._clock.wall_ms() // 1000, may_be_expired=may_be_expired)
        if grant.claims.kind != kind:
            raise AccessError(f"the token's kind is {grant.claims.kind}, not {kind}")
        return grant

    # ------------------------------------------------------------------------------- who has to leave

    def hold(self, holder: object, grants: tuple[Grant, ...], end: Callable[[], None]) -> None:
        """`end` is called, once, when one of them is taken back while their holder is connected."""
        if grants:
            self._held[holder] = grants, end

    def let_go(self, holder: object) -> None:
        self._held.pop(holder, None)

    def refresh(self) -> None:
        """Read the keys again if their file has changed."""
        if (seen := self._look()) == self._stamp:
            return
        self._stamp = seen
        try:
            ring = configured_keys(self._security)
        except ConfigError as error:
            _log.error("keys not read again; those of before stay good", cause=str(error))
            return
        assert ring is not None, "a file is named"
        self._ring = ring
        ended = [holder for holder, (grants, _) in self._held.items() if not all(map(ring.is_good, grants))]
        _log.info("keys read again", keys=sorted(ring.keys), revoked=len(ring.revoked), ended=len(ended))
        for holder in ended:
            _, end = self._held.pop(holder)
            end()

    def _look(self) -> Stamp | None:
        return stamp(self._path) if self._path is not None else None


def configured_keys(security: SecurityConfig) -> "KeyRing | None":
    """The keys of the file and of the environment together; None where neither is named. ConfigError where unusable."""
    if not security.keys and not security.keys_file:
        return None
    # What checks signatures takes a third of a second to load: whoever has no keys does without.
    from lingua_scheduler.scheduler.auth.keys import KeyRing, parse_keys, read_keys  # noqa: PLC0415

    fixed = parse_keys(security.keys) if security.keys else KeyRing({})
    if not security.keys_file:
        return fixed
    read = read_keys(Path(security.keys_file))
    if both := read.keys.keys() & fixed.keys.keys():
        raise ConfigError(f"security.keys: {min(both)} is also in {security.keys_file}")
    return KeyRing(read.keys | fixed.keys, read.revoked)


def unauthorized(error: AccessError) -> PeerError:
    return PeerError(ErrorCode.UNAUTHORIZED, f"{error}. {HINTS[ErrorCode.UNAUTHORIZED].en}")


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address, or are behind it."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _must_be_on(config: Config, *, has_keys: bool) -> bool:
    mode, host = config.security.auth, config.server.host
    if mode == "on" and not has_keys:
        raise ConfigError('security.auth = "on" needs keys: `lingua token key` makes one for security.keys_file')
    if has_keys and mode != "off":
        return True
    if is_loopback(host):
        return False
    if mode == "off":
        raise ConfigError(f'security.auth = "off" is only for loopback, and server.host is {host}')
    raise ConfigError(
        f"server.host is {host}, beyond loopback, and no keys are configured: anybody could listen. "
        "`lingua token key` makes one for security.keys_file"
    )
