"""RFC 6455 as bytes in, events out: the frames of one peer that masks, and the heads of our own that do not.

Theory of operation. `FrameParser.feed` takes bytes as they come, cut anywhere, and returns what is complete by them. A
frame that is there as a whole is unmasked at once; of one that is not, or of a message in fragments, each part is
unmasked and checked as it comes, so that text which is not UTF-8 and a message over the limit are told before their
end. The last event of a peer is its `Close`, or the `Violation` that ends it: whatever comes behind is not looked at.

Extensions are never negotiated, so a reserved bit is a violation: no frame can unfold into a larger one.
"""

import codecs
import sys
from collections.abc import Callable
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN, MASK = 0x80, 0x80
CONTROL_BYTES_MAX = 125
REASON_BYTES_MAX = CONTROL_BYTES_MAX - 2

NORMAL, PROTOCOL_ERROR, NO_CODE, NOT_UTF8, TOO_BIG = 1000, 1002, 1005, 1007, 1009
_CODES = frozenset(range(1000, 1015)) - {1004, 1005, 1006}
"""Of the registered ones, those that may stand in a frame; 3000 to 4999 are for libraries and applications."""


@dataclass(frozen=True, slots=True)
class Ping:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""


@dataclass(frozen=True, slots=True)
class Close:
    """The peer wants to end. `NO_CODE` where it gave none."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The peer broke the protocol or a limit; `code` is what to close with."""

    code: int
    reason: str


Event = str | bytes | Ping | Pong | Close | Violation

FRAGMENTS_MAX = 16_384
"""Of one message: empty ones would otherwise come without end, and nothing counts them."""

_CONTROL = FIN | CLOSE
_WHOLE_TEXT, _WHOLE_BINARY = FIN | TEXT, FIN | BINARY
_WHOLE = frozenset((_WHOLE_TEXT, _WHOLE_BINARY))
_TWO = 126
_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_CONTROLS = frozenset((_CONTROL, FIN | PING, FIN | PONG))
_BETWEEN = frozenset((TEXT, BINARY, _WHOLE_TEXT, _WHOLE_BINARY)) | _CONTROLS
_WITHIN = frozenset((CONTINUATION, FIN)) | _CONTROLS
_NOT_UTF8 = "text is not UTF-8"
_Decoder = codecs.getincrementaldecoder("utf-8")

Unmask = Callable[[bytes, bytearray], None]
"""XORs data, in place, with a key of four bytes that begins at its first byte."""


