"""Results of a session as they wait in the store for a client that may come back: MessagePack, sound in binary."""

import msgspec

from lingua_scheduler.protocol import codec
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.protocol.plain import unpack


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kept"):
    """Base of both."""

    sound: bytes = b""
    """The `tts_audio` of what is kept beside it, which is empty there."""


class KeptMessage(Kept, tag="message", frozen=True, kw_only=True):
    """Written by the session's owner: what the client is told, but for its number."""

    message: TranslationResult | MissingResult


class KeptReport(Kept, tag="report", frozen=True, kw_only=True):
    """What a node reported when the session had no owner, or what is told to others than its client."""

    node_id: str
    report: JobResult


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(KeptMessage | KeptReport)


def encode_message(message: TranslationResult | MissingResult) -> bytes:
    if isinstance(message, TranslationResult) and message.tts_audio:
        sound = codec.decode_audio(message.tts_audio)
        return _encoder.encode(KeptMessage(message=msgspec.structs.replace(message, tts_audio=""), sound=sound))
    return _encoder.encode(KeptMessage(message=message))


def encode_report(node_id: str, report: JobResult) -> bytes:
    sound = codec.decode_audio(report.tts_audio) if report.tts_audio else b""
    bare = msgspec.structs.replace(report, tts_audio=None) if report.tts_audio else report
    return _encoder.encode(KeptReport(node_id=node_id, report=bare, sound=sound))


def decode_kept(body: bytes) -> KeptMessage | KeptReport:
    """With its sound where it belongs. msgspec.DecodeError where another version wrote it."""
    kept = unpack(_decoder, body)
    if not kept.sound:
        return kept
    audio = codec.encode_audio(kept.sound)
    if isinstance(kept, KeptReport):
        return KeptReport(node_id=kept.node_id, report=msgspec.structs.replace(kept.report, tts_audio=audio))
    if not isinstance(kept.message, TranslationResult):
        raise msgspec.DecodeError("nothing else has sound")
    return KeptMessage(message=msgspec.structs.replace(kept.message, tts_audio=audio))
