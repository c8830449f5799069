"""An example of each message, for documents: what is required, and of the rest what a usual conversation carries."""

import typing
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import msgspec

_VALUES: dict[str, Any] = {
    "accept_public_jobs": True, "type": "asr", "action": "SLOW_DOWN", "asr_languages": ["en", "zh"], "at_bytes": 32_000,
    "attempt_id": 1, "audio": "AAABAAEA", "audio_format": "pcm16", "binary": False, "candidate": {"candidate": "…"},
    "capacity": 4, "client_timestamp_ms": 1_790_000_000_000, "client_ts": 1_790_000_000_000, "client_version": "1.0.0",
    "code": "INVALID_MESSAGE", "command": "drain", "cpu_cores": 8, "created_at_ms": 1_790_000_004_200,
    "deadline_ms": 8000, "participant_id": "p-2", "joined_at": 1_790_000_000_000,
    "display_name": "Ana", "enable_streaming_asr": False, "event": "DISPATCHED",
    "features_supported": {}, "heartbeat_interval_ms": 15_000, "is_final": False, "is_manual_cut": True,
    "job_id": "job-3fa1", "last_result_seq": 6, "manual_cut": True, "memory_gb": 16.0,
    "negotiated_audio_format": "pcm16", "negotiated_channel_count": 1, "negotiated_codec": "pcm16",
    "negotiated_sample_rate": 16_000, "next_seq": 42, "node_id": "gpu-1", "partial_update_interval_ms": 1000,
    "payload": "AAABAAEA", "platform": "web", "preferred_lang": "pt", "protocol_version": "1.1", "ready": True,
    "receive_raw_voice": True, "replayed": 2, "result_seq": 7, "resume_after_ms": 500, "resume_token": "kJ9…",
    "resume_window_ms": 60_000, "room_code": "482913", "room_id": "room-77c0", "sample_rate": 16_000,
    "scheduler_sent_at_ms": 1_790_000_004_200, "sdp": {"type": "offer", "sdp": "v=0…"}, "semantic_languages": ["en"],
    "seq": 41, "session_id": "s-9b2e", "speech_end_ms": 3200, "speech_start_ms": 1150, "src": "en",
    "src_lang": "en", "stable_chars": 5, "success": True, "text": "Good morning", "text_asr": "Good morning.",
    "tgt": "pt", "tgt_lang": "pt",
    "text_translated": "Bom dia.", "time_left_ms": 30_000, "timestamp": 1_790_000_000_000, "to": "s-51d7",
    "target_session_id": "s-51d7", "trace_id": "trace-c4d0", "ts_end_ms": 1_790_000_006_000, "tts_audio": "UklGRg…",
    "ts_start_ms": 1_790_000_004_500, "tts_format": "wav", "tts_languages": ["pt"], "tts_sample_rate": 22_050,
    "use_binary_frame": False, "utterance_index": 3, "version": "1.0.0", "group_id": "group-12",
}  # fmt: skip
"""By the name of the field, wherever it stands."""
_BY_MESSAGE: dict[str, dict[str, Any]] = {
    "asr_partial": {"stable_chars": 5},
    "audio_chunk": {"payload": ..., "client_timestamp_ms": ...},
    "error": {"message": "audio_chunk: `seq` is missing"},
    "goaway": {"reason": "the instance leaves"},
    "job_assign": {"is_manual_cut": ..., "deadline_ms": 60_000, "pipeline": {"use_asr": True}},
    "job_cancel": {"reason": "the session has ended"},
    "job_held": {"reason": "too short to be a sentence"},
    "job_preview": {"pipeline": {"use_asr": True}},
    "job_reject": {"code": "FULL", "retry_after_ms": 500},
    "job_result": {"text_asr": ..., "text_translated": ..., "tts_audio": ..., "tts_format": ...},
    "missing_result": {"reason": "silence_detected", "tgt_lang": ...},
    "node_control": {"reason": "an operator asked for it"},
    "node_drain": {"reason": "the node was told to leave"},
    "node_error": {"code": "MODEL_NOT_AVAILABLE", "message": "whisper did not load again"},
    "node_heartbeat": {"resource_usage": {"cpu_percent": 41.5, "running_jobs": 1}},
    "node_register": {"platform": "linux-x86_64", "protocol_version": "2", "capacity": ..., "node_id": ...},
    "node_register_ack": {"message": "registered", "status": "ready"},
    "room_create": {"display_name": ..., "preferred_lang": ...},
    "room_error": {"code": "ROOM_NOT_FOUND", "message": "there is no such room"},
    "room_join": {"display_name": ..., "preferred_lang": ...},
    "room_update": {"preferred_lang": ...},
    "session_close": {"reason": "user_closed"},
    "session_init": {"protocol_version": ..., "audio_format": ..., "sample_rate": ...},
    "session_init_ack": {"message": "session created", "resume_token": ..., "resume_window_ms": ...},
    "translation_result": {"result_seq": ..., "speech_start_ms": ..., "speech_end_ms": ...},
    "webrtc_answer": {"sdp": {"type": "answer", "sdp": "v=0…"}},
    "ui_event": {"event": "DISPATCHED", "status": "ok"},
}
"""Of one message: optional fields that it shows (`...`: with their usual value), and values of its own."""


def example(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """A message as it stands on the wire, with its type first."""
    tag = str(struct.__struct_config__.tag)
    return {"type": tag, **_fields(struct, _BY_MESSAGE.get(tag, {}))}


def _fields(struct: type[msgspec.Struct], own: dict[str, Any]) -> dict[str, Any]:
    fields = msgspec.structs.fields(struct)
    shown = [field for field in fields if field.required or field.encode_name in own]
    told = {field.encode_name: own.get(field.encode_name, ...) for field in shown}
    return told | {one.encode_name: _value(one.encode_name, one.type) for one in shown if told[one.encode_name] is ...}


def _value(name: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _value(name, arguments[0])
    if isinstance(hint, UnionType) or origin is typing.Union:
        return _value(name, next(part for part in arguments if part is not NoneType))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _fields(hint, {one.encode_name: ... for one in msgspec.structs.fields(hint) if one.name in _VALUES})
    if name in _VALUES:
        return _VALUES[name]
    if origin is list:
        return [_value(name, arguments[0])] if name in {"members", "capability_by_type"} else []
    if origin is Literal:
        return arguments[0]
    usual: dict[Any, Any] = {str: "…", int: 0, float: 0.0, bool: False}
    return usual.get(hint, {})
