"""The sessions of this instance: each one a session machine and a job machine, driven side by side.

A session outlives its connection: results that nobody can take yet stay with the machine. What the two machines tell
each other passes through here, and what they ask of Redis and of nodes goes to `dispatch.py`.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, assert_never

from lingua_scheduler.core.allowances import Allowance
from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.jobs.machine import JobsMachine
from lingua_scheduler.core.jobs.phases import SENT, Phase
from lingua_scheduler.core.jobs.reports import job_event
from lingua_scheduler.core.node.events import JobReport, LostCause
from lingua_scheduler.core.session import events as session
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.utterance import Missing, Outcome, Tail, Translated
from lingua_scheduler.protocol import kept
from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError
from lingua_scheduler.protocol.ids import JobId, NodeId, SessionId
from lingua_scheduler.protocol.messages import ErrorMessage, ServerMessage, SessionInitAck
from lingua_scheduler.protocol.node import JobResult
from lingua_scheduler.runtime.driver import Driver
from lingua_scheduler.runtime.ids import new_resume_token
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.keeping import SessionRecord
from lingua_scheduler.scheduler.machine_settings import jobs_config, session_config
from lingua_scheduler.scheduler.opening import Opening, directed_pairs, identity_of
from lingua_scheduler.scheduler.previews import Previews
from lingua_scheduler.scheduler.shares import Shares
from lingua_scheduler.scheduler.tally import Tally
from lingua_scheduler.scheduler.witness import Witness
from lingua_scheduler.scheduler.write_ahead import Settling, WriteAhead
from lingua_scheduler.store.errors import StoreError

if TYPE_CHECKING:
    from lingua_scheduler.scheduler.resume import Resumes
    from lingua_scheduler.scheduler.rooms import Rooms

_log = get_logger("scheduler.sessions")

HEARTBEAT_INTERVAL_MS = 30_000
RECORDS_AT_ONCE = 10
"""Two milliseconds of the loop; sentences go between."""


class Client(Protocol):
    """The connection of the moment."""

    def send(self, message: ServerMessage) -> None: ...

    def session_ended(self, reason: str) -> None: ...

    def close(self, reason: str) -> None: ...

    def taken_over(self) -> None: ...

    @property
    def queued_bytes(self) -> int:
        """What its reader has not taken yet."""
        ...


ShellEffect = (
    job.SelectNode
    | job.SendAssign
    | job.SendCancel
    | job.FinishJob
    | job.RequeueJob
    | job.RenewLease
    | job.LeaveQueue
    | job.MarkUnavailable
    | job.CountNodeOutcome
)


class Dispatcher(Protocol):
    """Performs what a job machine asks of Redis and of nodes, and posts the answers to `owner.jobs`."""

    def perform(self, effect: ShellEffect, owner: "SessionActor") -> None: ...

    def unsent(self, job_id: JobId, attempt: int, node_id: NodeId) -> None:
        """An attempt was placed, and its owner was replaced before it was sent."""
        ...

    def pass_on(self, node_id: NodeId, result: JobResult) -> None:
        """To whoever owns the job now."""
        ...


class SessionActor:
    """One session: its two machines, and the connection if there is one."""

    def __init__(self, context: Context, registry: "Sessions", opening: Opening, resume_token: str | None) -> None:
        self.opening = opening
        self.resume_token = resume_token
        self.used_token: str | None = None
        """The token of the last resume, until the client has shown that it read the one which replaces it."""
        self.session_id = opening.speaker.session_id
        self.client: Client | None = None
        self.allowance: Allowance | None = None
        self.is_ended = False
        self.is_replaced = False
        """Another instance goes on with it."""
        self._reported: dict[JobId, tuple[NodeId, JobResult]] = {}
        """Results whose jobs are not concluded: the session's next owner wants them, should there be one."""
        self._context = context
        self._registry = registry
        self._log = _log.bind(session=self.session_id)
        self._witness = Witness(context, opening.traceparent)
        self.machine = machine = SessionMachine(
            session_config(context.config), identity_of(opening, context.clock.epoch_ms())
        )
        self._jobs_machine = JobsMachine(jobs_config(context.config), context.instance_id)
        tails = self._jobs_machine.book.tails
        self.record = SessionRecord(context, opening, machine, tails, self._replaced) if resume_token else None
        """In the store, for whoever may have to go on with the session. Protocol 1.1 only."""
        self._ahead = WriteAhead(self.record, registry.settling) if self.record is not None else None
        self.session = Driver[session.SessionEvent, session.SessionEffect](
            machine, self._perform_session, session.TimeReached(), context.timers, context.clock, self._crashed
        )
        self.jobs = Driver[job.JobEvent, job.JobEffect](
            self._jobs_machine, self._perform_job, job.TimeReached(), context.timers, context.clock, self._crashed
        )

    def post(self, event: session.SessionEvent) -> None:
        self.session.post(event)
        if isinstance(event, session.ChunkArrived):
            if self._jobs_machine.awaits_audio and self.machine.is_collecting:
                self.jobs.post(job.AudioContinued())
        elif isinstance(event, session.LineArrived):
            if self._ahead is not None and self.client is None:
                self._ahead.write()
        elif isinstance(event, session.ResultsAcked) and self.record is not None:
            self.record.acknowledged()

    def report(self, node_id: NodeId, report: JobReport) -> None:
        """A node spoke of a job of this session; `node_id` is its connection's, not the message's."""
        if self.record is not None and isinstance(report, JobResult):
            self._reported[JobId(report.job_id)] = node_id, report
        self.jobs.post(job_event(node_id, report))

    def result_of(self, effect: job.FinishJob) -> bytes:
        """What the finish of a job puts into the session's outbox; nothing where its outcome is not wanted."""
        known = self._jobs_machine.book.jobs.get(effect.job_id)
        if self.is_ended or known is None or known.ending is None or effect.job_id not in self.machine.open_jobs:
            return b""
        outcome = known.ending.outcome
        message = self.machine.draft(effect.job_id, outcome, self._context.clock.now_ms())
        if message is not None:
            return kept.encode_message(message)
        return kept.encode_report(outcome.node_id, outcome.result) if isinstance(outcome, Translated) else b""

    def retried(self, cause: str) -> None:
        """One of its jobs needs a further attempt."""
        self._registry.tally.retried(cause)

    def log_opened(self) -> None:
        speaker, is_v11 = self.opening.speaker, self.opening.is_v11
        self._log.info("session opened", trace=speaker.trace_id, is_v11=is_v11, mode=speaker.mode)

    def confirm_token(self) -> None:
        """The client has shown that it read its new token: the one before is worth nothing any more."""
        self.used_token = None
        if self.record is not None and self.resume_token is not None:
            self.record.tokens(self.resume_token, None)
            self.record.write_soon(whole=True)

    def go_on(
        self, jobs: Iterable[job.JobAdopted], outcomes: Iterable[session.JobConcluded], tails: Iterable[Tail]
    ) -> None:
        """Be the owner of a session that was another instance's: `machine` is restored already."""
        unsaid = [(tail, self.machine.utterance(tail.index)) for tail in tails]
        for event in outcomes:
            self.session.post(event)
        for adopted in jobs:
            self._registry.own_job(adopted.spec.job_id, self)
            self.jobs.post(adopted)
        for tail, utterance in unsaid:
            if utterance is not None:
                self.jobs.post(job.TailAdopted(tail, utterance))

    @property
    def leaves_tails(self) -> bool:
        """Whether ends of utterances are still to be said."""
        return bool(self._jobs_machine.book.tails())

    def assign_failed(self, job_id: JobId, attempt: int, node_id: NodeId, *, may_have_arrived: bool) -> None:
        """The node did not get an attempt; whoever owns the job now places the next."""
        if not self.is_replaced:
            self.jobs.post(job.AssignFailed(job_id, attempt, node_id, may_have_arrived=may_have_arrived))
        elif not may_have_arrived:
            self._registry.dispatcher.unsent(job_id, attempt, node_id)

    def _replaced(self) -> None:
        """Another instance goes on with the session: it is forgotten here, but for what the other has to know."""
        if self.is_ended:
            return
        self.is_ended = self.is_replaced = True
        self.session.stop()
        self.jobs.stop()
        for one in self._jobs_machine.book.jobs.values():
            if one.phase is Phase.PARKED or one.may_be_placed:
                self._registry.dispatcher.unsent(one.job_id, one.attempt, one.node.node_id if one.node else NodeId(""))
        for node_id, result in self._reported.values():
            self._registry.dispatcher.pass_on(node_id, result)
        self._registry.previews.over(self.session_id)
        if self.client is not None:
            self.client.taken_over()
            self.client = None
        self._witness.over("moved")
        self._registry.ended(self, "moved")
        self._log.info("session goes on elsewhere")

    def node_lost(self, node_id: NodeId, epoch: int | None, cause: LostCause) -> None:
        self.jobs.post(job.NodeLost(node_id, cause, epoch))

    def phases(self) -> dict[JobId, Phase]:
        """Where its open jobs stand."""
        return {job_id: one.phase for job_id, one in self._jobs_machine.book.jobs.items()}

    def jobs_on(self, node_id: NodeId, since_epoch: int) -> list[tuple[JobId, int]]:
        return self._jobs_machine.book.jobs_on(node_id, since_epoch)

    def is_sent(self, job_id: JobId, attempt: int) -> bool:
        """Whether this attempt is to be with a node."""
        one = self._jobs_machine.book.jobs.get(job_id)
        return one is not None and one.attempt == attempt and one.phase in SENT

    def sent_jobs(self) -> list[tuple[job.NodeTraits, JobId, int]]:
        return self._jobs_machine.book.sent()

    def _perform_session(self, effect: session.SessionEffect) -> None:
        match effect:
            case session.Send(message):
                self._send(message)
            case session.StartJob(spec):
                self._registry.own_job(spec.job_id, self)
                if self.record is not None:
                    self.record.began()
                self._registry.shares.used(spec.speaker.tenant_id, spec.utterance.duration_ms, self.allowance)
                self._witness.cut(spec)
                if not spec.is_for_room:
                    self._registry.rooms.spoke(self.session_id)
                self.jobs.post(job.JobRequested(spec))
                self._registry.previews.began(spec.job_id)
            case session.PreviewSpeech():
                self._registry.previews.show(effect, self.session.post)
            case session.SendToRoom():
                self._registry.rooms.deliver(self.session_id, effect)
            case session.NoteSpeech():
                self._registry.rooms.spoke(self.session_id)
            case session.RestoreAudio(index, audio):
                self.jobs.post(job.AudioRestored(index, audio))
            case session.CancelJob(job_id, reason):
                self.jobs.post(job.CancelRequested(job_id, reason))
            case session.EndSession(reason):
                self._end(reason)
            case _:
                assert_never(effect)

    def _send(self, message: ServerMessage) -> None:
        if self.record is not None:
            message = self.record.sent(message)
        if self.client is None:
            return
        self._witness.sent(message)
        if self._ahead is not None and self._ahead.is_due_before(message):
            self._ahead.hold(self.client, message)
        else:
            self.client.send(message)

    def _perform_job(self, effect: job.JobEffect) -> None:
        match effect:
            case job.Conclude(job_id, index, tgt_lang, outcome):
                self._registry.disown_job(job_id)
                self._reported.pop(job_id, None)
                self._count(effect)
                self.session.post(session.JobConcluded(job_id, index, tgt_lang, outcome))
            case job.FreeAudio(index):
                self.session.post(session.AudioFreed(index))
            case job.Progress(job_id, index, event, code, shortage):
                self.session.post(session.JobProgressed(job_id, index, event, code, shortage))
            case job.ForwardPartial(job_id, index, text, is_final, stable_chars):
                self.session.post(session.PartialArrived(job_id, index, text, is_final, stable_chars))
            case job.RefuseReport(job_id, node_id, why):
                self._context.metrics.refused.labels(why).inc()
                self._log.info("report refused", job=job_id, node=node_id, cause=why)
            case job.SelectNode() | job.SendAssign() | job.RequeueJob():
                self._registry.dispatcher.perform(self._witness.did(effect), self)
            case _:
                self._registry.dispatcher.perform(effect, self)

    def _count(self, end: job.Conclude) -> None:
        clock, outcome = self._context.clock, end.outcome
        total_ms = self._witness.concluded_ms(end)
        word = outcome.reason if isinstance(outcome, Missing) else "translated"
        self._context.metrics.concluded(word, total_ms / 1000)
        tell = self._log.info if isinstance(outcome, Missing) and outcome.code else self._log.debug
        tell("job concluded", job=end.job_id, index=end.index, outcome=word, ms=total_ms, **_blame(outcome))
        self._registry.tally.concluded(end, self.opening.speaker, total_ms, clock.wall_ms())

    def _end(self, reason: str) -> None:
        self.is_ended = True
        self.session.stop()
        self._registry.previews.over(self.session_id)
        self.jobs.post(job.SessionEnded())
        if self._ahead is not None:
            self._ahead.send_all()
        if self.client is not None:
            self.client.session_ended(reason)
            self.client = None
        self._witness.over(reason)
        self._registry.ended(self, reason)
        self._registry.rooms.session_ended(self.session_id)
        if self.record is not None:
            self._context.scope.start(self.record.drop(), "drop-session")
        self._log.info("session ended", cause=reason)

    def _crashed(self, error: Exception, story: list[str]) -> None:
        """A bug: this session ends, loudly, and no other."""
        self._context.metrics.crashes.inc()
        self._log.error("session machine failed", cause=repr(error), story=story)
        if self.client is not None:
            hint = HINTS[ErrorCode.INTERNAL_ERROR].en
            self.client.send(ErrorMessage(code=ErrorCode.INTERNAL_ERROR, message=hint))
        if not self.is_ended:
            self._end("internal_error")


