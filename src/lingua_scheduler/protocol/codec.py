"""Bytes to message and back: the only file that knows encodings.

Text frames are JSON tagged by `type`. Binary frames of clients have a fixed little-endian head (`BinaryChunk`); binary
frames of nodes are a JSON header behind its length, then raw audio. Whatever a peer sends, decoding raises nothing but
`PeerError`.
"""

import struct
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import pybase64

from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.messages import (
    AudioChunk,
    ClientMessage,
    ServerMessage,
    WebrtcAnswer,
    WebrtcIce,
    WebrtcOffer,
    Wire,
)
from lingua_scheduler.protocol.node import JobAssign, JobPreview, JobResult, NodeMessage, SchedulerMessage
from lingua_scheduler.protocol.plain import is_plain

_T = TypeVar("_T")

_encoder = msgspec.json.Encoder()
_client_decoder = msgspec.json.Decoder(ClientMessage)
_server_decoder = msgspec.json.Decoder(ServerMessage)
_node_decoder = msgspec.json.Decoder(NodeMessage)
_scheduler_decoder = msgspec.json.Decoder(SchedulerMessage)

AUDIO, FINAL, PING, PONG = 1, 2, 0x10, 0x11
_HEAD = struct.Struct("<BBII")
_AUDIO_FLAGS = struct.Struct("<BB")
_HEADER_LENGTH = struct.Struct("<I")


class BinaryChunk(msgspec.Struct, frozen=True):
    """Audio, or the final, of a client that speaks binary frames."""

    session_id: str
    seq: int
    timestamp_ms: int
    is_final: bool
    audio: bytes


@dataclass(frozen=True, slots=True)
class BinaryPing:
    """A ping of a client that speaks binary frames; it is answered with the same frame as a pong."""

    session_id: str
    seq: int
    timestamp_ms: int
    is_pong: bool = False


def encode(message: Wire) -> bytes:
    """One JSON text frame, UTF-8."""
    return _encoder.encode(message)


def decode_audio(text: str | None) -> bytes:
    """The bytes behind base64, strictly; PeerError INVALID_MESSAGE where it is not base64."""
    if not text:
        return b""
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError as error:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"audio is not base64: {error}") from None


def encode_audio(audio: bytes) -> str:
    return pybase64.b64encode_as_string(audio)


def decode_client(frame: str | bytes) -> ClientMessage | BinaryChunk | BinaryPing:
    """What a client said, from a text frame (`str`) or a binary one (`bytes`)."""
    if not isinstance(frame, str):
        return _decode_client_binary(frame)
    message = _decode(_client_decoder, frame)
    if type(message) is AudioChunk:  # nearly all of them
        return message
    if isinstance(message, WebrtcOffer | WebrtcAnswer | WebrtcIce):
        signal = message.candidate if isinstance(message, WebrtcIce) else message.sdp
        if not is_plain(signal):
            raise PeerError(ErrorCode.INVALID_MESSAGE, "what is signalled nests too deep, or has too large a number")
    return message


def chunk_audio(chunk: AudioChunk | BinaryChunk) -> bytes:
    """The audio of a chunk in either form."""
    return chunk.audio if isinstance(chunk, BinaryChunk) else decode_audio(chunk.payload)


def decode_server(frame: str | bytes) -> ServerMessage | BinaryPing:
    """What the scheduler said to a client."""
    if isinstance(frame, str):
        return _decode(_server_decoder, frame)
    message = _decode_client_binary(frame)
    if isinstance(message, BinaryChunk):
        raise PeerError(ErrorCode.INVALID_MESSAGE, "audio frame from a server")
    return message


def encode_chunk(chunk: BinaryChunk) -> bytes:
    """A binary frame with audio; an empty final travels as the shorter `final` frame."""
    session = chunk.session_id.encode()
    if chunk.is_final and not chunk.audio:
        return _HEAD.pack(FINAL, len(session), chunk.seq, chunk.timestamp_ms & 0xFFFF_FFFF) + session
    head = _HEAD.pack(AUDIO, len(session), chunk.seq, chunk.timestamp_ms & 0xFFFF_FFFF)
    return head + _AUDIO_FLAGS.pack(chunk.is_final, 0) + session + chunk.audio


def encode_ping(ping: BinaryPing) -> bytes:
    session = ping.session_id.encode()
    return _HEAD.pack(PONG if ping.is_pong else PING, len(session), ping.seq, ping.timestamp_ms) + session


