"""The identifiers that travel on the wire, as distinct types.

Each is an opaque string to everybody but its maker. `valid_id` is the gate for ids that come from a peer: they become
parts of Redis keys and of log lines, so only a harmless alphabet passes.
"""

import re
from typing import NewType

SessionId = NewType("SessionId", str)
JobId = NewType("JobId", str)
NodeId = NewType("NodeId", str)
InstanceId = NewType("InstanceId", str)
TraceId = NewType("TraceId", str)
GroupId = NewType("GroupId", str)
TenantId = NewType("TenantId", str)
RoomId = NewType("RoomId", str)
Language = NewType("Language", str)
"""A lower-case language code such as `en`, `pt` or `zh-tw`; `auto` where the field allows it."""

AUTO = Language("auto")

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ID = re.compile(ID_PATTERN)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,2}")


def valid_id(text: str) -> bool:
    """Whether a peer may use `text` as an id: 1–128 characters of `A-Za-z0-9._-`, starting with a letter or digit."""
    return _ID.fullmatch(text) is not None


def language(text: str) -> Language | None:
    """The language code in lower case, or None where `text` is not one (`auto` is not one either)."""
    lowered = text.strip().lower().replace("_", "-")
    return Language(lowered) if _LANGUAGE.fullmatch(lowered) else None
