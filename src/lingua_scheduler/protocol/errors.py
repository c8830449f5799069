"""The one table of error codes, each with a hint for people in Chinese and English."""

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """What can go wrong, as the peer reads it."""

    INVALID_MESSAGE = "INVALID_MESSAGE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    INVALID_SESSION = "INVALID_SESSION"
    SESSION_CLOSED = "SESSION_CLOSED"
    UNAUTHORIZED = "UNAUTHORIZED"
    RATE_LIMITED = "RATE_LIMITED"
    NODE_UNAVAILABLE = "NODE_UNAVAILABLE"
    NODE_OVERLOADED = "NODE_OVERLOADED"
    NODE_NOT_REGISTERED = "NODE_NOT_REGISTERED"
    NODE_ID_CONFLICT = "NODE_ID_CONFLICT"
    INVALID_CAPABILITY_SCHEMA = "INVALID_CAPABILITY_SCHEMA"
    NO_AVAILABLE_NODE = "NO_AVAILABLE_NODE"
    MODEL_NOT_AVAILABLE = "MODEL_NOT_AVAILABLE"
    MODEL_LOAD_FAILED = "MODEL_LOAD_FAILED"
    MODEL_VERIFY_FAILED = "MODEL_VERIFY_FAILED"
    MODEL_CORRUPTED = "MODEL_CORRUPTED"
    NO_GPU_AVAILABLE = "NO_GPU_AVAILABLE"
    UNSUPPORTED_FEATURE = "UNSUPPORTED_FEATURE"
    INVALID_PAIRING_CODE = "INVALID_PAIRING_CODE"
    WS_DISCONNECTED = "WS_DISCONNECTED"
    NMT_TIMEOUT = "NMT_TIMEOUT"
    TTS_TIMEOUT = "TTS_TIMEOUT"
    JOB_TIMEOUT = "JOB_TIMEOUT"
    PROCESSING_ERROR = "PROCESSING_ERROR"
    SCHEDULER_DEPENDENCY_DOWN = "SCHEDULER_DEPENDENCY_DOWN"
    ROOM_NOT_FOUND = "ROOM_NOT_FOUND"
    ROOM_FULL = "ROOM_FULL"
    INVALID_ROOM_CODE = "INVALID_ROOM_CODE"
    ALREADY_IN_ROOM = "ALREADY_IN_ROOM"


@dataclass(frozen=True, slots=True)
class Hint:
    """What a person can do about it, one sentence in each language that the clients are shown in."""

    zh: str
    en: str

    def localised(self, language: str) -> str:
        """The hint in Chinese for any `zh…` code, in English for every other."""
        return self.zh if language.lower().startswith("zh") else self.en


HINTS: dict[ErrorCode, Hint] = {
    ErrorCode.INVALID_MESSAGE: Hint("消息格式有误，已忽略。", "A message was malformed and was ignored."),
    ErrorCode.INTERNAL_ERROR: Hint(
        "服务内部出错，请重新开始会话。", "The service hit a fault; please start the session again."
    ),
    ErrorCode.INVALID_SESSION: Hint(
        "会话不存在或不属于此连接。", "The session is unknown or belongs to another connection."
    ),
    ErrorCode.SESSION_CLOSED: Hint("会话已结束，请重新开始。", "The session has ended; please start a new one."),
    ErrorCode.UNAUTHORIZED: Hint("没有权限，请检查访问令牌。", "Access was refused; check the access token."),
    ErrorCode.RATE_LIMITED: Hint("请求过于频繁，请稍后再试。", "Too many requests; please wait a moment."),
    ErrorCode.NODE_UNAVAILABLE: Hint(
        "翻译节点已断开，正在换用其他节点。", "The translation node went away; another is being used."
    ),
    ErrorCode.NODE_OVERLOADED: Hint("翻译节点繁忙，请稍候。", "The translation nodes are busy; please wait."),
    ErrorCode.NODE_NOT_REGISTERED: Hint(
        "节点未注册，请重新注册。", "The node is not registered; it must register again."
    ),
    ErrorCode.NODE_ID_CONFLICT: Hint("节点编号已被占用。", "Another node uses this node id."),
    ErrorCode.INVALID_CAPABILITY_SCHEMA: Hint("节点能力声明有误。", "The node's declared capabilities are not valid."),
    ErrorCode.NO_AVAILABLE_NODE: Hint(
        "暂无可用的翻译节点支持该语言。", "No translation node is available for these languages."
    ),
    ErrorCode.MODEL_NOT_AVAILABLE: Hint("所需模型暂不可用。", "A model that this needs is not available."),
    ErrorCode.MODEL_LOAD_FAILED: Hint("模型加载失败。", "A model could not be loaded."),
    ErrorCode.MODEL_VERIFY_FAILED: Hint("模型校验失败。", "A model did not match its checksum."),
    ErrorCode.MODEL_CORRUPTED: Hint("模型文件已损坏。", "A model file is damaged."),
    ErrorCode.NO_GPU_AVAILABLE: Hint("没有可用的显卡。", "No GPU is available."),
    ErrorCode.UNSUPPORTED_FEATURE: Hint("不支持该功能。", "This feature is not supported."),
    ErrorCode.INVALID_PAIRING_CODE: Hint("配对码有误。", "The pairing code is not valid."),
    ErrorCode.WS_DISCONNECTED: Hint("连接已断开，正在重连。", "The connection was lost; reconnecting."),
    ErrorCode.NMT_TIMEOUT: Hint("翻译超时。", "The translation took too long."),
    ErrorCode.TTS_TIMEOUT: Hint("语音合成超时。", "The speech output took too long."),
    ErrorCode.JOB_TIMEOUT: Hint("该句处理超时。", "This sentence took too long to process."),
    ErrorCode.PROCESSING_ERROR: Hint("该句处理失败。", "This sentence could not be processed."),
    ErrorCode.SCHEDULER_DEPENDENCY_DOWN: Hint(
        "服务暂时受限，语音会保留。", "The service is limited for now; your speech is kept."
    ),
    ErrorCode.ROOM_NOT_FOUND: Hint("房间不存在或已过期。", "The room does not exist or has expired."),
    ErrorCode.ROOM_FULL: Hint("房间已满。", "The room is full."),
    ErrorCode.INVALID_ROOM_CODE: Hint("房间号应为六位数字。", "A room code has six digits."),
    ErrorCode.ALREADY_IN_ROOM: Hint("已经在房间中。", "You are already in a room."),
}


class PeerError(Exception):
    """A fault of the other side, to be told to it. The connection goes on unless its owner decides otherwise."""

    def __init__(self, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms

    @property
    def details(self) -> dict[str, int] | None:
        """What stands beside the message."""
        return None if self.retry_after_ms is None else {"retry_after_ms": self.retry_after_ms}
