"""How a job ends: the outcome is settled once, recorded in the store, told once, and its audio given up."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.events import FinalStatus, NodeTraits
from lingua_scheduler.core.jobs.faults import missing_reason
from lingua_scheduler.core.jobs.job import Ending, Job
from lingua_scheduler.core.jobs.lane import Lane
from lingua_scheduler.core.jobs.phases import SENT, SETTLED, Phase
from lingua_scheduler.core.utterance import Missing, Translated
from lingua_scheduler.protocol.errors import ErrorCode


def settle(book: Book, job: Job, ending: Ending) -> None:
    """Nothing changes the outcome from here on. Where the store still owes an answer, it is told after that."""
    assert job.ending is None, f"{job.job_id} settled twice"
    job.ending = ending
    book.lane_of(job).jobs.remove(job)
    if not job.is_asking:
        finish(book, job)


def fail(book: Book, job: Job, missing: Missing) -> None:
    """What it had to say beside its own is not tried again with the next: that might fail of it too."""
    ending = Ending("failed", missing, job.node.node_id if job.node else None)
    settle(book, job, _owning_up(book, job, ending, [piece.utterance.index for piece in job.inherited]))


def give_out(book: Book, job: Job) -> None:
    """No attempt is left. A result whose tail nobody claimed stands; else the job fails as its last attempt did."""
    for node_id in sorted(job.blamed):
        book.emit(ev.CountNodeOutcome(node_id, is_good=False))
    if job.fallback is None:
        fail(book, job, job.fault)
    else:
        first = job.fall_back()
        ending = replace(first.ending, node_id=job.node.node_id if job.node else None)
        settle_for_next(book, job, ending, first.carried_samples, keeper=None)


def settle_for_next(book: Book, job: Job, ending: Ending, carried: int, keeper: NodeTraits | None) -> None:
    """Settle, and leave the last `carried` samples to the next job. It may be that none is there, and none to come."""
    book.hand_on(job, carried, keeper)
    settle(book, job, _owning_up(book, job, ending))


def _owning_up(book: Book, job: Job, ending: Ending, dropped: Iterable[int] = ()) -> Ending:
    """Whoever reads the outcome is told which ends no node could say, and of which that turned out too soon."""
    lane = book.lane_of(job)
    is_known = book.config.carry_wait_ms > 0  # else nobody looks whether speech goes on
    is_last = is_known and not lane.is_followed(job) and not book.speech_goes_on
    left = {piece.utterance.index for piece in lane.carry} if is_last else set[int]()
    outcome = replace(ending.outcome, unsaid=tuple(sorted(left.union(dropped))))
    if isinstance(outcome, Translated):
        late = lane.told_unsaid & {piece.utterance.index for piece in job.inherited}
        outcome = replace(outcome, said_late=tuple(sorted(late)))
        lane.told_unsaid -= late
    lane.told_unsaid |= left
    return replace(ending, outcome=outcome)


def cancel(book: Book, job: Job, reason: str) -> None:
    """The outcome is not wanted any more. What the job had inherited is the next one's to say."""
    if job.ending is None:
        _withdraw(book, job, "cancelled", Missing(missing_reason(reason), detail=reason), reason)


def absorb(book: Book, job: Job) -> None:
    """Another's result says all of it."""
    _withdraw(book, job, "completed_no_text", Missing("merged"), "merged")


def _withdraw(book: Book, job: Job, status: FinalStatus, missing: Missing, reason: str) -> None:
    was_sent = job.phase in SENT or job.phase is Phase.WITHHELD
    if was_sent:
        book.cancel_on(job.node, job.job_id, reason)
        job.inherited = book.take_back(job.inherited, reason)
    if job.is_queued:
        book.emit(ev.LeaveQueue(job.job_id))
    pieces, job.inherited = job.inherited, []
    book.lane_of(job).give(pieces)
    ending = Ending(status, missing, job.node.node_id if job.node else None)
    if job.phase is Phase.GATED and job.attempt == 1:
        job.ending = ending
        book.lane_of(job).jobs.remove(job)
        forget(book, job)
    else:
        settle(book, job, ending)


