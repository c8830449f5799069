"""`lingua token`: makes keys, and tokens for clients, nodes and administrators."""

import argparse
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console

if TYPE_CHECKING:
    from lingua_scheduler.core.access import Claims

_EXAMPLES = """\
  lingua token key --keys keys.toml
  lingua token client --keys keys.toml --tenant acme --expires 1h
  lingua token client --keys keys.toml --tenant acme --scopes session --languages en,pt
  lingua token node --keys keys.toml --node gpu-1 --expires 30d
  lingua token admin --keys keys.toml --expires 15m"""
_ID_BYTES = 9


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = arguments.add_command(commands, "token", "make keys and access tokens", _EXAMPLES)
    kinds = parser.add_subparsers(title="what to make", metavar="KIND", required=True)
    key = kinds.add_parser("key", help="a key, as it stands in a key file")
    key.add_argument("--keys", type=Path, metavar="FILE", help="add it there (made for its owner alone), not to stdout")
    key.add_argument("--kid", metavar="NAME", help="its name (default: a fresh one)")
    key.add_argument("--alg", choices=("HS256", "EdDSA"), default="HS256", help="EdDSA: servers need its `public` only")
    key.set_defaults(run=_make_key)
    client = _kind(kinds, "client", "a token to speak and listen with", "1h")
    client.add_argument("--tenant", required=True, metavar="ID", help="whose sessions they are")
    client.add_argument("--scopes", type=_scopes, default=("session", "room"), metavar="LIST", help="session,room")
    client.add_argument("--languages", type=_languages, default=(), metavar="LIST", help="no others (default: all)")
    node = _kind(kinds, "node", "a token to work with", "30d")
    node.add_argument(
        "--node", required=True, metavar="ID", help="the node id it may take; `gpu-*`: any that begins so"
    )
    _kind(kinds, "admin", "a token to drain instances and nodes with", "15m")


def _kind(
    kinds: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, expires: str
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=what)
    parser.add_argument("--keys", type=Path, metavar="FILE", help="the key file (default: security.keys_file)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file that names the keys")
    parser.add_argument("--kid", metavar="NAME", help="the key that signs (default: the first that can)")
    parser.add_argument(
        "--expires", type=arguments.seconds, default=expires, metavar="TIME", help=f"default {expires}; s, m, h or d"
    )
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
        console.line(entry)
        return 0
    try:
        args.keys.touch(mode=0o600)
        with args.keys.open("a", encoding="utf-8") as file:
            file.write(f"{entry}\n")
    except OSError as error:
        raise arguments.UsageError(f"cannot write to {args.keys}: {(error.strerror or '').lower()}") from None
    console.line(f"{args.keys} has the key {kid}")
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
        console.line(ring.sign(claims, args.kid))
    except AccessError as error:
        raise arguments.UsageError(str(error)) from None
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
        node=getattr(args, "node", ""),
    )


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(part.strip() for part in text.split(","))
    if not set(scopes) <= {"session", "room"}:
        raise argparse.ArgumentTypeError(f"{text!r}: scopes are session and room")
    return scopes


def _languages(text: str) -> tuple[str, ...]:
    return tuple(arguments.language_code(part) for part in text.split(","))
