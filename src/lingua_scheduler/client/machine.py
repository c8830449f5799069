"""A client's session: opened once, kept through lost connections, finished when everything said has been answered.

Theory of operation.

| phase | means | ends by |
|---|---|---|
| `IDLE` | nothing has happened | `Started` |
| `DIALLING` | the first socket is being opened | opened; refused, `open_timeout_ms`: the next address, or it fails |
| `OPENING` | `session_init` is sent | its ack; an error: it fails; a lost socket, `open_timeout_ms`: as `DIALLING` |
| `LIVE` | audio and results flow | a lost socket, silence, `goaway` → `AWAY`; the close ack → `ENDED` |
| `AWAY` | no socket; the next attempt waits | its back-off → `REDIALLING`; the end of the resume window: it fails |
| `REDIALLING` | another socket is being opened | opened; lost or `redial_timeout_ms` → `AWAY` |
| `RESUMING` | `session_resume` is sent | its ack → `LIVE`; session unknown: it fails; anything else, late → `AWAY` |
| `ENDED` | `End` was given | never |

Audio is accepted in every phase and waits in the ring. It is sent while `LIVE`, except during a `backpressure` of the
scheduler, and stays in the ring until `audio_ack`. A scheduler that gave no resume token never acknowledges: there the
ring only holds what is not sent yet, and a lost socket ends the session.

Results carry `result_seq`; one that was had before (a replay that crossed our ack) is dropped here, so the application
hears each once. Each is acknowledged as it is told. `FinishRequested` is remembered until all audio is sent, then
`session_close` goes out; after a resume it goes out again.

A connection counts as dead after `DEAD_AFTER` heartbeat intervals in which nothing at all arrived. Back-off doubles
from `first_retry_ms` to `longest_retry_ms`, each wait drawn from its upper half.
"""

import random
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.errors import ClientError
from lingua_scheduler.client.ring import Chunk, Ring
from lingua_scheduler.client.rooms import Request
from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.codec import BinaryChunk, BinaryPing, encode_audio
from lingua_scheduler.protocol.errors import ErrorCode

DEAD_AFTER = 2.5
ASKED_MAX = 64
"""What may be asked of rooms while there is no connection; of more the oldest is forgotten."""
ANSWERED_TOLD = 64
"""Utterances whose result was had, as told on resume: of those the scheduler may have lost, for Redis did."""
_FATAL = frozenset(
    {ErrorCode.SESSION_CLOSED, ErrorCode.INVALID_SESSION, ErrorCode.UNAUTHORIZED, ErrorCode.INTERNAL_ERROR}
)
_NORMAL_CLOSE = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    ring_bytes_max: int = 4 << 20
    """Two minutes of PCM16: the scheduler keeps no more of a session."""
    open_timeout_ms: int = 10_000
    redial_timeout_ms: int = 5_000
    close_timeout_ms: int = 30_000
    """The scheduler's own grace is 10 s; some deployments allow more."""
    heartbeat_ms: int = 15_000
    """Where the scheduler names none."""
    resume_window_ms: int = 60_000
    """Where the scheduler names none."""
    first_retry_ms: int = 250
    longest_retry_ms: int = 5_000


class Phase(Enum):
    IDLE = auto()
    DIALLING = auto()
    OPENING = auto()
    LIVE = auto()
    AWAY = auto()
    REDIALLING = auto()
    RESUMING = auto()
    ENDED = auto()