def _decode_client_binary(frame: bytes) -> BinaryChunk | BinaryPing:
    if len(frame) < _HEAD.size:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"binary frame of {len(frame)} bytes")
    kind, id_bytes, seq, timestamp_ms = _HEAD.unpack_from(frame)
    at = _HEAD.size + (_AUDIO_FLAGS.size if kind == AUDIO else 0)
    if kind not in (AUDIO, FINAL, PING, PONG) or len(frame) < at + id_bytes:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"binary frame of type {kind} and {len(frame)} bytes")
    try:
        session_id = frame[at : at + id_bytes].decode()
    except UnicodeDecodeError:
        raise PeerError(ErrorCode.INVALID_MESSAGE, "session id of a binary frame is not UTF-8") from None
    if kind in (PING, PONG):
        return BinaryPing(session_id, seq, timestamp_ms, is_pong=kind == PONG)
    is_final = kind == FINAL or frame[_HEAD.size] != 0
    audio = frame[at + id_bytes :] if kind == AUDIO else b""
    return BinaryChunk(session_id, seq, timestamp_ms, is_final, audio)


def decode_node(frame: str | bytes) -> NodeMessage:
    """What a node said. A binary frame is a `job_result`; its audio is put back as base64.

    Where beside the text of a result is what cannot be passed on, the result goes on without it.
    """
    if isinstance(frame, str):
        message = _decode(_node_decoder, frame)
        return _passable(message) if isinstance(message, JobResult) else message
    header, audio = _split_header(frame)
    message = _decode(_node_decoder, header)
    if not isinstance(message, JobResult):
        raise PeerError(ErrorCode.INVALID_MESSAGE, "a binary frame from a node is a job_result")
    return _passable(msgspec.structs.replace(message, tts_audio=encode_audio(audio)) if audio else message)


def _passable(result: JobResult) -> JobResult:
    if result.tts_audio and not _is_audio(result.tts_audio):
        result = msgspec.structs.replace(result, tts_audio=None)
    if result.extra and not is_plain(result.extra):
        result = msgspec.structs.replace(result, extra=None)
    if result.error is not None and not is_plain(result.error.details):
        result = msgspec.structs.replace(result, error=msgspec.structs.replace(result.error, details=None))
    return result


def _is_audio(text: str) -> bool:
    try:
        decode_audio(text)
    except PeerError:
        return False
    return True


def decode_scheduler(frame: str | bytes) -> tuple[SchedulerMessage, bytes]:
    """What the scheduler said to a node, and the audio of a `job_assign` or `job_preview` (empty for the rest)."""
    if isinstance(frame, str):
        message = _decode(_scheduler_decoder, frame)
        return message, decode_audio(message.audio) if isinstance(message, JobAssign | JobPreview) else b""
    header, audio = _split_header(frame)
    return _decode(_scheduler_decoder, header), audio


def encode_assign(assign: JobAssign | JobPreview, audio: bytes, *, binary: bool) -> str | bytes:
    """`job_assign` or `job_preview` with `audio` in the form that the node asked for. `assign.audio` is to be empty."""
    if not binary:
        return encode(msgspec.structs.replace(assign, audio=encode_audio(audio))).decode()
    return _join_header(assign, audio)


def encode_result(result: JobResult, audio: bytes, *, binary: bool) -> str | bytes:
    """`job_result` with the spoken translation in the form that was agreed. `result.tts_audio` is to be absent."""
    if not binary or not audio:
        return encode(msgspec.structs.replace(result, tts_audio=encode_audio(audio))).decode()
    return _join_header(result, audio)


def _join_header(message: Wire, audio: bytes) -> bytes:
    header = _encoder.encode(message)
    return b"".join((_HEADER_LENGTH.pack(len(header)), header, audio))


def _split_header(frame: bytes) -> tuple[bytes, bytes]:
    if len(frame) < _HEADER_LENGTH.size:
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"binary frame of {len(frame)} bytes")
    (size,) = _HEADER_LENGTH.unpack_from(frame)
    end = _HEADER_LENGTH.size + size
    if end > len(frame):
        raise PeerError(ErrorCode.INVALID_MESSAGE, f"header of {size} bytes in a frame of {len(frame)}")
    return frame[_HEADER_LENGTH.size : end], frame[end:]


def _decode(decoder: msgspec.json.Decoder[_T], frame: str | bytes) -> _T:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PeerError(ErrorCode.INVALID_MESSAGE, str(error)) from None
