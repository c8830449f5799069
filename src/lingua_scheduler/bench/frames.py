"""WebSocket frames as a load generator needs them: made once, altered in a few bytes for each use, hardly parsed.

Clients mask what they send with a key that is not zero, so that a server has its full work. A chunk is one `bytearray`
for each session; only its number and its final mark change, so sending it costs little beside the system call.
"""

import os
import struct
from collections.abc import Iterator

from lingua_scheduler.protocol import codec

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_CHUNK_HEAD = struct.Struct("<BBIIBB")
_KEY = b"\x5a\xc3\x17\x99"


def masked(kind: int, payload: bytes) -> bytes:
    """One frame from a client."""
    size = len(payload)
    head = bytearray([0x80 | kind])
    if size < 126:
        head.append(0x80 | size)
    elif size < 65_536:
        head += struct.pack(">BH", 0x80 | 126, size)
    else:
        head += struct.pack(">BQ", 0x80 | 127, size)
    return bytes(head) + _KEY + _xored(payload, 0)


def handshake(path: str, host: str) -> bytes:
    """The request that opens a WebSocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {'A' * 22}==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class JsonChunk:
    """`audio_chunk` in JSON."""

    def __init__(self, session_id: str, audio: bytes) -> None:
        head = f'{{"type":"audio_chunk","session_id":"{session_id}","payload":"{codec.encode_audio(audio)}","is_final":'
        self._at = len(head)
        self.frame = bytearray(masked(TEXT, head.encode() + self._tail(0, is_final=False)))
        self._offset = len(self.frame) - len(self._tail(0, is_final=False))

    def numbered(self, seq: int, *, is_final: bool) -> bytearray:
        """The frame with this number; valid until the next call."""
        self.frame[self._offset :] = _xored(self._tail(seq, is_final=is_final), self._at)
        return self.frame

    @staticmethod
    def _tail(seq: int, *, is_final: bool) -> bytes:
        return b'%5b,"seq":%10d}' % (b"true" if is_final else b"false", seq)


class BinaryChunk:
    """The binary frame with audio."""

    def __init__(self, session_id: str, audio: bytes) -> None:
        self._id_bytes = len(session_id)
        body = session_id.encode() + audio
        self.frame = bytearray(masked(BINARY, bytes(_CHUNK_HEAD.size) + body))
        self._offset = len(self.frame) - len(body) - _CHUNK_HEAD.size

    def numbered(self, seq: int, *, is_final: bool) -> bytearray:
        """The frame with this number; valid until the next call."""
        head = _CHUNK_HEAD.pack(codec.AUDIO, self._id_bytes, seq, 0, is_final, 0)
        self.frame[self._offset : self._offset + _CHUNK_HEAD.size] = _xored(head, 0)
        return self.frame


Chunk = JsonChunk | BinaryChunk


class Incoming:
    """Whole frames out of what a server sent. Servers do not mask, and ours send no fragments."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._wanted = 2

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of each frame that is complete now."""
        self._data += data
        at = 0
        while len(self._data) - at >= self._wanted:
            start, size = self._head(at)
            if len(self._data) < start + size:
                self._wanted = start + size - at
                break
            yield self._data[at] & 15, bytes(self._data[start : start + size])
            at, self._wanted = start + size, 2
        del self._data[:at]

    def _head(self, at: int) -> tuple[int, int]:
        """Where the payload begins, and its size; where the head is not all here, 0 and what is missing of it."""
        size = self._data[at + 1] & 127
        if size < 126:
            return at + 2, size
        form = ">H" if size == 126 else ">Q"
        start = at + 2 + struct.calcsize(form)
        if len(self._data) < start:
            return start, 0
        return start, struct.unpack_from(form, self._data, at + 2)[0]


def random_pcm(milliseconds: int) -> bytes:
    """Noise, 16 kHz, 16 bits: nothing that could be compressed."""
    return os.urandom(32 * milliseconds)


def _xored(payload: bytes, at: int) -> bytes:
    """Masked as what stands `at` bytes into its frame."""
    size, turn = len(payload), at % 4
    key = (_KEY[turn:] + _KEY[:turn]) * (size // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key[:size], "little")).to_bytes(size, "little")
