"""A client comes back: to the instance that has its session, or to any other, which then goes on from the record.

Theory of operation. Whoever is asked claims the session in the store with the client's token; the claim names the owner
before and hands over the record and the outbox. If this instance was the owner, its machines are alive and go on. If
not, they are built from the record: results that were sent and not acknowledged, open utterances without their audio,
outcomes that nobody told yet. Jobs that run go on: they are adopted, peers are told whose they are now, and what was
reported meanwhile is looked for in the outbox and in the inbox of the owner before. The client sends the audio of open
utterances again (`next_seq`); until it is here, no further attempt of them can begin.

The owner before, if it lives, learns it at once from the message to peers, else from its first refused write.
"""

import asyncio
import secrets
from collections.abc import Iterator

import msgspec

from lingua_scheduler.core.jobs import events as job
from lingua_scheduler.core.jobs.faults import classify
from lingua_scheduler.core.session import events as session
from lingua_scheduler.core.session.record import Known, corrected
from lingua_scheduler.core.utterance import JobSpec, Outcome, Tail, Translated, Written
from lingua_scheduler.protocol import kept
from lingua_scheduler.protocol.errors import ErrorCode, PeerError
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult
from lingua_scheduler.runtime.ids import new_resume_token
from lingua_scheduler.runtime.logs import get_logger
from lingua_scheduler.scheduler.bus import Bus
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.keeping import decode_opening, decode_state, token_hash
from lingua_scheduler.scheduler.leftovers import Leftovers
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.sessions import SessionActor, Sessions
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import AdoptedJob, Claim, KeptResult, Word
from lingua_scheduler.store.sessions import Ownership

_log = get_logger("scheduler.resume")

REFUSAL = "no session can be resumed with this token"
LOOK_AGAIN_S = 1.0
"""A peer that had not heard yet whose a job is now may still have reported to the owner before."""
FINAL = frozenset({"completed", "completed_no_text", "failed", "cancelled"})


