"""Fresh ids. Random, so that nobody can guess a session; short where people read them."""

import os
import secrets
import socket
import uuid

from lingua_scheduler.protocol.ids import InstanceId, NodeId, SessionId, TraceId


def new_session_id() -> SessionId:
    """128 random bits."""
    return SessionId(f"s-{secrets.token_hex(16)}")


def new_resume_token() -> str:
    """192 random bits; whoever has it is the client."""
    return secrets.token_urlsafe(24)


def new_trace_id() -> TraceId:
    return TraceId(str(uuid.uuid4()))


def new_node_id() -> NodeId:
    return NodeId(f"node-{secrets.token_hex(6)}")


def new_instance_id() -> InstanceId:
    """Host and process for people, random bits for uniqueness."""
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40].strip("-") or "host"
    return InstanceId(f"{host}-{os.getpid()}-{secrets.token_hex(3)}")
