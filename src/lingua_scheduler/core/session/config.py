"""What a session is told when it begins: its windows and bounds, who speaks, and into which languages."""

import re
from dataclasses import dataclass
from typing import Literal

from lingua_scheduler.core.utterance import AudioFormat, Speaker
from lingua_scheduler.protocol.audio import valid_rate
from lingua_scheduler.protocol.ids import AUTO, Language

Protocol = Literal["1.0", "1.1"]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Windows in milliseconds, bounds in bytes or counts. ValueError where two of them contradict each other."""

    pause_ms: int = 3000
    """An utterance without new audio for so long has ended (Timeout)."""
    max_duration_ms: int = 10_000
    """An utterance with so much audio is cut (MaxDuration)."""
    max_utterance_bytes: int = 512_000
    """An utterance with more bytes is cut (MaxLength): no honest speech comes near it before `max_duration_ms`."""
    max_chunk_bytes: int = 1 << 20
    """A chunk with more is refused. No frame of the shell's carries more."""
    hangover_manual_ms: int = 200
    """After a final of protocol 1.0, which may have overtaken audio: what arrives in this window still belongs."""
    hangover_auto_ms: int = 150
    """The same after a pause."""
    padding_manual_ms: int = 280
    """Silence that a node is to append where the speaker ended the utterance."""
    padding_auto_ms: int = 220
    tts_suspend_max_ms: int = 60_000
    """The pause clock stands still while the client plays speech, at most so long: the end may never be told."""
    gap_hold_ms: int = 8000
    """A result waits at most so long for an earlier one that is still being made."""
    results_open_max: int = 200
    """Results awaited or held back for order, over all targets; past it the oldest unfinished utterance is given up."""
    results_kept_max: int = 400
    """1.1: sent and unacknowledged results kept for a resume; past it the oldest count as received."""
    results_kept_bytes_max: int = 4 << 20
    """1.1: speech kept with these results; past it the oldest keep their text only."""
    redelivery_max: int = 8
    """Concluded whole utterances whose results are kept, in case their message is repeated."""
    session_buffer_bytes_max: int = 4 << 20
    """Audio kept for the session: being collected, being processed, or still on a node."""
    pause_level: float = 0.75
    """Share of `session_buffer_bytes_max` from which the client is asked to pause."""
    slow_level: float = 0.5
    """1.1: the same for slowing down."""
    backpressure_ms: int = 1000
    """How long a client is to pause; it is told again after that."""
    group_gap_ms: int = 2000
    """Speech that begins sooner after the last result or the end of its playing continues the group."""
    group_parts_max: int = 8
    context_chars_max: int = 800
    session_idle_ms: int = 300_000
    close_grace_ms: int = 10_000
    """How long results are awaited after `session_close`."""
    resume_window_ms: int = 60_000
    resume_flush_ms: int = 1500
    """1.1: speech that a lost connection interrupts waits so long for its client; 0: it ends at once."""

    def __post_init__(self) -> None:
        collected_bytes_max = self.max_utterance_bytes + 2 * self.max_chunk_bytes
        if self.session_buffer_bytes_max < collected_bytes_max:
            raise ValueError(
                f"session_buffer_bytes_max is {self.session_buffer_bytes_max}, but one utterance may take "
                f"{collected_bytes_max} (max_utterance_bytes and two of max_chunk_bytes)"
            )
        if self.results_kept_max < 2 * self.results_open_max:
            raise ValueError(
                f"results_kept_max {self.results_kept_max} < twice results_open_max {self.results_open_max}: "
                "so many may be sent before the first acknowledgement comes back"
            )
        if not 0 < self.slow_level <= self.pause_level <= 1:
            raise ValueError(f"not 0 < slow_level {self.slow_level} <= pause_level {self.pause_level} <= 1")
        least = min(self.pause_ms, self.max_duration_ms, self.max_utterance_bytes, self.gap_hold_ms)
        if least <= 0 or min(self.hangover_manual_ms, self.hangover_auto_ms) < 0:
            raise ValueError(
                "pause_ms, max_duration_ms, max_utterance_bytes and gap_hold_ms are above 0, hangovers not below"
            )


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """Settled at `session_init` and never changed."""

    speaker: Speaker
    targets: tuple[Language, ...]
    """One job and one ordered stream of results each. May be empty: nobody listens."""
    epoch_ms: int
    """Wall time minus loop time: the sum with `now_ms` is what messages carry."""
    protocol: Protocol = "1.0"
    audio_format: AudioFormat | None = None
    """None: the first chunk decides."""
    sample_rate: int = 16_000
    ui_language: str = ""
    """The language of the client's platform, where known."""

    def __post_init__(self) -> None:
        if not valid_rate(self.sample_rate):
            raise ValueError(f"sample rate {self.sample_rate}")

    @property
    def hint_language(self) -> str:
        """Chinese hints for who speaks Chinese, or whose platform names it (`web-zh-CN`)."""
        spoken = self.speaker.lang_a if self.speaker.src_lang == AUTO else self.speaker.src_lang
        is_chinese = "zh" in re.split(r"[^a-z]+", f"{spoken} {self.ui_language}".lower())
        return "zh" if is_chinese else "en"
