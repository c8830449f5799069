"""Looks at Redis from the side: all keys with type, TTL and content, and whether each is as the key table says."""

import re
from dataclasses import dataclass

from lingua_scheduler.store.client import RedisClient
from lingua_scheduler.store.keys import KEY_TABLE, Key
from lingua_scheduler.store.replies import mapping, number, text, texts
from lingua_scheduler.store.store import Store
from tests.store.spelled import plain

_READ = {
    "hash": ("HGETALL",),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
    "string": ("GET",),
    "stream": ("XLEN",),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One key. A sorted set is in its order, with its scores."""

    type: str
    ttl_ms: int
    """-1: none."""
    value: str | set[str] | dict[str, str] | dict[str, int] | int


async def dump(client: RedisClient) -> dict[str, Stored]:
    """Everything, by the names that keys have on a single server. Three round trips."""
    names = sorted(map(plain, texts(await client.call("KEYS", "*"))))
    replies = await client.pipeline([command for name in names for command in (("TYPE", name), ("PTTL", name))])
    kinds = [text(kind) for kind in replies[::2]]
    reads = [(_READ[kind][0], name, *_READ[kind][1:]) for name, kind in zip(names, kinds, strict=True)]
    values = await client.pipeline(reads)
    found: dict[str, Stored] = {}
    for name, kind, ttl, value in zip(names, kinds, replies[1::2], values, strict=True):
        content: str | set[str] | dict[str, str] | dict[str, int] | int
        match kind:
            case "hash":
                content = mapping(value)
            case "set":
                content = set(texts(value))
            case "zset":
                content = {member: number(score) for member, score in mapping(value).items()}
            case "stream":
                content = number(value)
            case _:
                content = text(value)
        found[name] = Stored(kind, number(ttl), content)
    return found


_LANE = "[^:~!@]+[:~][^:~!@]+"
_VALUES = {"key": ".+", "lane": _LANE, "line": f"{_LANE}!?"}


def _pattern(key: Key) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", key.pattern)
    spelled = [re.escape(part) if at % 2 == 0 else f"(?:{_VALUES.get(part, '[^:]+')})" for at, part in enumerate(parts)]
    return re.compile("".join(spelled))


PATTERNS = [(_pattern(key), key) for key in KEY_TABLE]


def row_of(name: str) -> Key:
    """The one row of the key table that says a key (of the default prefix)."""
    rows = [key for pattern, key in PATTERNS if pattern.fullmatch(name)]
    assert len(rows) == 1, f"{name} is said by {len(rows)} rows of the key table"
    return rows[0]


async def check_keys(store: Store) -> None:
    """Every key is in the table, of the type that it says, and has a TTL exactly where it says one."""
    for name, stored in (await dump(store.client)).items():
        row = row_of(name)
        assert stored.type == row.type, f"{name} is a {stored.type}, the table says {row.type}"
        if row.type != "stream":
            assert (stored.ttl_ms >= 0) == (row.ttl != "none"), f"{name} has TTL {stored.ttl_ms}, the table: {row.ttl}"