def unmask(key: bytes, data: bytearray) -> None:
    """`Unmask` in plain Python, by one long number: a tenth as fast as C for a chunk of speech."""
    length = len(data)
    mask = int.from_bytes((key * (length // 4 + 1))[:length], sys.byteorder)
    data[:] = (int.from_bytes(data, sys.byteorder) ^ mask).to_bytes(length, sys.byteorder)


def frame_head(opcode: int, length: int) -> bytes:
    """What stands before `length` bytes of a whole, unmasked message."""
    if length < 126:
        return bytes((FIN | opcode, length))
    if length < 1 << 16:
        return bytes((FIN | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((FIN | opcode, 127)) + length.to_bytes(8, "big")


def close_frame(code: int, reason: str) -> bytes:
    """A whole close frame. The reason is cut, between characters, to what fits; `NO_CODE` says neither."""
    if code == NO_CODE:
        return frame_head(CLOSE, 0)
    payload = code.to_bytes(2, "big") + reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
    return frame_head(CLOSE, len(payload)) + payload


class _ViolationError(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.violation = Violation(code, reason)


class FrameParser:
    """Reads one peer's frames. What it holds back never exceeds `message_bytes_max` and a frame's head.

    `parts` counts the frames that began or went on with a message and did not end it.
    """

    __slots__ = (
        "_control", "_decoder", "_expected", "_first", "_fragments", "_head", "_is_over", "_key", "_kind", "_left",
        "_message", "_most", "_unmask", "parts",
    )  # fmt: skip

    def __init__(self, message_bytes_max: int, unmask: Unmask = unmask) -> None:
        self._most = message_bytes_max
        self._unmask = unmask
        self.parts = 0
        self._is_over = False
        self._head = b""
        """The beginning of a frame whose head is not complete."""
        self._first, self._key, self._left = 0, b"", 0
        """Of the frame under way: its first byte, its key from the next byte on, and how much is still to come."""
        self._control = bytearray()
        self._expected = _BETWEEN
        """First bytes that the next frame may have."""
        self._kind, self._message, self._fragments = 0, bytearray(), 0
        """Of the message under way: TEXT or BINARY, what is there of it, and in how many frames it came."""
        self._decoder = _Decoder()
        """Follows text that comes in parts, so that it fails at the first wrong byte."""

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """What is complete by these bytes, in order. `data` is the caller's again when this returns."""
        events: list[Event] = []
        if not self._is_over:
            try:
                self._read(data, events)
            except _ViolationError as error:
                self._is_over = True
                events.append(error.violation)
        return events

    def _read(self, data: bytes | memoryview, events: list[Event]) -> None:
        if self._head:
            data = self._head + bytes(data)
            self._head = b""
        end = len(data)
        at = self._take(data, 0, end, events) if self._left else 0
        while end - at > 1 and not self._is_over:
            first, second = data[at], data[at + 1]
            length, start = second & 0x7F, at + 6
            if first not in self._expected or second < MASK or (first >= _CONTROL and length > CONTROL_BYTES_MAX):
                raise _ViolationError(PROTOCOL_ERROR, _fault(first, second, self._expected))
            if length > CONTROL_BYTES_MAX:
                start += 2 if length == _TWO else 8
                if end < start - 4:
                    break
                length = _long(data[at + 2 : start - 4])
            if first < _CONTROL and length > self._most - len(self._message):
                raise _ViolationError(TOO_BIG, "message too big")
            if end < start:
                break
            key, stop = bytes(data[start - 4 : start]), start + length
            if stop <= end and first in _WHOLE:
                payload = bytearray(data[start:stop])
                self._unmask(key, payload)
                events.append(bytes(payload) if first == _WHOLE_BINARY else _text(payload))
                at = stop
            else:
                self._begin(first, key, length)
                at = self._take(data, start, end, events)
        if at < end and not self._is_over:
            self._head = bytes(data[at:end])

    def _begin(self, first: int, key: bytes, length: int) -> None:
        """A frame that is not a whole message, or not there as a whole."""
        self._first, self._key, self._left = first, key, length
        if first >= _CONTROL:
            return
        self._kind = first & 0xF or self._kind
        self._fragments += 1
        if self._fragments > FRAGMENTS_MAX:
            raise _ViolationError(TOO_BIG, "too many fragments")
        self.parts += first < FIN
        self._expected = _WITHIN

    def _take(self, data: bytes | memoryview, at: int, end: int, events: list[Event]) -> int:
        """As much of the payload under way as is there; returns where it ends in `data`."""
        part = bytearray(data[at : min(end, at + self._left)])
        self._unmask(self._key, part)
        self._left -= len(part)
        turn = len(part) % 4
        self._key = self._key[turn:] + self._key[:turn]
        is_whole = not self._left
        if self._first >= _CONTROL:
            self._control += part
            if is_whole:
                events.append(self._controlled())
        else:
            is_last = is_whole and self._first >= FIN
            self._message += part
            if self._kind == TEXT:
                try:
                    self._decoder.decode(part, is_last)
                except UnicodeDecodeError:
                    raise _ViolationError(NOT_UTF8, _NOT_UTF8) from None
            if is_last:
                events.append(self._message.decode() if self._kind == TEXT else bytes(self._message))
                self._message, self._fragments, self._expected = bytearray(), 0, _BETWEEN
        return at + len(part)

    def _controlled(self) -> Event:
        data, self._control = bytes(self._control), bytearray()
        match self._first & 0xF:
            case 0x9:
                return Ping(data)
            case 0xA:
                return Pong()
            case _:
                self._is_over = True
                return _closed(data)


def _text(payload: bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise _ViolationError(NOT_UTF8, _NOT_UTF8) from None


def _long(digits: bytes | memoryview) -> int:
    """A length of two or eight bytes."""
    length = int.from_bytes(digits, "big")
    if length < (126 if len(digits) == 2 else 1 << 16) or length >> 63:
        raise _ViolationError(PROTOCOL_ERROR, "a length not in its shortest form")
    return length


def _fault(first: int, second: int, expected: frozenset[int]) -> str:
    """What is wrong with the first two bytes of a frame."""
    opcode = first & 0xF
    if first & 0x70:
        return "a reserved bit"
    if opcode not in _OPCODES:
        return "an unknown opcode"
    if opcode >= CLOSE and first < FIN:
        return "a control frame in fragments"
    if first not in expected:
        return "a message within a message" if opcode else "a continuation of nothing"
    return "a frame without mask" if second < MASK else "a control frame too long"


def _closed(data: bytes) -> Close:
    if not data:
        return Close(NO_CODE, "")
    code = int.from_bytes(data[:2], "big")
    if len(data) == 1 or not (code in _CODES or 3000 <= code < 5000):
        raise _ViolationError(PROTOCOL_ERROR, "a close code that may not be sent")
    return Close(code, _text(bytearray(data[2:])))