def end_session(book: Book) -> None:
    """Every open job is cancelled, and what nodes keep for a next one is not wanted."""
    book.has_ended = True
    for job in list(book.jobs.values()):
        cancel(book, job, "session_ended")
    for lane in book.lanes.values():
        pieces, lane.carry, lane.silent_keeper = lane.carry, [], None
        for piece in pieces:
            book.cancel_on(piece.keeper, piece.job_id, "session_ended")
        book.give_up(piece.utterance.index for piece in pieces)


def finish(book: Book, job: Job) -> None:
    """Let the store record the settled outcome and take the slot back."""
    book.move(job, Phase.FINISHING)
    _ask_to_finish(book, job)


def _ask_to_finish(book: Book, job: Job) -> None:
    ending = job.ending
    assert ending is not None
    hold = _hold_of(book.lane_of(job), book)
    book.emit(ev.FinishJob(job.job_id, job.attempt, ending.node_id, ending.status, hold, _cause(ending)))


def _cause(ending: Ending) -> str:
    outcome = ending.outcome
    if ending.status != "failed" or not isinstance(outcome, Missing):
        return ""
    return " ".join([outcome.reason, _shortage(outcome) or outcome.code or ""]).rstrip()


def _shortage(outcome: Missing) -> str:
    """Details of other faults come from nodes and may quote what was said: they go nowhere."""
    return outcome.detail if outcome.code is ErrorCode.NO_AVAILABLE_NODE else ""


def _hold_of(lane: Lane, book: Book) -> Literal["none", "timeout", "max_duration"]:
    """Which kind of audio a node still keeps in this lane."""
    if lane.carry or lane.silent_keeper or any(piece.keeper for job in lane.jobs for piece in job.inherited):
        return "max_duration"
    cuts = {job.cut(book.config) for job in lane.jobs if job.phase in SENT and job.may_be_kept(book.config)}
    if "max_duration" in cuts:
        return "max_duration"
    return "timeout" if cuts else "none"


def on_finish_replied(book: Book, event: ev.FinishReplied) -> None:
    """Any word will do: the session's owner is the authority on its jobs, the store keeps the record."""
    job = book.jobs.get(event.job_id)
    if job is not None and job.attempt == event.attempt and job.phase in SETTLED:
        forget(book, job)


def on_finish_failed(book: Book, job: Job) -> None:
    """The outcome is told all the same. The store hears of it later, unless its own lease frees the slot before."""
    if job.phase is Phase.FINISHING:
        job.give_up_ms = book.now_ms + book.config.job_timeout_ms
        book.move(job, Phase.CLOSING)
        _conclude(book, job)
    if job.phase is Phase.CLOSING:
        job.deadline_ms = book.now_ms + next_backoff_ms(book, job)


def on_closing_expired(book: Book, job: Job) -> None:
    if job.give_up_ms is not None and book.now_ms >= job.give_up_ms:
        forget(book, job)
        return
    job.deadline_ms = None
    _ask_to_finish(book, job)


def next_backoff_ms(book: Book, job: Job) -> int:
    """The pause before the next repetition towards a failing store."""
    doubled = max(book.config.store_backoff_ms, 2 * job.backoff_ms)
    job.backoff_ms = min(book.config.store_backoff_max_ms, doubled)
    return job.backoff_ms


def forget(book: Book, job: Job) -> None:
    """The end of a job: concluded, if it was not yet, and removed."""
    if job.phase is not Phase.CLOSING:
        _conclude(book, job)
    book.move(job, Phase.GONE)
    del book.jobs[job.job_id]
    seen = (job.node_session, job.index)
    if not any((other.node_session, other.index) == seen for other in book.jobs.values()):
        book.seen_by.pop(seen, None)


def _conclude(book: Book, job: Job) -> None:
    assert job.ending is not None
    outcome = job.ending.outcome
    if isinstance(outcome, Translated):
        if outcome.result.text_asr:
            book.tell(job, "ASR_FINAL")
        if outcome.result.text_translated:
            book.tell(job, "NMT_DONE")
    elif outcome.code is not None:
        book.tell(job, "ERROR", outcome.code, _shortage(outcome))
    book.emit(ev.Conclude(job.job_id, job.index, job.spec.tgt_lang, outcome))
    book.concluded[job.spec.tgt_lang].add(job.index)
    pieces, job.inherited = job.inherited, []
    book.give_up([*(piece.utterance.index for piece in pieces), job.index])
