"""Tells whoever started this process (systemd, `Type=notify`) that it does its work now."""

import os
import socket

from lingua_scheduler.runtime.logs import get_logger

_log = get_logger("runtime.supervisor")


def tell_ready() -> None:
    """Nothing where nobody asked to be told (`NOTIFY_SOCKET`). Harmless to repeat."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"READY=1", address)
    except OSError as error:
        _log.warning("the supervisor was not told of the start", cause=str(error))
