"""What a node's answer means: the outcome of a success, and what to do about a failure."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from lingua_scheduler.core.jobs.events import FinalStatus
from lingua_scheduler.core.utterance import Missing, Outcome, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import MissingReason
from lingua_scheduler.protocol.node import JobResult, NodeFault

NO_TEXT_ASSIGNED = "NO_TEXT_ASSIGNED"
ASR_EMPTY = "ASR_EMPTY"

Blame = Literal["node", "utterance", "nobody"]


@dataclass(frozen=True, slots=True)
class Fault:
    """How to take an error code of a node."""

    is_retryable: bool
    blame: Blame
    """`node`: counts against its health. `utterance`: only until it fails on a second node too. `nobody`: never."""


_NODE, _BUSY = Fault(is_retryable=True, blame="node"), Fault(is_retryable=True, blame="nobody")
_SUSPECT_UTTERANCE = Fault(is_retryable=True, blame="utterance")
_CLIENT = Fault(is_retryable=False, blame="nobody")

FAULTS: dict[ErrorCode, Fault] = {
    ErrorCode.PROCESSING_ERROR: _SUSPECT_UTTERANCE,
    ErrorCode.INTERNAL_ERROR: _SUSPECT_UTTERANCE,
    ErrorCode.NMT_TIMEOUT: _SUSPECT_UTTERANCE,
    ErrorCode.TTS_TIMEOUT: _SUSPECT_UTTERANCE,
    ErrorCode.JOB_TIMEOUT: _NODE,
    ErrorCode.MODEL_NOT_AVAILABLE: _BUSY,
    ErrorCode.MODEL_LOAD_FAILED: _NODE,
    ErrorCode.MODEL_VERIFY_FAILED: _NODE,
    ErrorCode.MODEL_CORRUPTED: _NODE,
    ErrorCode.NO_GPU_AVAILABLE: _NODE,
    ErrorCode.NODE_OVERLOADED: _BUSY,
    ErrorCode.NODE_UNAVAILABLE: _BUSY,
    ErrorCode.NODE_NOT_REGISTERED: _BUSY,
    ErrorCode.WS_DISCONNECTED: _BUSY,
    ErrorCode.SCHEDULER_DEPENDENCY_DOWN: _BUSY,
    ErrorCode.RATE_LIMITED: _BUSY,
    ErrorCode.UNSUPPORTED_FEATURE: _BUSY,
    ErrorCode.INVALID_MESSAGE: _CLIENT,
    ErrorCode.INVALID_SESSION: _CLIENT,
    ErrorCode.SESSION_CLOSED: _CLIENT,
    ErrorCode.UNAUTHORIZED: _CLIENT,
}


def error_code(code: str) -> ErrorCode:
    """The code a node named; one that is not in our table is taken as PROCESSING_ERROR."""
    try:
        return ErrorCode(code)
    except ValueError:
        return ErrorCode.PROCESSING_ERROR


def fault_of(error: NodeFault | None) -> tuple[ErrorCode, Fault]:
    """What a `success: false` says. Codes that make no sense from a node are taken as PROCESSING_ERROR."""
    code = error_code(error.code) if error else ErrorCode.PROCESSING_ERROR
    if code not in FAULTS:
        code = ErrorCode.PROCESSING_ERROR
    return code, FAULTS[code]


def services_blamed(error: NodeFault | None, needed: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the `needed` services a MODEL_NOT_AVAILABLE speaks of; all of them where it does not say."""
    details = error.details if error else None
    if isinstance(details, dict):
        said = cast("dict[object, object]", details)
        named = {str(said[key]).lower() for key in ("service", "service_type", "type") if key in said}
        if found := tuple(service for service in needed if service in named):
            return found
    return needed


def missing_reason(reason: str) -> MissingReason:
    """`reason` if it is one that clients are told, else `job_failed`."""
    return cast("MissingReason", reason) if reason in get_args(MissingReason) else "job_failed"


def says_no_text_assigned(result: JobResult) -> bool:
    return _extra_reason(result) == NO_TEXT_ASSIGNED and is_blank(result)


def is_merged(result: JobResult) -> bool:
    """Whether another job's result says what this one's audio said."""
    return result.merged_into is not None or says_no_text_assigned(result)


def is_blank(result: JobResult) -> bool:
    texts = (result.text_asr, result.text_translated)
    return not result.tts_audio and all(not text or text.isspace() for text in texts)


def classify(translated: Translated) -> tuple[FinalStatus, Outcome]:
    """The final status and the outcome of a success. Text is never thrown away for a reason given beside it."""
    result = translated.result
    if result.merged_into is not None:
        return "completed_no_text", Missing("merged")
    if not is_blank(result):
        return "completed", translated
    match _extra_reason(result):
        case "ASR_EMPTY":
            return "completed_no_text", Missing("no_speech")
        case "NO_TEXT_ASSIGNED":
            return "completed_no_text", Missing("merged")
        case _:
            return "completed_no_text", Missing("silence_detected")


def _extra_reason(result: JobResult) -> str:
    reason = (result.extra or {}).get("reason")
    return reason if isinstance(reason, str) else ""
