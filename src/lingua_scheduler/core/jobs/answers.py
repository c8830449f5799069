"""What nodes say about jobs, and what becomes of the jobs of a node that says nothing any more."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs import takeovers
from lingua_scheduler.core.jobs.book import Book, LostNode
from lingua_scheduler.core.jobs.carry import is_same_connection
from lingua_scheduler.core.jobs.faults import (
    classify,
    error_code,
    fault_of,
    is_merged,
    says_no_text_assigned,
    services_blamed,
)
from lingua_scheduler.core.jobs.job import Ending, Job
from lingua_scheduler.core.jobs.phases import SENT, UNSENT, Phase
from lingua_scheduler.core.jobs.placing import renew_store_lease, requeue
from lingua_scheduler.core.jobs.settling import give_out, settle, settle_for_next
from lingua_scheduler.core.utterance import Missing, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId, NodeId
from lingua_scheduler.protocol.node import JobResult

DETAIL_CHARS_MAX = 200


def _admit(book: Book, job_id: JobId, node_id: NodeId, attempt: int | None) -> Job | None:
    """The job, if `node_id` has its current attempt and it was sent; else the report is refused."""
    job = book.jobs.get(job_id)
    if job is None:
        why = "unknown_job"
    elif job.ending is not None or job.phase is Phase.WITHHELD:
        why = "repeat"
    elif job.node is not None and job.node.node_id == node_id and job.phase in SENT:
        if attempt is None or attempt == job.attempt:
            return job
        why = "stale_attempt"
    else:
        why = "stale_attempt" if node_id in job.failed_on else "stranger"
    book.emit(ev.RefuseReport(job_id, node_id, why))
    return None


def on_accepted(book: Book, event: ev.NodeAccepted) -> None:
    job = _admit(book, event.job_id, event.node_id, event.attempt)
    if job is not None and job.phase is Phase.ASSIGNED:
        book.move(job, Phase.ACCEPTED, book.now_ms + book.config.ack_lease_ms(job.line_ms))
        book.tell(job, "NODE_ACCEPTED")


def on_started(book: Book, event: ev.NodeStarted) -> None:
    if job := _admit(book, event.job_id, event.node_id, event.attempt):
        _show_work(book, job)


def on_partial(book: Book, event: ev.NodePartial) -> None:
    if job := _admit(book, event.job_id, event.node_id, None):
        _show_work(book, job)
        book.tell(job, "ASR_FINAL" if event.is_final else "ASR_PARTIAL")
        book.emit(ev.ForwardPartial(job.job_id, job.index, event.text, event.is_final, event.stable_chars))


def on_held(book: Book, event: ev.NodeHeld) -> None:
    job = _admit(book, event.job_id, event.node_id, event.attempt)
    if job is None:
        return
    _renew(book, job, max(0, event.deadline_ms) + book.config.ack_lease_ms(job.line_ms))
    if job.phase is not Phase.HELD:
        book.move(job, Phase.HELD, job.deadline_ms)


def _show_work(book: Book, job: Job) -> None:
    _renew(book, job, book.config.ack_lease_ms(job.line_ms))
    if job.phase is not Phase.RUNNING:
        book.move(job, Phase.RUNNING, job.deadline_ms)


def _renew(book: Book, job: Job, lease_ms: int) -> None:
    """A sign of work never shortens the lease, and never lengthens the attempt past `attempt_max_ms`."""
    assert job.deadline_ms is not None
    config = book.config
    until_ms = min(book.now_ms + min(lease_ms, config.job_timeout_ms), job.sent_at_ms + config.attempt_max_ms)
    job.deadline_ms = max(job.deadline_ms, until_ms)
    renew_store_lease(book, job)


def on_lease_over(book: Book, job: Job) -> None:
    """The job goes elsewhere, and with it what its node may have made one with it: else that would be said twice."""
    assert job.node is not None
    book.emit(ev.CountNodeOutcome(job.node.node_id, is_good=False))
    lane = book.lane_of(job)
    joined = [one for one in lane.after(job) if one.is_sent_to(job.node)] if job.may_be_kept(book.config) else []
    for one in (job, *joined):
        one.fault = Missing("job_timeout", ErrorCode.JOB_TIMEOUT)
        requeue(book, one, "job_timeout", cancel="job_timeout")


def on_rejected(book: Book, event: ev.NodeRejected) -> None:
    job = _admit(book, event.job_id, event.node_id, event.attempt)
    if job is None:
        return
    code = error_code(event.code)
    if code is ErrorCode.MODEL_NOT_AVAILABLE:
        _mark_unavailable(book, job, None)
    is_known = code is not ErrorCode.PROCESSING_ERROR
    job.fault = Missing("job_failed", code if is_known else ErrorCode.NODE_OVERLOADED, event.code[:DETAIL_CHARS_MAX])
    job.retry_after_ms = max(0, event.retry_after_ms)
    _pass_on(book, job)
    requeue(book, job, "rejected")


def _pass_on(book: Book, job: Job) -> None:
    """The node did not take `job`: what it keeps went to the next job that it has, where there is one."""
    heir = book.lane_of(job).heir_of(job)
    if heir is not None:
        kept = [piece for piece in job.inherited if piece.keeper]
        job.inherited = [piece for piece in job.inherited if not piece.keeper]
        book.inherit(heir, kept)


def on_assign_failed(book: Book, event: ev.AssignFailed) -> None:
    if event.is_unsent:
        _on_unsent(book, event)
    elif job := _admit(book, event.job_id, event.node_id, event.attempt):
        if event.may_have_arrived and job.phase is not Phase.ASSIGNED:
            return  # it has: the node spoke of it
        job.fault = Missing("job_failed", ErrorCode.NODE_UNAVAILABLE)
        requeue(book, job, "not_sent", cancel="not_sent" if event.may_have_arrived else None)


def _on_unsent(book: Book, event: ev.AssignFailed) -> None:
    """Of an adopted job: the node may have it all the same, and no other attempt is meant."""
    job = book.jobs.get(event.job_id)
    if job is None or job.phase is not Phase.ASSIGNED or job.attempt != event.attempt:
        return
    if (seen := book.seen_by.get((job.node_session, job.index))) is not None:
        seen.discard(job.node.node_id if job.node else event.node_id)
    requeue(book, job, "not_sent", is_excluded=False)


def on_gone(book: Book, event: ev.JobGone) -> None:
    """Its answer may have been lost, or the news that the node was."""
    if job := _admit(book, event.job_id, event.node_id, event.attempt):
        job.fault = Missing("job_failed", ErrorCode.NODE_UNAVAILABLE)
        requeue(book, job, "answer_lost", cancel="answer_lost")


def on_node_lost(book: Book, event: ev.NodeLost) -> None:
    """All that the node had gets a new attempt, in index order. If it may return it is told to forget its part."""
    lost = LostNode(event)
    book.lose_keeper(lost)
    for lane in book.lanes.values():
        for job in list(lane.jobs):
            if job.node is None or not lost.covers(job.node):
                continue
            was_sent = job.phase in SENT or job.phase is Phase.WITHHELD
            job.is_whole = job.is_whole or job.phase is Phase.WITHHELD
            job.fault = Missing("job_failed", ErrorCode.NODE_UNAVAILABLE, event.cause)
            requeue(book, job, f"node_{event.cause}", cancel="node_suspect" if lost.may_return and was_sent else None)


# ------------------------------------------------------------------------------------------- results


def on_result(book: Book, event: ev.ResultArrived) -> None:
    result = event.result
    job_id = JobId(result.job_id)
    known = book.jobs.get(job_id)
    is_answered = known.ending is not None if known else _was_concluded(book, result.utterance_index)
    if is_answered and says_no_text_assigned(result):
        return  # nodes of protocol 1 send it after the answer now and then
    if known is None and is_answered:
        book.emit(ev.RefuseReport(job_id, event.node_id, "repeat"))
        return
    job = _admit(book, job_id, event.node_id, result.attempt_id)
    if job is None:
        return
    if result.success:
        _on_success(book, job, result)
    else:
        _on_failure(book, job, result)


def _was_concluded(book: Book, index: int) -> bool:
    return any(index in concluded for concluded in book.concluded.values())


def _on_success(book: Book, job: Job, result: JobResult) -> None:
    node = job.node
    assert node is not None
    book.emit(ev.CountNodeOutcome(node.node_id, is_good=True))
    for blamed in sorted(job.blamed - {node.node_id}):
        book.emit(ev.CountNodeOutcome(blamed, is_good=False))
    job.blamed.clear()
    is_elsewhere = is_merged(result)
    if is_elsewhere and not _merge(book, job, result):
        return
    hears_once = node.protocol == 2
    status, outcome = classify(Translated(result, node.node_id, job.sent_at_ms, book.now_ms, hears_once))
    ending = Ending(status, outcome, node.node_id)
    carried, keeper = 0 if is_elsewhere else _carried_samples(job, result), node
    repeats = takeovers.account(book, job, result)
    if job.fallback is not None and isinstance(outcome, Missing) and not is_elsewhere:
        first = job.fall_back()  # silence does no better
        ending, carried, keeper = replace(first.ending, node_id=node.node_id), first.carried_samples, None
    elif repeats and job.tries < book.config.attempts_max:
        job.keep(ending, carried)
        requeue(book, job, "said_already", cancel="said_already", is_excluded=False)
        return
    elif (carried or job.unsaid) and _is_unclaimed(book, job):
        job.keep(ending, carried)
        book.move(job, Phase.WITHHELD, book.now_ms + book.config.carry_wait_ms)
        return
    _settle_silent(book, job, carried)
    book.lane_of(job).answered.append((job.job_id, node))
    if is_elsewhere:
        settle(book, job, ending)
    else:
        settle_for_next(book, job, ending, carried, keeper)


def _carried_samples(job: Job, result: JobResult) -> int:
    """The node rounds milliseconds up: so do we."""
    samples = -(-max(0, result.carried_ms or 0) * job.utterance.sample_rate // 1000)
    return min(samples, job.line_samples)


def _is_unclaimed(book: Book, job: Job) -> bool:
    """Whether nobody is known to say the tail that this result leaves, and it is worth the wait to see."""
    if not book.config.carry_wait_ms or book.speech_goes_on or (job.is_whole and not job.unsaid):
        return False
    return job.tries < book.config.attempts_max and not book.lane_of(job).is_followed(job)


def on_carry_wait_over(book: Book, job: Job) -> None:
    """Nobody followed: the utterance is sent again to be processed whole; until then its first result is kept."""
    job.is_whole = True
    requeue(book, job, "carry_unclaimed", cancel="carry_unclaimed", is_excluded=False)


def _settle_silent(book: Book, job: Job, carried: int) -> None:
    """What a node of protocol 1 does without a word: it swallows short utterances before this one, or keeps its end."""
    node, lane, config = job.node, book.lane_of(job), book.config
    assert node is not None
    if node.protocol == 1:
        for earlier in _maybe_swallowed(book, job):
            if earlier.is_adopted:
                requeue(book, earlier, "merge_lost")  # it may never have got there: better twice than not at all
            else:
                book.cancel_on(node, earlier.job_id, "merged")  # its instance is to forget it too
                settle(book, earlier, Ending("completed_no_text", Missing("merged"), node.node_id))
        may_keep = not carried and job.cut(config) in ("max_duration", "none") and job.may_be_kept(config)
        lane.silent_keeper = node if may_keep else None


def _maybe_swallowed(book: Book, job: Job) -> list[Job]:
    """Short Timeout utterances before `job` that its node, of protocol 1, has and has not answered."""
    return [
        earlier
        for earlier in book.lane_of(job).before(job)
        if earlier.is_sent_to(job.node)
        and earlier.cut(book.config) == "timeout"
        and earlier.line_ms < book.config.short_ms
    ]


def _merge(book: Book, job: Job, result: JobResult) -> bool:
    """Let the job that `job` was merged into say its audio; False where that one cannot, and `job` goes elsewhere."""
    lane = book.lane_of(job)
    if result.merged_into is None:
        target = lane.heir_of(job)
    else:
        target = next((one for one in lane.after(job) if one.job_id == result.merged_into), None)
        answered = [where for job_id, where in lane.answered if job_id == result.merged_into]
        # Of neither it is known where the owner before had cut speech of which Redis lost all that was written.
        is_there = target.is_sent_to(job.node) if target is not None else bool(answered)
        if not is_there or any(not is_same_connection(where, job.node) for where in answered):
            job.fault = Missing("job_failed", ErrorCode.PROCESSING_ERROR, "merged into a job that left the node")
            requeue(book, job, "merge_lost")
            return False
    if target is not None:
        pieces = [piece.without_keeper() for piece in job.line]
        book.claim(pieces)
        book.inherit(target, pieces)
    return True


def _on_failure(book: Book, job: Job, result: JobResult) -> None:
    node = job.node
    assert node is not None
    code, fault = fault_of(result.error)
    detail = result.error.message[:DETAIL_CHARS_MAX] if result.error else ""
    job.fault = Missing("job_failed", code, detail)
    if fault.blame == "node":
        book.emit(ev.CountNodeOutcome(node.node_id, is_good=False))
    elif fault.blame == "utterance":
        job.blamed.add(node.node_id)
    if code is ErrorCode.MODEL_NOT_AVAILABLE:
        _mark_unavailable(book, job, result)
    if node.protocol == 1:
        for earlier in _maybe_swallowed(book, job):
            requeue(book, earlier, "merge_lost")
    if fault.is_retryable and len(job.blamed) < 2:
        requeue(book, job, "failed")
    else:
        job.blamed.clear()  # poison or a client's fault: not the nodes'
        give_out(book, job)


def _mark_unavailable(book: Book, job: Job, result: JobResult | None) -> None:
    assert job.node is not None
    needed = job.spec.speaker.pipeline.services()
    for service in services_blamed(result.error if result else None, needed):
        book.emit(ev.MarkUnavailable(job.node.node_id, service))


def is_awaited(book: Book) -> bool:
    """Whether it matters that speech goes on: some job may leave a tail, and nobody is known to follow it."""
    if not book.config.carry_wait_ms or book.speech_goes_on:
        return False
    last = [lane.jobs[-1] for lane in book.lanes.values() if lane.jobs]
    return any(job.phase in UNSENT or job.may_be_kept(book.config) for job in last)
