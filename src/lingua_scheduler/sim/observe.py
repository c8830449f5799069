"""Looks into production objects while a simulation runs, without a hook in any of them.

Within `watching`, every driver checks its machine's invariants after each event, every session tells which utterances
it made and how its jobs ended, and every error that production code logs (bugs are told loudly) becomes a
finding. Pictures for pages are not made.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.session import events as session
from lingua_scheduler.core.utterance import Missing
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.scheduler.sessions import SessionActor
from lingua_scheduler.scheduler.snapshots import Snapshots
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.history import History

# pyright: reportPrivateUsage=false


class _Ears(logging.Handler):
    def __init__(self, history: History) -> None:
        super().__init__(logging.ERROR)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "messages given up":
            return  # a dead letter is for people to look at, not a bug of ours
        values: dict[str, Any] = getattr(record, "values", {})
        told = {
            name: value for name, value in values.items() if name in ("error", "cause", "story", "session", "count")
        }
        self._history.note("bug", record.name.removeprefix("lingua."), record.getMessage(), repr(told))


@contextmanager
def watching(history: History, *, checks: bool) -> Generator[None]:
    """Note to `history` what sessions and bugs do; `checks`: let machines check themselves after each event."""
    perform_session, perform_job, handle = (
        SessionActor._perform_session,
        SessionActor._perform_job,
        Driver._handle,
    )
    refresh = Snapshots.refresh

    def note_session(self: SessionActor, effect: session.SessionEffect) -> None:
        if isinstance(effect, session.StartJob):
            utterance = effect.spec.utterance
            text = speech.write(speech.hear(utterance.audio))
            history.note(
                "utterance", self._context.instance_id, self.session_id, utterance.index, effect.spec.job_id,
                utterance.reason.value, text,
            )  # fmt: skip
        elif isinstance(effect, session.EndSession):
            history.note("ended", self._context.instance_id, self.session_id, effect.reason)
        perform_session(self, effect)

    def note_job(self: SessionActor, effect: job.JobEffect) -> None:
        match effect:
            case job.Conclude(job_id, index, _, outcome):
                how = outcome.reason if isinstance(outcome, Missing) else f"by {outcome.node_id}"
                history.note("concluded", self._context.instance_id, self.session_id, index, job_id, how)
            case job.SendAssign():
                history.note(
                    "assigned", self._context.instance_id, self.session_id, effect.assign.job_id,
                    effect.assign.attempt_id, effect.node.node_id,
                )  # fmt: skip
            case job.RefuseReport(job_id, node_id, why):
                history.note("refused", self._context.instance_id, self.session_id, job_id, node_id, why)
            case _:
                pass
        perform_job(self, effect)

    def check_after(self: Driver[Any, Any], event: Any) -> None:
        handle(self, event)
        if not self._is_stopped:
            try:
                self._machine.check()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            except AssertionError as error:
                history.note("bug", type(self._machine).__name__, f"after {type(event).__name__}: {error}")

    async def look(self: Snapshots) -> None:
        # Nobody looks at pages here; what upkeep needs of a round of pictures is who is alive.
        known = await self._context.store.instances.known()
        self.instances = {name for name, _ in known.alive}

    ears = _Ears(history)
    logger = logging.getLogger("lingua")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(ears)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    SessionActor._perform_session, SessionActor._perform_job = note_session, note_job
    Snapshots.refresh = look
    if checks:
        Driver._handle = check_after
    try:
        yield
    finally:
        SessionActor._perform_session, SessionActor._perform_job = perform_session, perform_job
        Driver._handle, Snapshots.refresh = handle, refresh
        logger.removeHandler(ears)
        logger.setLevel(level)
        logger.propagate = propagate
