"""`lingua token`: makes keys, and tokens for clients, nodes and administrators."""

import argparse
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console
from lingua_scheduler.cli.parsing import Parser

if TYPE_CHECKING:
    from lingua_scheduler.core.access import Claims

_KEY = """\
  lingua token key --keys keys.toml
  lingua token key --keys keys.toml --kid autumn --alg EdDSA"""
_CLIENT = """\
  lingua token client --keys keys.toml --tenant acme --expires 1h
  lingua token client --keys keys.toml --tenant acme --scopes session --languages en,pt"""
_NODE = """\
  lingua token node --keys keys.toml --node gpu-1 --expires 30d
  lingua token node --keys keys.toml --node "gpu-*" --json"""
_ADMIN = """\
  lingua token admin --keys keys.toml --expires 15m
  lingua drain --token "$(lingua token admin --keys keys.toml)" --node gpu-1"""
_ALL = f"{_KEY}\n{_CLIENT}\n{_NODE}\n{_ADMIN}"
_EXPIRES = {"client": "1h", "node": "30d", "admin": "15m"}
_ID_BYTES = 9


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "token", "make keys and access tokens", _ALL)
    kinds = parser.add_subparsers(title="what to make", metavar="KIND", required=True)
    key = arguments.add_command(kinds, "key", "make a key, as it stands in a key file", _KEY)
    key.add_argument("--keys", type=Path, metavar="FILE", help="add it there (made for its owner alone), not to stdout")
    key.add_argument("--kid", metavar="NAME", help="its name (default: a fresh one)")
    key.add_argument("--alg", choices=("HS256", "EdDSA"), default="HS256", help="EdDSA: servers need its `public` only")
    arguments.add_json(key)
    key.set_defaults(run=_make_key)
    client = _kind(kinds, "client", "make a token to speak and listen with", _CLIENT)
    client.add_argument("--tenant", required=True, metavar="ID", help="whose sessions they are")
    client.add_argument("--scopes", type=_scopes, default=("session", "room"), metavar="LIST", help="session,room")
    client.add_argument(
        "--minutes", type=arguments.natural, default=0, metavar="N", help="of audio in all (default: as its tenant may)"
    )
    client.add_argument("--languages", type=_languages, default=(), metavar="LIST", help="no others (default: all)")
    node = _kind(kinds, "node", "make a token to work with", _NODE)
    node.add_argument(
        "--node", required=True, metavar="ID", help="the node id it may take; `gpu-*`: any that begins so"
    )
    node.add_argument("--tenants", type=_tenants, default=(), metavar="LIST", help="serve nobody else (default: all)")
    _kind(kinds, "admin", "make a token to drain instances and nodes with", _ADMIN)


def _kind(kinds: arguments.Commands, name: str, what: str, examples: str) -> Parser:
    parser = arguments.add_command(kinds, name, what, examples)
    expires = _EXPIRES[name]
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the key file (default: security.keys_file)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file that names the keys")
    parser.add_argument("--kid", metavar="NAME", help="the key that signs (default: the first that can)")
    parser.add_argument(
        "--expires", type=arguments.seconds, default=expires, metavar="TIME", help=f"default {expires}; s, m, h or d"
    )
    arguments.add_json(parser)
    parser.set_defaults(run=_make_token, kind=name)
    return parser


def _make_key(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.protocol.ids import valid_id
    from lingua_scheduler.scheduler.auth.keys import new_key_entry

    kid = args.kid or f"key-{secrets.token_hex(4)}"
    if not valid_id(kid):
        raise arguments.UsageError(f"{kid!r} is no name for a key: letters, digits, '.', '_' and '-'")
    entry = new_key_entry(kid, args.alg)
    if args.keys is None:
        console.json({"kid": kid, "alg": args.alg, "entry": entry}) if console.is_json else console.line(entry)
        return 0
    try:
        args.keys.touch(mode=0o600)
        with args.keys.open("a", encoding="utf-8") as file:
            file.write(f"{entry}\n")
    except OSError as error:
        raise arguments.UsageError(f"cannot write to {args.keys}: {(error.strerror or '').lower()}") from None
    console.line(f"{args.keys} has the key {kid}")
    if console.is_json:
        console.json({"kid": kid, "alg": args.alg, "file": str(args.keys)})
    return 0


def _make_token(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.core.access import AccessError
    from lingua_scheduler.runtime.config import load_config
    from lingua_scheduler.scheduler.auth.guard import configured_keys

    named = {"security.keys_file": str(args.keys) if args.keys else None}
    ring = configured_keys(load_config(args.config, os.environ, named).security)
    if ring is None:
        raise arguments.UsageError("which keys? --keys names their file; `lingua token key` makes one")
    claims = _claims(args)
    try:
        token = ring.sign(claims, args.kid)
    except AccessError as error:
        raise arguments.UsageError(str(error)) from None
    if console.is_json:
        console.json({"token": token, "id": claims.jti, "kind": claims.kind, "expires_at": claims.exp})
        return 0
    console.line(token)
    console.note(f"its id is {claims.jti}: what to write under `revoked` in the key file to take it back")
    return 0


def _claims(args: argparse.Namespace) -> "Claims":
    from lingua_scheduler.core.access import Claims
    from lingua_scheduler.runtime.clock import Clock

    now_s = Clock().wall_ms() // 1000
    return Claims(
        kind=args.kind,
        jti=secrets.token_hex(_ID_BYTES),
        iat=now_s,
        exp=now_s + args.expires,
        tenant=getattr(args, "tenant", ""),
        scopes=getattr(args, "scopes", ()),
        languages=getattr(args, "languages", ()),
        audio_minutes=getattr(args, "minutes", 0),
        node=getattr(args, "node", ""),
        tenants=getattr(args, "tenants", ()),
    )


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(part.strip() for part in text.split(","))
    if not set(scopes) <= {"session", "room"}:
        raise argparse.ArgumentTypeError(f"{text!r}: scopes are session and room")
    return scopes


def _tenants(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _languages(text: str) -> tuple[str, ...]:
    return tuple(arguments.language_code(part) for part in text.split(","))
