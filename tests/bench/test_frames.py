"""What the load sends is what the codec reads, whatever its number; what servers send is read in any pieces."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.bench import frames
from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol import messages as wire


def unmasked(frame: bytes) -> bytes:
    """As a server reads it, a byte at a time."""
    size, at = frame[1] & 127, 2
    assert frame[1] & 128, "clients mask"
    if size == 126:
        (size,), at = struct.unpack_from(">H", frame, 2), 4
    elif size == 127:
        (size,), at = struct.unpack_from(">Q", frame, 2), 10
    key, body = frame[at : at + 4], frame[at + 4 :]
    assert len(body) == size
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(body))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_of_any_size_are_masked(size: int):
    payload = bytes(i % 251 for i in range(size))

    assert unmasked(frames.masked(frames.BINARY, payload)) == payload


@given(st.integers(0, 2**31 - 1), st.booleans(), st.binary(min_size=1, max_size=200))
def test_a_chunk_changes_its_number_and_nothing_else(seq: int, is_final: bool, audio: bytes):
    chunk = frames.JsonChunk("s-0123456789", audio)
    chunk.numbered(17, is_final=not is_final)
    said = codec.decode_client(unmasked(bytes(chunk.numbered(seq, is_final=is_final))).decode())
    assert said == wire.AudioChunk(
        session_id="s-0123456789", seq=seq, is_final=is_final, payload=codec.encode_audio(audio)
    )

    binary = frames.BinaryChunk("s-0123456789", audio)
    binary.numbered(17, is_final=not is_final)
    heard = codec.decode_client(unmasked(bytes(binary.numbered(seq, is_final=is_final))))
    assert heard == codec.BinaryChunk("s-0123456789", seq, 0, is_final, audio)


@given(st.lists(st.integers(0, 70_000), max_size=4), st.integers(1, 5000))
def test_frames_of_a_server_are_whole_however_they_come(sizes: list[int], piece: int):
    stream = b""
    for size in sizes:
        form, code = (">BB", size) if size < 126 else (">BBH", 126) if size < 65_536 else (">BBQ", 127)
        stream += struct.pack(form, 0x82, code, *([size] if size >= 126 else [])) + bytes(size)
    incoming = frames.Incoming()

    got = [frame for at in range(0, len(stream), piece) for frame in incoming.feed(stream[at : at + piece])]

    assert [(kind, len(payload)) for kind, payload in got] == [(frames.BINARY, size) for size in sizes]
