"""The job machine: brings every utterance of one session to exactly one outcome, over as many attempts as it takes.

Theory of operation
-------------------
A *job* is one utterance in one target language. It is placed on a node, sent, and answered; where that fails it gets a
new *attempt* elsewhere, at most `retries_max` times. `phases.TRANSITIONS` lists every change of phase with its reason.

    pending      gated → selecting → waiting …   which node?       ends: pending window (not while the store is away)
    assigned     parked → assigned               sent              ends: lease
    accepted, running, held                      the node works    ends: lease, renewed by each sign of work
                 withheld                        see below         ends: carry wait
    final        finishing → closing             outcome settled   ends: the store's answer

Who wins. The first terminal result of the current attempt, from the node it was sent to, settles a job; whatever else
speaks of it is refused for ever. Nothing that happens after the settlement changes the outcome. The outcome is told
(`Conclude`) when the store has recorded it, whatever word it answers with; if the store cannot answer it is told all
the same, and the store hears of it later: the session's owner is the authority on its own jobs.

Leases. The machine's own timer decides. The store's copy, which lets other instances notice our death, is renewed
only when it would run out before ours, so that a sentence answered in time costs no round trip.

Lanes, carry and hold. A node may keep an utterance, or its end, and process it with the session's next one. So jobs
of one language form a `Lane`; while anything is or may be kept, its jobs are sent in order and to the keeping node.
Each job knows the earlier audio that it has to say (`inherited`). If it is sent to a node that does not have that
audio, it is sent in front of the job's own, and the old keeper is told to forget it (`job_cancel` makes a node forget
the job's audio and whatever it took over). A tail is claimed by the next job to be sent; where no job follows
(`carry_wait_ms`) the result that left it is withheld and the utterance sent once more to be processed whole: so
nothing stays unsaid, and there is still one outcome. An utterance that was merged into a job which then fails on its
node is sent again with it.

Nodes of protocol 1 may swallow a short Timeout utterance: when a later job of the lane succeeds there, it counts as
merged. They refuse what they have seen: an utterance is never sent to such a node twice.

The store. A request that failed may have happened; each is repeated with growing pauses until it is answered. While
the store is away jobs and audio wait, bounded by the session's own limit, and nothing is said twice.

Bounds. Open jobs and their audio: the session's. Attempts: `retries_max`. Concluded jobs: index ranges, `RANGES_MAX`
for each of `LANES_MAX` languages.

The machine does not know of clients, sockets, Redis, clocks, or other sessions.
"""

from typing import assert_never

from lingua_scheduler.core.jobs import adopting, answers, placing, settling
from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.checks import check_book
from lingua_scheduler.core.jobs.config import JobsConfig
from lingua_scheduler.core.jobs.events import JobEffect, JobEvent
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.protocol.ids import InstanceId


