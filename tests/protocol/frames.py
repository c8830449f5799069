"""Frames as clients send them, for tests: masked unless told otherwise, also those that no client may send."""

from lingua_scheduler.protocol.websocket import unmask

KEY = b"\x37\xfa\x21\x3d"


def frame(first: int, payload: bytes = b"", *, key: bytes | None = KEY, escape: int | None = None) -> bytes:
    """`first` byte, length, key, payload. `escape` 126 or 127 forces the long form; no `key`: not masked."""
    size, mask = len(payload), 0x80 if key is not None else 0
    if escape is None:
        escape = size if size < 126 else 126 if size < 1 << 16 else 127
    head = bytes((first, mask | escape))
    if escape >= 126:
        head += size.to_bytes(2 if escape == 126 else 8, "big")
    body = bytearray(payload)
    if key is not None:
        unmask(key, body)
    return head + (key or b"") + body


def text(payload: str | bytes) -> bytes:
    return frame(0x81, payload.encode() if isinstance(payload, str) else payload)


def binary(payload: bytes) -> bytes:
    return frame(0x82, payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(0x88, b"" if code is None else code.to_bytes(2, "big") + reason)


def pieces(payload: bytes, *sizes: int, kind: int = 1) -> bytes:
    """One message in fragments of these sizes and the rest."""
    cut: list[bytes] = []
    for size in sizes:
        cut.append(payload[:size])
        payload = payload[size:]
    cut.append(payload)
    firsts = [kind, *[0] * (len(cut) - 1)]
    firsts[-1] |= 0x80
    return b"".join(frame(first, part) for first, part in zip(firsts, cut, strict=True))
