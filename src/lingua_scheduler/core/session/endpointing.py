"""When an utterance ends: the pause clock and the window for stragglers.

| state | meaning | leaves it |
|---|---|---|
| SILENT | nothing collected | audio → SPEAKING; a final of protocol 1.0 → ENDING |
| SPEAKING | audio collected; the pause clock may stand | a reason with a hangover → ENDING; without → SILENT |
| ENDING | ended; what arrives until `until_ms` still belongs to it | that time, or too many bytes → SILENT |

Decisions depend on when audio arrived and never on when a timer was looked at: `pass_time` is asked with the time of
every event before the event itself. A final in ENDING after a pause takes the utterance over (the speaker outranks the
clock); any other trigger in ENDING is stale. While SILENT, a final of protocol 1.0 opens the window all the same: it
may have overtaken all of a short utterance.
"""

from enum import StrEnum

from lingua_scheduler.core.session.config import Protocol, SessionConfig
from lingua_scheduler.core.utterance import FinalizeReason


class Speech(StrEnum):
    SILENT = "SILENT"
    SPEAKING = "SPEAKING"
    ENDING = "ENDING"


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
            self.state = Speech.SPEAKING

    def final(self, now_ms: int) -> tuple[bool, FinalizeReason | None]:
        """The client ended the utterance. The first item is whether that was news."""
        if self.state is Speech.SILENT and not self._hangover_final_ms:
            return False, None
        if self.state is Speech.ENDING and self.reason is not FinalizeReason.TIMEOUT:
            return False, None
        self.state = Speech.ENDING
        self.reason = FinalizeReason.IS_FINAL
        self.until_ms = now_ms + self._hangover_final_ms
        return True, self.pass_time(now_ms)

    def pass_time(self, now_ms: int) -> FinalizeReason | None:
        """Start the hangover of a pause that has been long enough; seal when a hangover is over."""
        if self.state is Speech.SPEAKING and now_ms >= self._pause_end_ms():
            self.state = Speech.ENDING
            self.reason = FinalizeReason.TIMEOUT
            self.until_ms = self._pause_end_ms() + self._config.hangover_auto_ms
        if self.state is Speech.ENDING and now_ms >= self.until_ms:
            return self.reason
        return None

    def sealed(self) -> None:
        """The utterance is gone, whatever ended it."""
        self.state = Speech.SILENT

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

    def _pause_end_ms(self) -> int:
        """An end of playing that is never told restarts the clock where it must have come at the latest."""
        base_ms = self._pause_base_ms
        if self._suspended_ms is not None:
            base_ms = max(base_ms, self._suspended_ms + self._config.tts_suspend_max_ms)
        return base_ms + self._config.pause_ms
