"""Keys that sign tokens: read from a file or the environment, several at once, each with its one algorithm.

The file is TOML, `revoked` before the keys:

    revoked = ["id-of-a-token"]

    [[keys]]
    kid = "2026-11"
    alg = "HS256"
    secret = "…"          # base64url of at least 32 random bytes

    [[keys]]
    kid = "desk"
    alg = "EdDSA"
    public = "…"          # base64url of the 32 bytes of an Ed25519 public key
    private = "…"         # only where tokens are made

The environment holds one line: `kid:alg:secret-or-public`, several with commas between them.
"""

import base64
import binascii
import secrets
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import jwt
import msgspec
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lingua_scheduler.core.access import TOKEN_CHARS_MAX, AccessError, Claims, Grant, check_shape
from lingua_scheduler.protocol.ids import valid_id
from lingua_scheduler.runtime.config import ConfigError

Algorithm = Literal["HS256", "EdDSA"]
SECRET_BYTES_MIN = 32
_RAW_KEY_BYTES = 32
_REFUSAL = "the token is not one of this service"
"""One wording for every fault of a signature: who forges learns nothing from it."""
_jws = jwt.PyJWS(algorithms=["HS256", "EdDSA"])


class _KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kid: str
    alg: Algorithm
    secret: str = ""
    public: str = ""
    private: str = ""


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revoked: list[str] = []
    keys: list[_KeyEntry] = []


@dataclass(frozen=True, slots=True)
class Key:
    """One key. What it holds never shows in a log or a traceback."""

    kid: str
    alg: Algorithm
    verifier: bytes | Ed25519PublicKey = field(repr=False)
    signer: bytes | Ed25519PrivateKey | None = field(repr=False)
    """None where only the public half is known."""


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys that are good now, and the ids of tokens that are not any more."""

    keys: dict[str, Key]
    revoked: frozenset[str] = frozenset()

    def verify(self, token: str) -> Grant:
        """What a token says, whatever the time is. AccessError where it is not ours, or was revoked."""
        if len(token) > TOKEN_CHARS_MAX:
            raise AccessError(_REFUSAL)
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys.get(str(header.get("kid")))
            # The key decides how it is used: what the header says of that must only agree with it.
            if key is None or header.get("alg") != key.alg:
                raise AccessError(_REFUSAL)
            payload = _jws.decode(token, cast("Any", key.verifier), algorithms=[key.alg])
            claims = msgspec.json.decode(payload, type=Claims)
        except (jwt.PyJWTError, msgspec.DecodeError, ValueError):
            raise AccessError(_REFUSAL) from None
        check_shape(claims)
        if claims.jti in self.revoked:
            raise AccessError("the token was revoked")
        return Grant(claims, key.kid)

    def is_good(self, grant: Grant) -> bool:
        """Whether a token that was good may go on being used: neither it nor its key was taken back."""
        return (not grant.kid or grant.kid in self.keys) and grant.claims.jti not in self.revoked

    def sign(self, claims: Claims, kid: str | None = None) -> str:
        """A token, signed with the named key, else the first that can sign. ConfigError where none can."""
        check_shape(claims)
        able = [key for key in self.keys.values() if key.signer is not None and kid in (None, key.kid)]
        if not able:
            raise ConfigError(f"no key {kid!r} that can sign" if kid else "there is no key that can sign tokens")
        key = able[0]
        headers = {"kid": key.kid}
        return _jws.encode(msgspec.json.encode(claims), cast("Any", key.signer), algorithm=key.alg, headers=headers)


def read_keys(path: Path) -> KeyRing:
    """The keys of a file. ConfigError names the file and what is wrong in it, never what it holds."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
        parsed = msgspec.convert(tree, _KeyFile)
    except OSError as error:
        raise ConfigError(f"security.keys_file: cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"security.keys_file: {path} is not TOML") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"security.keys_file: {path}: {error}") from None
    return _ring(parsed, f"security.keys_file: {path}")


def parse_keys(text: str) -> KeyRing:
    """The keys of one line `kid:alg:value,…`. ConfigError where it is none."""
    entries: list[_KeyEntry] = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        kid, _, rest = part.partition(":")
        alg, _, value = rest.partition(":")
        if alg == "HS256":
            entries.append(_KeyEntry(kid, "HS256", secret=value))
        elif alg == "EdDSA":
            entries.append(_KeyEntry(kid, "EdDSA", public=value))
        else:
            raise ConfigError("security.keys: write KID:HS256:SECRET or KID:EdDSA:PUBLIC, commas between several")
    return _ring(_KeyFile(keys=entries), "security.keys")


def new_key_entry(kid: str, alg: Algorithm) -> str:
    """A fresh key as it stands in a key file. Whoever reads it can make tokens."""
    head = f'[[keys]]\nkid = "{kid}"\nalg = "{alg}"\n'
    if alg == "HS256":
        return f'{head}secret = "{_text(secrets.token_bytes(SECRET_BYTES_MIN))}"\n'
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return f'{head}public = "{_text(public)}"\nprivate = "{_text(private.private_bytes_raw())}"\n'


def _ring(parsed: _KeyFile, where: str) -> KeyRing:
    keys: dict[str, Key] = {}
    if not parsed.keys:
        raise ConfigError(f"{where}: it holds no key")
    for entry in parsed.keys:
        if not valid_id(entry.kid) or entry.kid in keys:
            raise ConfigError(f"{where}: each key needs a kid of its own, of letters, digits, '.', '_' and '-'")
        keys[entry.kid] = _key(entry, where)
    return KeyRing(keys, frozenset(parsed.revoked))


def _key(entry: _KeyEntry, where: str) -> Key:
    try:
        if entry.alg == "HS256":
            secret = _bytes(entry.secret)
            if len(secret) < SECRET_BYTES_MIN or entry.public or entry.private:
                raise ConfigError(f"{where}: key {entry.kid}: HS256 needs `secret`, at least {SECRET_BYTES_MIN} bytes")
            return Key(entry.kid, "HS256", secret, secret)
        private = Ed25519PrivateKey.from_private_bytes(_bytes(entry.private)) if entry.private else None
        public = Ed25519PublicKey.from_public_bytes(_bytes(entry.public)) if entry.public else None
    except (ValueError, InvalidKey, binascii.Error):
        raise ConfigError(f"{where}: key {entry.kid}: not base64url of {_RAW_KEY_BYTES} bytes") from None
    made = private.public_key() if private is not None else None
    if made is not None and public is not None and made != public:
        raise ConfigError(f"{where}: key {entry.kid}: its two halves do not belong together")
    verifier = public or made
    if verifier is None or entry.secret:
        raise ConfigError(f"{where}: key {entry.kid}: EdDSA needs `public`, or `private`, and no `secret`")
    return Key(entry.kid, "EdDSA", verifier, private)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