def _blame(outcome: Outcome) -> dict[str, str]:
    """For a log line: who did it, or why nobody did. Never a word of it."""
    if isinstance(outcome, Missing):
        return {"cause": outcome.code or outcome.reason}
    return {"node": outcome.node_id}


class Sessions:
    """All sessions of this instance, by id, and who owns which open job."""

    def __init__(
        self, context: Context, dispatcher: Dispatcher, previews: Previews, forget_owner: Callable[[SessionActor], None]
    ) -> None:
        self.dispatcher = dispatcher
        self.previews = previews
        self.tally = Tally(lambda stage, seconds: context.metrics.stage_seconds.labels(stage).observe(seconds))
        self.shares = Shares(context.config, context.instance_id, context.store, context.clock, context.scope)
        self.settling = Settling(context.scope)
        self._context = context
        self._forget_owner = forget_owner
        self.rooms: Rooms
        self.resumes: Resumes
        """Set by the composition root."""
        self.is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._by_id: dict[SessionId, SessionActor] = {}
        self._by_job: dict[JobId, SessionActor] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def jobs_open(self) -> int:
        """Of all sessions here."""
        return len(self._by_job)

    def find(self, session_id: SessionId) -> SessionActor | None:
        return self._by_id.get(session_id)

    def all(self) -> list[SessionActor]:
        return list(self._by_id.values())

    def with_jobs(self) -> set[SessionActor]:
        """Those that have an open job."""
        return set(self._by_job.values())

    def owner_of(self, job_id: JobId) -> SessionActor | None:
        return self._by_job.get(job_id)

    async def open(self, opening: Opening) -> tuple[SessionActor, SessionInitAck]:
        """A new session and what to tell its client. It opens even where no node serves it, or Redis is away."""
        if self.is_draining:
            raise PeerError(ErrorCode.NODE_UNAVAILABLE, "this instance is leaving; connect again for another")
        speaker = opening.speaker
        await self.shares.open(speaker.tenant_id)
        token = new_resume_token() if opening.is_v11 else None
        actor = SessionActor(self._context, self, opening, token)
        if actor.record is not None and token is not None:
            actor.record.tokens(token, None)
            actor.record.write_soon(whole=True)
        warning = await self._pair_warning(opening)
        self.add(actor)
        actor.log_opened()
        return actor, self._ack(opening, token, warning)

    def moved_here(self, actor: SessionActor) -> None:
        """A session that was another instance's, or a newer owner of one that was here."""
        self.shares.entered(actor.opening.speaker.tenant_id)
        if (older := self._by_id.get(actor.session_id)) is not None:
            self.shares.left(older.opening.speaker.tenant_id)
        self.add(actor)

    def add(self, actor: SessionActor) -> None:
        self._by_id[actor.session_id] = actor
        self._context.metrics.sessions_opened.inc()
        self._context.metrics.sessions_open.set(len(self._by_id))

    async def renew_records(self, *, whole: bool = False) -> None:
        """Keep what the store knows of sessions from expiring; `whole`: it may have lost it. Raises StoreError."""
        records = [actor.record for actor in self.all() if actor.record is not None]
        for start in range(0, len(records), RECORDS_AT_ONCE):
            part = records[start : start + RECORDS_AT_ONCE]
            await asyncio.gather(*(record.write(always=True, whole=whole) for record in part))

    def own_job(self, job_id: JobId, actor: SessionActor) -> None:
        self._by_job[job_id] = actor
        self._idle.clear()
        self._context.metrics.jobs_open.set(len(self._by_job))

    def disown_job(self, job_id: JobId) -> None:
        self._by_job.pop(job_id, None)
        if not self._by_job:
            self._idle.set()
        self._context.metrics.jobs_open.set(len(self._by_job))

    def ended(self, actor: SessionActor, by: str) -> None:
        self._context.metrics.sessions_ended.labels(by).inc()
        if self._by_id.get(actor.session_id) is actor:
            del self._by_id[actor.session_id]
            self.shares.left(actor.opening.speaker.tenant_id)
        if actor.record is not None and actor.record.is_over:
            for job_id in [job_id for job_id, owner in self._by_job.items() if owner is actor]:
                self.disown_job(job_id)
        self._context.metrics.sessions_open.set(len(self._by_id))
        self._forget_owner(actor)

    def drain(self, time_left_ms: int) -> None:
        """No new sessions; those that are open are told to move and finish what they have."""
        self.is_draining = True
        for actor in self.all():
            actor.post(session.DrainStarted(time_left_ms))

    async def wait_idle(self) -> None:
        """Until no job is open."""
        await self._idle.wait()

    def close(self, reason: str) -> None:
        """Close every client's connection."""
        for actor in self.all():
            if actor.client is not None:
                actor.client.close(reason)

    def store_changed(self, is_up: bool) -> None:
        for actor in self.all():
            actor.post(session.DependencyChanged(is_up))

    async def _pair_warning(self, opening: Opening) -> str:
        """Empty, or that no node serves these languages at present."""
        pairs = directed_pairs(opening.speaker, opening.tgt_lang)
        try:
            served = await self._context.store.nodes.count_serving(pairs)
        except StoreError:
            return "session opened; Redis is unreachable, speech is kept meanwhile"
        if served == 0:
            names = " and ".join(f"{src}:{tgt}" for src, tgt in pairs)
            return f"session opened; warning: no node serves {names} at present"
        return "session opened"

    def _ack(self, opening: Opening, token: str | None, message: str) -> SessionInitAck:
        cut = self._context.config.scheduler.web_task_segmentation
        # A client that named no format sends Opus (protocol 1.0's only habit); its first chunk decides all the same.
        audio_format = opening.audio_format or "opus"
        return SessionInitAck(
            session_id=opening.speaker.session_id,
            message=message,
            trace_id=opening.speaker.trace_id,
            protocol_version="1.1" if opening.is_v11 else "1.0",
            use_binary_frame=opening.is_binary,
            negotiated_codec=audio_format,
            negotiated_audio_format=audio_format,
            negotiated_sample_rate=opening.sample_rate,
            negotiated_channel_count=1,
            resume_token=token,
            resume_window_ms=cut.resume_window_seconds * 1000 if token else None,
            heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS if opening.is_v11 else None,
        )
