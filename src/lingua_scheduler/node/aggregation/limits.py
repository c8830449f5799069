"""The AudioAggregator's numbers: how long audio may wait on a node, and into what it is cut."""

from dataclasses import dataclass

from lingua_scheduler.node.aggregation.audio_events import SAMPLES_PER_MS


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """All in milliseconds of audio, but for the two waits."""

    short_ms: int = 1_000
    """A pause after less than this is no reason to recognise: so little gives poor text."""
    unflagged_ms: int = 10_000
    """Audio cut for no told reason is recognised once so much of it waits."""
    pending_max_ms: int = 20_000
    """Never so much waits, whatever the flags."""
    batch_ms: int = 5_000
    """A batch of a monologue is complete from here."""
    piece_min_ms: int = 2_000
    piece_max_ms: int = 5_000
    pause_ms: int = 200
    """Quiet for so long is a pause to cut in."""
    quiet_ms: int = 300
    """Where there is no pause, the quietest stretch of this length is cut in its middle."""
    near_ms: int = 1_500
    """… looked for among cuts so little before the latest possible one."""
    whole_max_ms: int = 25_000
    """Audio to be recognised at once stays whole up to here; speech models hear at most 30 s in one go."""
    hold_ms: int = 10_000
    """Wait of a held job for its successor."""
    carry_ms: int = 12_000
    """Wait of a carried tail for its successor. Speech that goes on without a pause is cut every 10 s, so the
    successor comes 10 s later and a little: a timer of 10 s would win about every other time and split a word."""
    open_jobs_max: int = 64
    """Jobs of one session held or being recognised; the next attempt is refused."""
    known_jobs_max: int = 128
    """Jobs remembered, open ones included, to tell repeats from news."""

    def __post_init__(self) -> None:
        assert self.piece_max_ms >= 2 * self.piece_min_ms, "else a remainder may fit no piece"
        assert self.piece_min_ms >= self.quiet_ms >= self.pause_ms, "a cut stays well inside the audio"
        assert self.pending_max_ms >= max(self.unflagged_ms, self.short_ms)
        assert self.known_jobs_max > self.open_jobs_max

    @staticmethod
    def samples(ms: int) -> int:
        return ms * SAMPLES_PER_MS
