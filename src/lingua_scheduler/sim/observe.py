"""Looks into production objects while a simulation runs, without a hook in any of them.

Within `watching`, every driver checks its machine's invariants after each event that had effects and now and then after
another, every session tells which utterances it made and how its jobs ended, and every error that production code
logs (bugs are told loudly) becomes a finding. Pictures for pages are not made.
"""

import logging
from collections.abc import Callable, Generator
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

SessionPerformer = Callable[[SessionActor, session.SessionEffect], None]
JobPerformer = Callable[[SessionActor, job.JobEffect], None]
Handler = Callable[[Driver[Any, Any], Any], None]
Hearing = Callable[[bytes], list[speech.Packet]]

UNCHECKED_MAX = 16
"""Of events without effects (a chunk of audio, as a rule) each so-manyth is checked: what one breaks stays broken."""


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
def watching(history: History, *, checks: bool, hear: Hearing = speech.hear) -> Generator[None]:
    """Note to `history` what sessions and bugs do; `checks`: let machines check themselves after each event.

    `hear` tells which packets are in an utterance's audio.
    """
    ears = _Ears(history)
    logger = logging.getLogger("lingua")
    level, propagate = logger.level, logger.propagate
    actor: Any = SessionActor
    driver: Any = Driver
    before = actor._perform_session, actor._perform_job, driver._handle, Snapshots.refresh
    logger.addHandler(ears)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    actor._perform_session = _noting_session(history, actor._perform_session, hear)
    actor._perform_job = _noting_job(history, actor._perform_job)
    Snapshots.refresh = _look
    if checks:
        driver._handle = _checking(history, driver._handle)
    try:
        yield
    finally:
        actor._perform_session, actor._perform_job, driver._handle, Snapshots.refresh = before
        logger.removeHandler(ears)
        logger.setLevel(level)
        logger.propagate = propagate


async def _look(self: Snapshots) -> None:
    # Nobody looks at pages here; what upkeep needs of a round of pictures is who is alive.
    known = await self._context.store.instances.known()
    self.instances = {name for name, _ in known.alive}


def _noting_session(history: History, perform: SessionPerformer, hear: Hearing) -> SessionPerformer:
    def note(self: SessionActor, effect: session.SessionEffect) -> None:
        if isinstance(effect, session.StartJob):
            utterance = effect.spec.utterance
            text = speech.write(hear(utterance.audio))
            history.note(
                "utterance", self._context.instance_id, self.session_id, utterance.index, effect.spec.job_id,
                utterance.reason.value, text,
            )  # fmt: skip
        elif isinstance(effect, session.EndSession):
            history.note("ended", self._context.instance_id, self.session_id, effect.reason)
        perform(self, effect)

    return note


def _noting_job(history: History, perform: JobPerformer) -> JobPerformer:
    def note(self: SessionActor, effect: job.JobEffect) -> None:
        me = self._context.instance_id
        match effect:
            case job.Conclude(job_id, index, _, outcome):
                how = outcome.reason if isinstance(outcome, Missing) else f"by {outcome.node_id}"
                history.note("concluded", me, self.session_id, index, job_id, how)
            case job.SendAssign(assign=assign, node=node):
                history.note("assigned", me, self.session_id, assign.job_id, assign.attempt_id, node.node_id)
            case job.RefuseReport(job_id, node_id, why):
                history.note("refused", me, self.session_id, job_id, node_id, why)
            case _:
                pass
        perform(self, effect)

    return note


def _checking(history: History, handle: Handler) -> Handler:
    unchecked = 0

    def check_after(self: Driver[Any, Any], event: Any) -> None:
        nonlocal unchecked
        story = self._story
        before = story[-1] if story else None
        handle(self, event)
        unchecked += 1
        if self._is_stopped or ((story[-1] if story else None) is before and unchecked < UNCHECKED_MAX):
            return
        unchecked = 0
        machine: Any = self._machine
        try:
            machine.check()
        except AssertionError as error:
            history.note("bug", type(machine).__name__, f"after {type(event).__name__}: {error}")

    return check_after
