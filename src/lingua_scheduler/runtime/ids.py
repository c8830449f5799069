"""Fresh ids. Random, so that nobody can guess a session; short where people read them."""

import base64
import contextlib
import os
import secrets
import socket
import uuid
from collections.abc import Callable, Generator

from lingua_scheduler.protocol.ids import InstanceId, NodeId, RoomId, SessionId, TraceId

_entropy: Callable[[int], bytes] = secrets.token_bytes


@contextlib.contextmanager
def drawn_from(entropy: Callable[[int], bytes]) -> Generator[None]:
    """Within the block ids come out of `entropy`: simulations can be repeated. Never where clients are real."""
    global _entropy  # noqa: PLW0603 - the one source of chance in production code
    before, _entropy = _entropy, entropy
    try:
        yield
    finally:
        _entropy = before


def new_session_id() -> SessionId:
    """128 random bits."""
    return SessionId(f"s-{_entropy(16).hex()}")


def new_resume_token() -> str:
    """192 random bits; whoever has it is the client."""
    return base64.urlsafe_b64encode(_entropy(24)).decode()


def new_room_id() -> RoomId:
    return RoomId(f"room-{secrets.token_hex(8)}")


def new_room_codes(count: int) -> list[str]:
    """Six digits each: the first that is free serves."""
    return [f"{secrets.randbelow(1_000_000):06d}" for _ in range(count)]


def new_trace_id() -> TraceId:
    return TraceId(str(uuid.UUID(bytes=_entropy(16), version=4)))


def new_node_id() -> NodeId:
    return NodeId(f"node-{_entropy(6).hex()}")


def new_instance_id() -> InstanceId:
    """Host and process for people, random bits for uniqueness."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40].strip("-") or "host"
    return InstanceId(f"{host}-{os.getpid()}-{_entropy(3).hex()}")