class ClientMachine:
    """`init` is what opens the session; `epoch_ms` is the wall time of `now_ms == 0`.

    `addresses` is how many different ones `Dial` goes through: each is tried once before the session fails to open.
    """

    def __init__(
        self, init: wire.SessionInit, limits: Limits, rng: random.Random, epoch_ms: int, *, addresses: int = 1
    ) -> None:
        self.phase = Phase.IDLE
        self.ack: wire.SessionInitAck | None = None
        """The scheduler's answer; None until the session is open."""
        self._init = init
        self._limits = limits
        self._rng = rng
        self._epoch_ms = epoch_ms
        self._untried = addresses
        self._ring = Ring(limits.ring_bytes_max)
        self._effects: list[ev.ClientEffect] = []
        self._asked: deque[Request] = deque(maxlen=ASKED_MAX)
        self._resume_token = ""
        self._last_result_seq = 0
        self._answered: deque[int] = deque(maxlen=ANSWERED_TOLD)
        self._memo = ""
        self._is_finishing = False
        self._close_sent = False
        self._retry_bound_ms = limits.first_retry_ms
        self._heard_ms = 0
        # Deadlines; None: not set.
        self._phase_until_ms: int | None = None
        """Of DIALLING, OPENING, REDIALLING, RESUMING: the answer is late. Of AWAY: the next attempt is due."""
        self._window_until_ms: int | None = None
        self._paused_until_ms: int | None = None
        self._heartbeat_at_ms: int | None = None
        self._close_until_ms: int | None = None

    @property
    def has_room(self) -> bool:
        return self._ring.has_room

    def handle(  # noqa: C901, PLR0912 - one line for each event
        self, event: ev.ClientEvent, now_ms: int
    ) -> list[ev.ClientEffect]:
        if self.phase is Phase.ENDED:
            return []
        was_full = not self._ring.has_room
        self._effects = []
        match event:
            case ev.Started():
                self._dial_first(now_ms)
            case ev.SocketOpened():
                self._on_socket_opened(now_ms)
            case ev.SocketLost():
                self._on_socket_lost(event.reason, now_ms)
            case ev.MessageArrived():
                self._heard_ms = now_ms
                self._on_message(event.message, now_ms)
            case ev.AudioSpoken():
                self._on_audio_spoken(event, now_ms)
            case ev.RoomAsked():
                self._asked.append(event.request)
            case ev.FinishRequested():
                self._is_finishing = True
            case ev.Abandoned():
                self._on_abandoned()
            case ev.TimeReached():
                self._on_time_reached(now_ms)
        if self.phase is Phase.LIVE:
            while self._asked:
                self._send(self._asked.popleft())
            self._flush(now_ms)
        if was_full and self._ring.has_room:
            self._effects.append(ev.MakeRoom())
        return self._effects

    def next_deadline_ms(self) -> int | None:
        deadlines = [self._phase_until_ms]
        if self.phase is Phase.LIVE:
            deadlines += [self._paused_until_ms, self._heartbeat_at_ms, self._dead_at_ms, self._close_until_ms]
        elif self.phase in (Phase.AWAY, Phase.REDIALLING, Phase.RESUMING):
            deadlines.append(self._window_until_ms)
        return min([at for at in deadlines if at is not None], default=None)

    def check(self) -> None:
        self._ring.check()
        waits = (Phase.DIALLING, Phase.OPENING, Phase.AWAY, Phase.REDIALLING, Phase.RESUMING)
        assert (self._phase_until_ms is not None) == (self.phase in waits), f"{self.phase} at {self._phase_until_ms}"
        assert (self.ack is None) == (self.phase in (Phase.IDLE, Phase.DIALLING, Phase.OPENING)) or (
            self.phase is Phase.ENDED
        )
        assert not self._close_sent or self._is_finishing
        if self.phase is Phase.LIVE and self._paused_until_ms is None:
            assert not self._ring.has_unsent, "what can be sent is sent"
        if self.phase is Phase.ENDED:
            assert self.next_deadline_ms() is None

    # ------------------------------------------------------------------------------------- connection

    def _on_socket_opened(self, now_ms: int) -> None:
        if self.phase is Phase.DIALLING:
            self._enter(Phase.OPENING, now_ms + self._limits.open_timeout_ms)
            self._send(self._init)
        elif self.phase is Phase.REDIALLING:
            self._enter(Phase.RESUMING, now_ms + self._limits.redial_timeout_ms)
            self._send(
                wire.SessionResume(
                    session_id=self._session_id,
                    resume_token=self._resume_token,
                    last_result_seq=self._last_result_seq,
                    acked_seq=self._ring.acked_seq,
                    answered=list(self._answered),
                    memo=self._memo,
                    token=self._init.token,
                )
            )

    def _dial_first(self, now_ms: int) -> None:
        self._untried -= 1
        self._enter(Phase.DIALLING, now_ms + self._limits.open_timeout_ms)
        self._effects.append(ev.Dial())

    def _on_no_answer(self, now_ms: int) -> None:
        if self._untried:
            self._effects.append(ev.HangUp(_NORMAL_CLOSE, "trying elsewhere"))
        self._on_socket_lost("the scheduler did not answer in time", now_ms)

    def _on_socket_lost(self, reason: str, now_ms: int) -> None:
        if self.ack is None and self._untried:
            self._dial_first(now_ms)
        elif self.ack is None:
            self._end(ClientError(ErrorCode.WS_DISCONNECTED, reason))
        elif not self._resume_token:
            self._end(ClientError(ErrorCode.WS_DISCONNECTED, f"{reason}; this scheduler cannot resume a session"))
        else:
            self._go_away(reason, now_ms)

    def _go_away(self, reason: str, now_ms: int) -> None:
        if self.phase is Phase.LIVE:
            self._effects.append(ev.Tell(ev.Disconnected(reason)))
            self._retry_bound_ms = self._limits.first_retry_ms
            self._window_until_ms = now_ms + self._resume_window_ms
            self._paused_until_ms = None
        bound_ms = self._retry_bound_ms
        self._retry_bound_ms = min(2 * bound_ms, self._limits.longest_retry_ms)
        self._enter(Phase.AWAY, now_ms + self._rng.randint(bound_ms // 2, bound_ms))

    def _hang_up_and_go_away(self, reason: str, now_ms: int) -> None:
        self._effects.append(ev.HangUp(_NORMAL_CLOSE, "reconnecting"))
        self._on_socket_lost(reason, now_ms)

    def _go_live(self, now_ms: int) -> None:
        self._enter(Phase.LIVE, None)
        self._window_until_ms = None
        self._heard_ms = now_ms
        self._heartbeat_at_ms = now_ms + self._heartbeat_ms

    def _on_abandoned(self) -> None:
        if self.phase is Phase.LIVE and not self._close_sent:
            self._send(wire.SessionClose(session_id=self._session_id, reason="client is gone"))
        self._end(None)

    def _end(self, error: ClientError | None) -> None:
        self._effects.append(ev.HangUp(_NORMAL_CLOSE, "done"))
        self._enter(Phase.ENDED, None)
        self._effects.append(ev.End(error))

    def _enter(self, phase: Phase, until_ms: int | None) -> None:
        self.phase = phase
        self._phase_until_ms = until_ms

    # ------------------------------------------------------------------------------------- messages

    def _on_message(self, message: wire.ServerMessage | BinaryPing, now_ms: int) -> None:
        match message:
            case wire.ErrorMessage():
                self._on_error(message, now_ms)
            case wire.SessionInitAck():
                self._on_init_ack(message, now_ms)
            case wire.SessionResumeAck():
                self._on_resume_ack(message, now_ms)
            case _ if self.phase is Phase.LIVE:
                self._on_live_message(message, now_ms)
            case _:
                # Nothing else can mean anything before the session is bound to this connection.
                return

    def _on_live_message(self, message: wire.ServerMessage | BinaryPing, now_ms: int) -> None:
        match message:
            case wire.TranslationResult() | wire.MissingResult():
                self._on_result(message)
            case wire.AudioAck():
                self._ring.acknowledge(message.seq)
            case wire.Backpressure():
                self._paused_until_ms = now_ms + max(0, message.resume_after_ms)
                self._tell(message)
            case wire.ServerHeartbeat():
                return
            case BinaryPing():
                if not message.is_pong:
                    self._send(BinaryPing(message.session_id, message.seq, message.timestamp_ms, is_pong=True))
            case wire.SessionCloseAck():
                self._on_close_ack()
            case wire.Goaway():
                self._tell(message)
                self._hang_up_and_go_away(f"the scheduler is leaving ({message.reason})", now_ms)
            case _:
                self._tell(message)

    def _on_init_ack(self, ack: wire.SessionInitAck, now_ms: int) -> None:
        if self.phase is not Phase.OPENING:
            return
        self.ack = ack
        self._resume_token = ack.resume_token or ""
        self._go_live(now_ms)
        self._tell(ack)

    def _on_resume_ack(self, ack: wire.SessionResumeAck, now_ms: int) -> None:
        if self.phase is not Phase.RESUMING:
            return
        self._resume_token = ack.resume_token
        self._ring.rewind(ack.next_seq)
        self._close_sent = False
        self._close_until_ms = None
        self._go_live(now_ms)
        self._effects.append(ev.Tell(ev.Reconnected(ack.replayed)))

    def _on_result(self, result: wire.TranslationResult | wire.MissingResult) -> None:
        if result.result_seq is not None:
            is_repeat = result.result_seq <= self._last_result_seq
            self._last_result_seq = max(self._last_result_seq, result.result_seq)
            self._send(wire.ResultAck(session_id=self._session_id, result_seq=self._last_result_seq))
            if is_repeat:
                return
            self._memo = result.memo or ""
            if result.session_id == self._session_id:
                self._answered.append(result.utterance_index)
        self._tell(result)

    def _on_error(self, error: wire.ErrorMessage, now_ms: int) -> None:
        if self.phase is Phase.OPENING or error.code in _FATAL:
            self._end(ClientError(error.code, error.message))
        elif self.phase is Phase.RESUMING:
            # Busy or short of something: another attempt, perhaps at another instance, may fare better.
            self._hang_up_and_go_away(error.message, now_ms)
        else:
            self._tell(error)

    def _on_close_ack(self) -> None:
        if self._close_sent:
            self._end(None)
        else:
            self._end(ClientError(ErrorCode.SESSION_CLOSED, "the scheduler closed the session"))

    # ------------------------------------------------------------------------------------- audio

    def _on_audio_spoken(self, event: ev.AudioSpoken, now_ms: int) -> None:
        assert event.audio or event.is_final
        assert not self._is_finishing, "audio after the end"
        self._ring.add(event.audio, is_final=event.is_final, spoken_at_ms=self._epoch_ms + now_ms)

    def _flush(self, now_ms: int) -> None:
        """Send what may be sent; the close goes out behind the last chunk."""
        if self._paused_until_ms is not None:
            return
        while (chunk := self._ring.take()) is not None:
            self._send(self._wire_chunk(chunk))
            if not self._resume_token:
                self._ring.acknowledge(chunk.seq)
        if self._is_finishing and not self._close_sent:
            self._close_sent = True
            self._close_until_ms = now_ms + self._limits.close_timeout_ms
            self._send(wire.SessionClose(session_id=self._session_id, reason="finished"))

    def _wire_chunk(self, chunk: Chunk) -> wire.AudioChunk | BinaryChunk:
        assert self.ack is not None
        if self.ack.use_binary_frame:
            return BinaryChunk(self._session_id, chunk.seq, chunk.spoken_at_ms, chunk.is_final, chunk.audio)
        return wire.AudioChunk(
            session_id=self._session_id,
            seq=chunk.seq,
            is_final=chunk.is_final,
            payload=encode_audio(chunk.audio) if chunk.audio else None,
            client_timestamp_ms=chunk.spoken_at_ms,
        )

    # ------------------------------------------------------------------------------------- time

    def _on_time_reached(self, now_ms: int) -> None:
        match self.phase:
            case Phase.DIALLING | Phase.OPENING:
                if _is_due(self._phase_until_ms, now_ms):
                    self._on_no_answer(now_ms)
            case Phase.AWAY | Phase.REDIALLING | Phase.RESUMING:
                self._on_time_reached_away(now_ms)
            case Phase.LIVE:
                self._on_time_reached_live(now_ms)
            case Phase.IDLE | Phase.ENDED:
                return

    def _on_time_reached_away(self, now_ms: int) -> None:
        if _is_due(self._window_until_ms, now_ms):
            seconds = self._resume_window_ms // 1000
            self._end(ClientError(ErrorCode.WS_DISCONNECTED, f"the scheduler could not be reached for {seconds} s"))
        elif not _is_due(self._phase_until_ms, now_ms):
            return
        elif self.phase is Phase.AWAY:
            self._enter(Phase.REDIALLING, now_ms + self._limits.redial_timeout_ms)
            self._effects.append(ev.Dial())
        else:
            self._hang_up_and_go_away("the scheduler did not answer in time", now_ms)

    def _on_time_reached_live(self, now_ms: int) -> None:
        if _is_due(self._paused_until_ms, now_ms):
            self._paused_until_ms = None
        if _is_due(self._close_until_ms, now_ms):
            seconds = self._limits.close_timeout_ms // 1000
            self._end(ClientError(ErrorCode.JOB_TIMEOUT, f"the scheduler did not finish within {seconds} s"))
        elif _is_due(self._dead_at_ms, now_ms):
            self._hang_up_and_go_away("the scheduler fell silent", now_ms)
        elif _is_due(self._heartbeat_at_ms, now_ms):
            self._heartbeat_at_ms = now_ms + self._heartbeat_ms
            self._send(wire.ClientHeartbeat(session_id=self._session_id, timestamp=self._epoch_ms + now_ms))

    @property
    def _dead_at_ms(self) -> int:
        return self._heard_ms + int(DEAD_AFTER * self._heartbeat_ms)

    # ------------------------------------------------------------------------------------- small things

    @property
    def _session_id(self) -> str:
        assert self.ack is not None
        return self.ack.session_id

    @property
    def _heartbeat_ms(self) -> int:
        named = self.ack.heartbeat_interval_ms if self.ack else None
        return named or self._limits.heartbeat_ms

    @property
    def _resume_window_ms(self) -> int:
        named = self.ack.resume_window_ms if self.ack else None
        return named or self._limits.resume_window_ms

    def _send(self, message: wire.ClientMessage | BinaryChunk | BinaryPing) -> None:
        self._effects.append(ev.Send(message))

    def _tell(self, message: wire.ServerMessage) -> None:
        self._effects.append(ev.Tell(message))


def _is_due(at_ms: int | None, now_ms: int) -> bool:
    return at_ms is not None and at_ms <= now_ms