class JobsMachine:
    """All jobs of one session. `instance_id` is where the session lives: nodes connected there are preferred."""

    def __init__(self, config: JobsConfig, instance_id: InstanceId) -> None:
        self._book = Book(config, instance_id)
        self.awaits_audio = False
        """Whether `AudioContinued` would be news: read for each chunk of audio, hence not computed."""

    def handle(self, event: JobEvent, now_ms: int) -> list[JobEffect]:
        """What is to be done about `event`, in order. Times are loop time and never go back."""
        book = self._book
        book.now_ms = now_ms
        self._dispatch(event)
        placing.advance(book)
        self.awaits_audio = answers.is_awaited(book)
        effects, book.out = book.out, []
        return effects

    def next_deadline_ms(self) -> int | None:
        """When to hand in `TimeReached`; None while nothing runs."""
        deadlines = [job.deadline_ms for job in self._book.jobs.values() if job.deadline_ms is not None]
        return min(deadlines, default=None)

    @property
    def is_idle(self) -> bool:
        """Whether every job is concluded and the store has heard of it."""
        return not self._book.jobs

    @property
    def book(self) -> Book:
        """What the machine remembers, to look at."""
        return self._book

    def _dispatch(self, event: JobEvent) -> None:  # noqa: C901, PLR0912 - one line for each event
        book = self._book
        match event:
            case ev.JobRequested():
                self._on_requested(event)
            case ev.JobAdopted():
                adopting.on_adopted(book, event)
            case ev.TailAdopted():
                adopting.on_tail_adopted(book, event)
            case ev.AudioRestored():
                adopting.on_audio_restored(book, event)
            case ev.PlacementReplied():
                placing.on_placement_replied(book, event)
            case ev.StoreFailed():
                self._on_store_failed(event)
            case ev.SlotOffered():
                if job := book.jobs.get(event.job_id):
                    placing.on_slot_offered(book, job)
            case ev.NodeAccepted():
                answers.on_accepted(book, event)
            case ev.NodeStarted():
                answers.on_started(book, event)
            case ev.NodeHeld():
                answers.on_held(book, event)
            case ev.NodeRejected():
                answers.on_rejected(book, event)
            case ev.JobGone():
                answers.on_gone(book, event)
            case ev.AssignFailed():
                answers.on_assign_failed(book, event)
            case ev.NodePartial():
                answers.on_partial(book, event)
            case ev.ResultArrived():
                answers.on_result(book, event)
            case ev.FinishReplied():
                settling.on_finish_replied(book, event)
            case ev.RequeueReplied():
                placing.on_requeue_replied(book, event)
            case ev.NodeLost():
                answers.on_node_lost(book, event)
            case ev.AudioContinued():
                book.speech_goes_on = True
            case ev.CancelRequested():
                if job := book.jobs.get(event.job_id):
                    settling.cancel(book, job, event.reason)
            case ev.SessionEnded():
                settling.end_session(book)
            case ev.TimeReached():
                self._on_time_reached()
            case _:
                assert_never(event)

    def _on_requested(self, event: ev.JobRequested) -> None:
        """A job that is open, or was concluded, is not made again: its id and its outcome are the same."""
        book, spec = self._book, event.spec
        concluded = book.concluded.get(spec.tgt_lang)
        if spec.job_id in book.jobs or (concluded is not None and spec.utterance.index in concluded):
            return
        book.speech_goes_on = False
        job = book.open(spec)
        if book.has_ended:
            settling.cancel(book, job, "session_ended")

    def _on_store_failed(self, event: ev.StoreFailed) -> None:
        book = self._book
        job = book.jobs.get(event.job_id)
        if job is None or job.attempt != event.attempt:
            return
        match event.operation:
            case "select":
                placing.on_select_failed(book, job)
            case "requeue":
                placing.on_requeue_failed(book, job)
            case "finish":
                settling.on_finish_failed(book, job)
            case "renew":
                # The lease in the store is as long as it was: the next sign of work tries again.
                job.store_lease_until_ms = min(job.store_lease_until_ms, book.now_ms)

    def _on_time_reached(self) -> None:
        book = self._book
        for job in list(book.jobs.values()):
            if job.deadline_ms is not None and job.deadline_ms <= book.now_ms:
                self._on_deadline(job)

    def _on_deadline(self, job: Job) -> None:
        book = self._book
        match job.phase:
            case Phase.WAITING:
                placing.on_wait_over(book, job)
            case Phase.PARKED:
                placing.send(book, job)
            case Phase.ASSIGNED | Phase.ACCEPTED | Phase.RUNNING | Phase.HELD:
                answers.on_lease_over(book, job)
            case Phase.WITHHELD:
                answers.on_carry_wait_over(book, job)
            case Phase.REQUEUING:
                placing.ask_to_requeue(book, job)
            case Phase.CLOSING:
                settling.on_closing_expired(book, job)
            case Phase.GATED | Phase.SELECTING | Phase.FINISHING | Phase.GONE:
                raise AssertionError(f"{job.job_id}: no timer runs while {job.phase}")

    def check(self) -> None:
        """AssertionError where an invariant is broken. Costs time in proportion to the open jobs."""
        check_book(self._book)
