"""Ports for servers that cannot pick their own, or must come back on the one they had."""

import random
import socket

RANGE = range(20_000, 32_000)
"""Below what systems give to outgoing connections: nobody gets one of these by chance."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago. Where a server accepts port 0, that is safer."""
    for port in random.sample(RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a hundred ports are taken")
