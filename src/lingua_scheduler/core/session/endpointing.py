"""When an utterance ends: the pause clock and the window for stragglers.

`TRANSITIONS` has the states. The pause clock runs from the last audio and stands still while the client plays speech; a
hangover keeps the utterance open for stragglers after it has ended, and nothing else waits for it.

Decisions depend on when audio arrived and never on when a timer was looked at: `pass_time` is asked with the time of
every event before the event itself. A final in ENDING after a pause takes the utterance over (the speaker outranks the
clock); any other trigger in ENDING is stale.
"""

from collections.abc import Mapping
from enum import StrEnum

from lingua_scheduler.core.session.config import Protocol, SessionConfig
from lingua_scheduler.core.utterance import FinalizeReason


class Speech(StrEnum):
    """Where the utterance being collected stands."""

    SILENT = "SILENT"
    """Nothing is collected."""
    SPEAKING = "SPEAKING"
    """Audio is collected. [pause]"""
    ENDING = "ENDING"
    """It has ended; stragglers still belong to it. [hangover]"""


TRANSITIONS: Mapping[tuple[Speech, Speech], str] = {
    (Speech.SILENT, Speech.SPEAKING): "audio",
    (Speech.SILENT, Speech.ENDING): "a final of protocol 1.0, which may have overtaken all of a short utterance",
    (Speech.SPEAKING, Speech.ENDING): "IsFinal in protocol 1.0, or Timeout",
    (Speech.SPEAKING, Speech.SILENT): "IsFinal in protocol 1.1, MaxDuration, MaxLength, or SessionClose",
    (Speech.ENDING, Speech.SILENT): "the hangover is over, too many bytes, SessionClose, or a final in protocol 1.1",
}
"""Every change of state that can happen, and why it does."""


class Endpointing:
    """Answers "seal the utterance, for this reason" as a `FinalizeReason`, or None: go on collecting."""

    __slots__ = ("_config", "_hangover_final_ms", "_pause_base_ms", "_suspended_ms", "reason", "state", "until_ms")

    def __init__(self, config: SessionConfig, protocol: Protocol) -> None:
        self._config = config
        # A client of protocol 1.1 promises that its final comes last.
        self._hangover_final_ms = config.hangover_manual_ms if protocol == "1.0" else 0
        self.state = Speech.SILENT
        self.reason = FinalizeReason.IS_FINAL
        self.until_ms = 0
        self._pause_base_ms = 0
        self._suspended_ms: int | None = None

    def heard(self, now_ms: int) -> None:
        """Audio was collected."""
        self._pause_base_ms = now_ms
        if self.state is Speech.SILENT:
            self._enter(Speech.SPEAKING)

    def final(self, now_ms: int) -> tuple[bool, FinalizeReason | None]:
        """The client ended the utterance. The first item is whether that was news."""
        if self.state is Speech.SILENT and not self._hangover_final_ms:
            return False, None
        if self.state is Speech.ENDING and self.reason is not FinalizeReason.TIMEOUT:
            return False, None
        if not self._hangover_final_ms:
            self.reason = FinalizeReason.IS_FINAL
            return True, self.reason
        self._enter(Speech.ENDING)
        self.reason = FinalizeReason.IS_FINAL
        self.until_ms = now_ms + self._hangover_final_ms
        return True, None

    def pass_time(self, now_ms: int) -> FinalizeReason | None:
        """Start the hangover of a pause that has been long enough; seal when a hangover is over."""
        if self.state is Speech.SPEAKING and now_ms >= self._pause_end_ms():
            self._enter(Speech.ENDING)
            self.reason = FinalizeReason.TIMEOUT
            self.until_ms = self._pause_end_ms() + self._config.hangover_auto_ms
        if self.state is Speech.ENDING and now_ms >= self.until_ms:
            return self.reason
        return None

    def sealed(self) -> None:
        """The utterance is gone, whatever ended it."""
        self._enter(Speech.SILENT)

    def suspend(self, now_ms: int) -> None:
        """The client began to play speech."""
        self._suspended_ms = now_ms

    def restart(self, now_ms: int) -> None:
        """The client has played to the end: a full window from now."""
        self._suspended_ms = None
        self._pause_base_ms = now_ms

    def deadline_ms(self) -> int | None:
        match self.state:
            case Speech.SILENT:
                return None
            case Speech.SPEAKING:
                return self._pause_end_ms()
            case Speech.ENDING:
                return self.until_ms

    def _enter(self, state: Speech) -> None:
        assert self.state is state or (self.state, state) in TRANSITIONS, f"{self.state} → {state}"
        self.state = state

    def _pause_end_ms(self) -> int:
        """An end of playing that is never told restarts the clock where it must have come at the latest."""
        base_ms = self._pause_base_ms
        if self._suspended_ms is not None:
            base_ms = max(base_ms, self._suspended_ms + self._config.tts_suspend_max_ms)
        return base_ms + self._config.pause_ms
