"""The phases of a node's connection and every way from one to another: the table that the machine is held to.

`docs/states.md` is drawn from it. The status that others see is derived: see `NodeMachine.status`.
"""

from collections.abc import Mapping
from enum import StrEnum


class Phase(StrEnum):
    """Where the connection stands. The timers that run in each are named in brackets; pings run until it leaves."""

    CONNECTED = "connected"
    """Has not registered. [register]"""
    REGISTERING = "registering"
    """The store was asked to register it. [the repetition, where the store failed]"""
    REGISTERED = "registered"
    """Acknowledged; gets jobs from its first heartbeat. [suspect, lost]"""
    SERVING = "serving"
    """Gets jobs, if its status allows. [suspect, lost]"""
    LEAVING = "leaving"
    """The socket is gone; the store has yet to hear of it. [the repetition, at most for the TTL of a heartbeat]"""
    GONE = "gone"
    """Nothing more happens."""


OPEN = frozenset({Phase.CONNECTED, Phase.REGISTERING, Phase.REGISTERED, Phase.SERVING})
"""The socket is there."""
KNOWN = frozenset({Phase.REGISTERED, Phase.SERVING})
"""The store has confirmed the node as this connection's."""

TRANSITIONS: Mapping[tuple[Phase, Phase], str] = {
    (Phase.CONNECTED, Phase.REGISTERING): "a registration without fault",
    (Phase.CONNECTED, Phase.GONE): "closed, or did not register in time",
    (Phase.REGISTERING, Phase.REGISTERED): "the store confirmed it",
    (Phase.REGISTERING, Phase.CONNECTED): "the store refused it",
    (Phase.REGISTERING, Phase.LEAVING): "closed: if the store confirms it, it must be told",
    (Phase.REGISTERING, Phase.GONE): "the node id is another's, or it never reached the store",
    (Phase.REGISTERED, Phase.SERVING): "the store took a heartbeat",
    (Phase.REGISTERED, Phase.LEAVING): "closed, lost, or expired",
    (Phase.REGISTERED, Phase.GONE): "a newer connection took over",
    (Phase.SERVING, Phase.LEAVING): "closed, lost, or expired",
    (Phase.SERVING, Phase.GONE): "a newer connection took over",
    (Phase.LEAVING, Phase.GONE): "the store knows, or has forgotten by itself; or a newer connection took over",
}
"""Every change of phase that can happen, and why it does."""