class Resumes:
    """Finds the session behind a token, wherever it was."""

    def __init__(self, context: Context, sessions: Sessions, nodes: Nodes, bus: Bus) -> None:
        self._context = context
        self._sessions = sessions
        self._nodes = nodes
        self._bus = bus

    @property
    def remote_jobs(self) -> int:
        """Jobs of peers on nodes here."""
        return self._bus.remote_jobs

    async def resume(
        self, session_id: SessionId, token: str, holder: str = "", known: Known | None = None
    ) -> tuple[SessionActor, str]:
        """The session behind a resume token, and the token that replaces it. PeerError where there is none.

        Each token serves once; but the reply may be lost with the connection, so the token it answered stays good until
        the first message on the connection that it opened. `holder` is the tenant of whoever asks: a session of
        another is unknown to it. `known`: what the client says that it has.
        """
        fresh = new_resume_token()
        me = self._context.instance_id
        try:
            hashes = token_hash(token, holder), token_hash(fresh, holder)
            claim = await self._context.store.sessions.claim(session_id, me, *hashes)
        except StoreError as error:
            _log.warning("session not claimed", session=session_id, cause=str(error))
            claim = None
        actor = self._sessions.find(session_id)
        if actor is not None and actor.opening.holder != holder:
            raise PeerError(ErrorCode.INVALID_SESSION, REFUSAL)
        if claim is None or claim.word is Word.UNKNOWN_SESSION:
            actor = self._resume_here(actor, token, is_store_away=claim is None)
        elif claim.word is not Word.OK:
            raise PeerError(ErrorCode.INVALID_SESSION, REFUSAL)
        elif actor is not None and actor.record is not None and claim.previous == me:
            actor.record.epoch = claim.epoch
        else:
            actor = await self._take_over(session_id, claim, fresh, known)
        actor.used_token, actor.resume_token = token, fresh
        if actor.record is not None:
            actor.record.tokens(fresh, token)
            if claim is None or not claim.fields:
                actor.record.write_soon(whole=True)
        return actor, fresh

    def _resume_here(self, actor: SessionActor | None, token: str, *, is_store_away: bool) -> SessionActor:
        """The store cannot tell: what this instance knows by itself decides."""
        good = [one for one in (actor.resume_token, actor.used_token) if one] if actor is not None else []
        if actor is not None and any(secrets.compare_digest(one.encode(), token.encode()) for one in good):
            return actor
        if is_store_away and actor is None:
            raise PeerError(ErrorCode.SCHEDULER_DEPENDENCY_DOWN, "Redis is unreachable; try again")
        raise PeerError(ErrorCode.INVALID_SESSION, REFUSAL)

    # ------------------------------------------------------------------------------- from another instance

    async def _take_over(self, session_id: SessionId, claim: Claim, fresh: str, known: Known | None) -> SessionActor:
        try:
            actor, specs, tails = self._build(claim, fresh, known)
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError) as error:
            _log.error("session record not understood", session=session_id, cause=repr(error))
            raise PeerError(ErrorCode.INVALID_SESSION, REFUSAL) from error
        me = self._context.instance_id
        jobs = [spec.job_id for spec in specs]
        try:
            adopted, late = await self._adopt(Ownership(session_id, me, claim.epoch), jobs, claim)
        except StoreError as error:
            # The token that was shown stays good: the client comes again.
            raise PeerError(ErrorCode.SCHEDULER_DEPENDENCY_DOWN, "Redis is unreachable; try again") from error
        older = self._sessions.find(session_id)
        if older is not None and older.record is not None:
            if older.record.epoch == claim.epoch:
                return older  # the client had come before, on a connection that it gave up, and that was slow
            older.record.refused(claim.epoch)
        self._sessions.moved_here(actor)
        outbox = {**claim.outbox, **late}
        outcomes = self._outcomes(specs, outbox)
        left = Leftovers(specs, outcomes, (*tails, *_merged_into_open(specs, outbox)))
        for index in left.said_indices:
            actor.machine.forget_audio(index)
        outcomes |= left.merged()
        actor.go_on(self._standings(specs, adopted, left, set(outcomes)), outcomes.values(), left.unsaid)
        for one in adopted:
            if one.node_id is not None:
                self._nodes.used_by(one.node_id, actor)
        _log.info("session taken over", session=session_id, previous=claim.previous, jobs=len(jobs))
        self._bus.session_moved(session_id, claim.epoch, claim.previous, jobs)
        if claim.previous != me and jobs:
            self._context.scope.start(self._look_for_reports(claim.previous, actor), "look-for-reports")
        return actor

    def _build(
        self, claim: Claim, fresh: str, known: Known | None
    ) -> tuple[SessionActor, list[JobSpec], tuple[Tail, ...]]:
        """A session at rest where the record says it stood, its open jobs, and what was left for others to say."""
        opening = decode_opening(claim.fields["opening"])
        state = decode_state(claim.fields["state"])
        numbers = msgspec.json.decode(claim.fields["numbers"], type=dict[str, int])
        actor = SessionActor(self._context, self._sessions, opening, fresh)
        assert actor.record is not None
        actor.record.epoch = claim.epoch
        actor.record.adopt(claim.outbox)
        sent: list[TranslationResult | MissingResult] = []
        for key, number in sorted(numbers.items(), key=lambda one: one[1]):
            message = self._message(claim.outbox.get(JobId(key)))
            if message is not None:
                sent.append(msgspec.structs.replace(message, result_seq=number))
            else:
                sent.clear()  # a hole can only be where Redis lost something: what lies before it is lost too
        if known is not None:
            state = corrected(state, known)
            sent = [one for one in sent if (one.result_seq or 0) > known.last_result_seq]
        specs = actor.machine.restore(state, sent, self._context.clock.now_ms(), f"-{claim.epoch:x}")
        return actor, specs, state.tails

    def _message(self, result: KeptResult | None) -> TranslationResult | MissingResult | None:
        found = kept.decode_kept(result.body) if result is not None else None
        return found.message if isinstance(found, kept.KeptMessage) else None

    async def _adopt(
        self, owner: Ownership, jobs: list[JobId], claim: Claim
    ) -> tuple[list[AdoptedJob], dict[JobId, KeptResult]]:
        """Where the open jobs stand, and results that came into the outbox since it was read."""
        adopted = await self._context.store.sessions.adopt(owner, jobs)
        if adopted is None:
            raise PeerError(ErrorCode.INVALID_SESSION, REFUSAL)  # resumed elsewhere in the meantime
        ended = [one.job_id for one in adopted if one.status in FINAL and one.job_id not in claim.outbox]
        return adopted, await self._context.store.sessions.outbox(owner.session_id, ended)

    def _outcomes(self, specs: list[JobSpec], outbox: dict[JobId, KeptResult]) -> dict[JobId, session.JobConcluded]:
        """Of the open jobs that have one, in the order of finishing."""
        by_id = {spec.job_id: spec for spec in specs}
        found: dict[JobId, session.JobConcluded] = {}
        for job_id, result in sorted(outbox.items(), key=lambda one: one[1].order):
            if (spec := by_id.get(job_id)) is not None:
                outcome = self._outcome(result.body)
                found[job_id] = session.JobConcluded(job_id, spec.utterance.index, spec.tgt_lang, outcome)
        return found

    def _outcome(self, body: bytes) -> Outcome | Written:
        result = kept.decode_kept(body)
        if isinstance(result, kept.KeptMessage):
            return Written(result.message)
        now_ms = self._context.clock.now_ms()
        return classify(Translated(result.report, NodeId(result.node_id), now_ms, now_ms))[1]

    def _standings(
        self, specs: list[JobSpec], adopted: list[AdoptedJob], left: Leftovers, known: set[JobId]
    ) -> list[job.JobAdopted]:
        return [
            self._standing(spec, one, left.said_samples.get(spec.job_id, 0))
            for spec, one in zip(specs, adopted, strict=True)
            if spec.job_id not in known
        ]  # fmt: skip

    def _standing(self, spec: JobSpec, one: AdoptedJob, said_samples: int) -> job.JobAdopted:
        if one.node_id is None or one.status is None or one.status == "pending" or one.status in FINAL:
            return job.JobAdopted(spec, max(one.attempt, one.revoked + 1, 1), said_samples=said_samples)
        node = job.NodeTraits(one.node_id, one.instance_id, 2 if one.protocol == 2 else 1, one.epoch)
        return job.JobAdopted(spec, one.attempt, node, one.lease_ms if one.instance_id else 0, said_samples)

    async def _look_for_reports(self, previous: InstanceId, actor: SessionActor) -> None:
        """What was reported to an owner that may never read it. What it does read, it is refused with or passes on."""
        for _ in range(2):
            try:
                for node_id, report in await self._bus.reports_to(previous):
                    if self._sessions.owner_of(JobId(report.job_id)) is actor:
                        actor.report(node_id, report)
            except StoreError as error:
                _log.info("inbox not read", instance=previous, cause=str(error))
            if not actor.machine.open_jobs:
                return
            await asyncio.sleep(LOOK_AGAIN_S)


def _merged_into_open(specs: list[JobSpec], outbox: dict[JobId, KeptResult]) -> Iterator[Tail]:
    """Whole utterances that an open job is to say: reported when the session had no owner that could note it."""
    by_id = {spec.job_id: spec for spec in specs}
    for job_id, spec in by_id.items():
        found = kept.decode_kept(outbox[job_id].body) if job_id in outbox else None
        heir = JobId(found.report.merged_into or "") if isinstance(found, kept.KeptReport) else None
        if heir in by_id and heir not in outbox:
            yield Tail(job_id, spec.utterance.index, spec.tgt_lang, spec.utterance.samples, heir)
