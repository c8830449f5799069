"""A key file and the tokens that its keys sign."""

from pathlib import Path
from typing import Any, Self

import msgspec

from lingua_scheduler.core.access import Claims
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.scheduler.auth.keys import new_key_entry, read_keys


class KeyFile:
    """Entries by kid, and what is revoked; each change is written at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, str] = {}
        self._revoked: list[str] = []

    @classmethod
    def made(cls, path: Path) -> Self:
        """With one key of each kind: `hs` and `ed`."""
        made = cls(path)
        made.add("hs", new_key_entry("hs", "HS256"))
        made.add("ed", new_key_entry("ed", "EdDSA"))
        return made

    def config(self, config: Config) -> Config:
        """`config` with these keys."""
        security = msgspec.structs.replace(config.security, keys_file=str(self.path))
        return msgspec.structs.replace(config, security=security)

    def add(self, kid: str, entry: str) -> None:
        self._entries[kid] = entry
        self._write()

    def remove(self, kid: str) -> None:
        del self._entries[kid]
        self._write()

    def revoke(self, jti: str) -> None:
        self._revoked.append(jti)
        self._write()

    def client(self, tenant: str = "acme", *, kid: str = "hs", **claims: Any) -> str:
        claims = {"scopes": ("session", "room"), "jti": f"{tenant}-1", **claims}
        return self.sign(Claims(kind="client", tenant=tenant, exp=later_s(), **claims), kid)

    def node(self, node: str, *, kid: str = "ed", **claims: Any) -> str:
        claims = {"jti": "node-1", **claims}
        return self.sign(Claims(kind="node", node=node, exp=later_s(), **claims), kid)

    def admin(self) -> str:
        return self.sign(Claims(kind="admin", jti="admin-1", exp=later_s()), "hs")

    def sign(self, claims: Claims, kid: str) -> str:
        return read_keys(self.path).sign(claims, kid)

    def _write(self) -> None:
        head = f"revoked = {self._revoked!r}\n\n"
        self.path.write_text(head + "\n".join(self._entries.values()), "utf-8")


def later_s(by_s: int = 600) -> int:
    """Seconds since 1970 in ten minutes."""
    return Clock().wall_ms() // 1000 + by_s
