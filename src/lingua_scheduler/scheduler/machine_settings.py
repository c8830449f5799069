"""The settings of a session's two machines, out of the instance's configuration."""

from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.session.config import SessionConfig
from lingua_scheduler.runtime.config import Config

CARRY_WAIT_MS = 1500
"""A speaker who goes on sends the next chunk within a tenth of this."""


def session_config(config: Config) -> SessionConfig:
    """The session machine's settings out of the instance's."""
    cut = config.scheduler.web_task_segmentation
    return SessionConfig(
        pause_ms=cut.pause_ms,
        max_duration_ms=cut.max_duration_ms,
        max_utterance_bytes=cut.max_length_bytes,
        max_chunk_bytes=config.security.max_frame_bytes,
        hangover_manual_ms=cut.hangover_manual_ms,
        hangover_auto_ms=cut.hangover_auto_ms,
        padding_manual_ms=cut.padding_manual_ms,
        padding_auto_ms=cut.padding_auto_ms,
        gap_hold_ms=cut.gap_hold_ms,
        session_buffer_bytes_max=cut.max_session_buffer_bytes,
        session_idle_ms=cut.session_idle_seconds * 1000,
        close_grace_ms=cut.close_grace_ms,
        resume_window_ms=cut.resume_window_seconds * 1000,
        resume_flush_ms=cut.resume_flush_ms,
    )


def jobs_config(config: Config) -> JobsConfig:
    """The job machine's settings out of the instance's."""
    return JobsConfig(
        job_timeout_ms=config.scheduler.job_timeout_seconds * 1000,
        pending_timeout_ms=config.scheduler.job_timeout.pending_timeout_seconds * 1000,
        retries_max=config.scheduler.job_timeout.failover_max_attempts,
        affinity_wait_ms=config.scheduler.affinity_wait_ms,
        carry_wait_ms=CARRY_WAIT_MS,
        timeout_as_manual=config.scheduler.compat.timeout_as_manual,
        session_close_as_manual=True,
    )
