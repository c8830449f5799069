"""The load's ends of connections: sockets that never wait, and what a speaker or a node remembers."""

import select
import socket
from collections.abc import Iterator

from lingua_scheduler.bench import frames

_READ_BYTES = 1 << 18
_CONNECT_S = 20.0


class Peer:
    """One connection; never waits."""

    def __init__(self, sock: socket.socket, poll: select.epoll) -> None:
        self.sock = sock
        self._poll = poll
        self._incoming = frames.Incoming()
        self._unsent = bytearray()
        self.is_closed = False

    def send(self, data: bytes | bytearray) -> None:
        if self.is_closed:
            return
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_closed = True
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._poll.modify(self.sock, select.EPOLLIN | select.EPOLLOUT)

    def flush(self) -> None:
        data, self._unsent = self._unsent, bytearray()
        self._poll.modify(self.sock, select.EPOLLIN)
        self.send(data)

    def read(self) -> Iterator[tuple[bool, bytes]]:
        """Frames that have come, and whether each is text; pings are answered here."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
            self._poll.unregister(self.sock)
            return
        for kind, payload in self._incoming.feed(data):
            if kind == frames.PING:
                self.send(frames.masked(frames.PONG, payload))
            elif kind in (frames.TEXT, frames.BINARY):
                yield kind == frames.TEXT, payload


class Client(Peer):
    """A speaker: where it is in its sentence follows from the time."""

    def __init__(self, sock: socket.socket, poll: select.epoll) -> None:
        super().__init__(sock, poll)
        self.session_id = ""
        self.chunk: frames.Chunk
        self.seq = -1
        self.finals = 0
        self.due_s: dict[int, float] = {}
        """When the last chunk of each sentence that is on its way was due."""


class Node(Peer):
    """Answers what it is given."""

    def __init__(self, sock: socket.socket, poll: select.epoll) -> None:
        super().__init__(sock, poll)
        self.node_id = ""


def dialled(host: str, port: int, path: str) -> socket.socket:
    """Connected, and asked for a WebSocket: `shaken` reads the answer."""
    sock = socket.create_connection((host, port), _CONNECT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(frames.handshake(path, f"{host}:{port}"))
    return sock


def shake(sock: socket.socket) -> None:
    """Read the answer to a handshake, and no byte beyond it."""
    told = b""
    while not told.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        told += byte
    if b" 101 " not in told[:16]:
        raise ConnectionError(f"not let in: {told[:60]!r}")


def first_frame(sock: socket.socket) -> bytes:
    """The payload of the first frame; the server says nothing behind it by itself."""
    incoming = frames.Incoming()
    while data := sock.recv(_READ_BYTES):
        for kind, payload in incoming.feed(data):
            if kind in (frames.TEXT, frames.BINARY):
                return payload
    raise ConnectionError("closed before its first word")
