"""A scheduler on plain data: what the client's machine is tested against, without sockets or time.

Every final that follows audio concludes one utterance; nothing else does.
"""

from dataclasses import dataclass, field

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing

SESSION_ID = "s-1"


def init_ack(**changes: object) -> wire.SessionInitAck:
    fields: dict[str, object] = {
        "session_id": SESSION_ID,
        "message": "",
        "trace_id": "t-1",
        "protocol_version": "1.1",
        "use_binary_frame": True,
        "negotiated_codec": "pcm16",
        "negotiated_audio_format": "pcm16",
        "negotiated_sample_rate": 16_000,
        "negotiated_channel_count": 1,
        "resume_token": "token-0",
        "resume_window_ms": 60_000,
        "heartbeat_interval_ms": 10_000,
    }
    return wire.SessionInitAck(**{**fields, **changes})  # pyright: ignore[reportArgumentType]


def translation(index: int, seq: int | None, text: str = "", **changes: object) -> wire.TranslationResult:
    fields: dict[str, object] = {
        "session_id": SESSION_ID,
        "utterance_index": index,
        "job_id": f"job-{index}",
        "text_asr": text,
        "text_translated": text.upper(),
        "tts_audio": "",
        "tts_format": "opus",
        "trace_id": "t-1",
        "scheduler_sent_at_ms": 0,
        "result_seq": seq,
    }
    return wire.TranslationResult(**{**fields, **changes})  # pyright: ignore[reportArgumentType]


@dataclass
class ModelScheduler:
    """Takes what a client sends and answers; `audio` is all that it heard, each byte once."""

    audio: bytes = b""
    next_seq: int = 0
    concluded: list[tuple[wire.TranslationResult, int]] = field(
        default_factory=list[tuple[wire.TranslationResult, int]]
    )
    """Results, and the seq of the last chunk that each is about."""
    acked: int = 0
    tokens: int = 0
    is_new_token_known: bool = True
    """Until the client says something on the connection that it resumed, it may not have got the new token."""
    is_closed: bool = False
    _open_audio: bool = False

    def receive(self, message: wire.ClientMessage | BinaryChunk | BinaryPing) -> list[wire.ServerMessage]:
        if not isinstance(message, wire.SessionResume):
            self.is_new_token_known = True
        match message:
            case wire.SessionInit():
                return [init_ack()]
            case BinaryChunk():
                return self._on_chunk(message)
            case wire.ResultAck():
                return self._on_ack(message.result_seq)
            case wire.SessionResume():
                return self._on_resume(message)
            case wire.SessionClose():
                self.is_closed = True
                return [wire.SessionCloseAck(session_id=SESSION_ID)]
            case wire.ClientHeartbeat():
                return [wire.ServerHeartbeat(session_id=SESSION_ID, timestamp=message.timestamp)]
            case BinaryPing(is_pong=True):
                return []
            case _:
                raise AssertionError(message)

    def _on_chunk(self, chunk: BinaryChunk) -> list[wire.ServerMessage]:
        assert chunk.session_id == SESSION_ID
        assert not self.is_closed
        if chunk.seq < self.next_seq:
            return []
        assert chunk.seq == self.next_seq, "a chunk was skipped"
        self.next_seq += 1
        self.audio += chunk.audio
        self._open_audio |= bool(chunk.audio)
        if not (chunk.is_final and self._open_audio):
            return []
        self._open_audio = False
        index = len(self.concluded)
        self.concluded.append((translation(index, index + 1), chunk.seq))
        return [self.concluded[-1][0]]

    def _on_ack(self, result_seq: int) -> list[wire.ServerMessage]:
        assert result_seq <= len(self.concluded)
        self.acked = max(self.acked, result_seq)
        return [wire.AudioAck(session_id=SESSION_ID, seq=self.concluded[self.acked - 1][1])] if self.acked else []

    def _on_resume(self, message: wire.SessionResume) -> list[wire.ServerMessage]:
        tokens = [f"token-{self.tokens}", *([] if self.is_new_token_known else [f"token-{self.tokens - 1}"])]
        assert message.resume_token in tokens, "each token serves once"
        if message.resume_token == tokens[0]:
            self.tokens += 1
        self.is_new_token_known = False
        self.is_closed = False
        missed = [result for result, _ in self.concluded[message.last_result_seq :]]
        ack = wire.SessionResumeAck(
            session_id=SESSION_ID,
            resume_token=f"token-{self.tokens}",
            next_seq=self.next_seq,
            replayed=len(missed),
        )
        return [ack, *missed]
