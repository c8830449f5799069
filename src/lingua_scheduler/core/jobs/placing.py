"""How a job finds a node and gets to it: gate, question, wait, parking, sending, and the next attempt elsewhere."""

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs import siblings
from lingua_scheduler.core.jobs.assign import Avoid, assign_message, select_request
from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.carry import Piece, is_same_connection, join_pieces, touches, without_tail
from lingua_scheduler.core.jobs.events import NodeTraits
from lingua_scheduler.core.jobs.job import UNSENT_FREE, Ending, Job
from lingua_scheduler.core.jobs.lane import Lane
from lingua_scheduler.core.jobs.phases import SENT, Phase
from lingua_scheduler.core.jobs.settling import fail, finish, forget, give_out, next_backoff_ms, settle_for_next
from lingua_scheduler.core.placement import (
    AlreadyDone,
    NoNodeReason,
    Queued,
    Selected,
    StaleAttempt,
    StaleOwner,
    Unplaced,
)
from lingua_scheduler.core.shortage import shortage
from lingua_scheduler.core.utterance import Missing
from lingua_scheduler.protocol.errors import ErrorCode

HOPELESS = frozenset({NoNodeReason.NO_NODES, NoNodeReason.NONE_FOR_PAIR})
"""Reasons for which a first attempt does not wait: no live node serves the pair."""


def advance(book: Book) -> None:
    """Whatever waited for another job and need not any more goes on, in index order.

    Again while something does: who is sent takes the audio that an earlier job waited for, or a sibling's place.
    """
    while any(_goes_on(book, lane, job) for lane in book.lanes.values() for job in list(lane.jobs)):
        pass


def _goes_on(book: Book, lane: Lane, job: Job) -> bool:
    before = job.phase
    if before is Phase.GATED and not lane.is_gated(job, book.config) and not siblings.is_awaited(book, job):
        select(book, job)
    elif before is Phase.PARKED:
        _leave_parking(book, lane, job)
    elif before is Phase.WITHHELD and (book.speech_goes_on or lane.is_followed(job)):
        release(book, job)
    return job.phase is not before


def _leave_parking(book: Book, lane: Lane, job: Job) -> None:
    """A job that overtook one whose audio it may have to say gives its place back; without attempts left it goes."""
    if lane.is_overtaking(job, book.config) and job.tries < book.config.attempts_max:
        requeue(book, job, "out_of_order", is_excluded=False)
    elif not lane.must_park(job, book.config):
        send(book, job)


def release(book: Book, job: Job) -> None:
    """A next job comes: it claims the tail, and the result that was withheld stands."""
    first = job.fall_back()
    settle_for_next(book, job, first.ending, first.carried_samples, job.node)


# ------------------------------------------------------------------------------------------- which node


def select(book: Book, job: Job) -> None:
    config = book.config
    if job.give_up_ms is None:
        job.give_up_ms = book.now_ms + config.pending_timeout_ms
    never_again = frozenset(book.seen_by.get((job.node_session, job.index), ()))
    exclude = never_again if job.is_relaxed and never_again else never_again.union(job.failed_on)
    is_soft = job.is_relaxed and not never_again
    keeper = book.lane_of(job).keeper_for(job, config) or siblings.hearer_for(book, job)
    affinity = keeper.node_id if keeper is not None and keeper.node_id not in exclude else None
    book.move(job, Phase.SELECTING)
    job.is_asking = True
    wait_ms = max(0, job.give_up_ms - book.now_ms)
    avoid = Avoid(exclude, is_soft)
    request = select_request(job, config, book.instance_id, wait_ms=wait_ms, avoid=avoid, affinity=affinity)
    book.emit(ev.SelectNode(request))


def on_placement_replied(book: Book, event: ev.PlacementReplied) -> None:
    job = book.jobs.get(event.job_id)
    if job is None or job.phase is not Phase.SELECTING or job.attempt != event.attempt:
        return
    job.is_asking = False
    was_away, job.backoff_ms = job.backoff_ms > 0, 0
    if was_away:
        job.give_up_ms = book.now_ms + book.config.pending_timeout_ms
    was_offered, job.was_offered = job.was_offered, False
    job.is_queued = isinstance(event.reply, Queued)
    job.waits_behind = event.reply.position - 1 if isinstance(event.reply, Queued) else 0
    if job.ending is not None:
        _finish_unwanted(book, job, event.node)
        return
    match event.reply:
        case Selected():
            assert event.node is not None, "a selected node has traits"
            _place(book, job, event.node)
        case Queued(retry_ms=retry_ms):
            if was_offered:
                select(book, job)
            elif _relax(job):
                # Whoever is waited for may be a node that failed this job: from now on the store may fall back on one,
                # where there is no other.
                _wait(book, job, _same_node_pause_ms(book, job))
            else:
                _wait(book, job, min(max(retry_ms, 1), book.config.reselect_ms))
        case Unplaced():
            _on_unplaced(book, job, event.reply)
        case StaleAttempt():
            _on_stale(book, job, event.reply)
        case StaleOwner():
            raise AssertionError("whoever was replaced is not told of its jobs any more")
        case AlreadyDone():
            missing = Missing("job_failed", ErrorCode.INTERNAL_ERROR, f"{event.reply.status} as {event.reply.job_id}")
            job.ending = Ending("failed", missing)
            book.lane_of(job).jobs.remove(job)
            forget(book, job)


def _finish_unwanted(book: Book, job: Job, node: NodeTraits | None) -> None:
    """The job was cancelled while the store was asked: whatever it reserved is given back."""
    assert job.ending is not None
    if job.is_queued:
        book.emit(ev.LeaveQueue(job.job_id))
    node_id = node.node_id if node else None
    job.ending = Ending(job.ending.status, job.ending.outcome, node_id)
    finish(book, job)


def _place(book: Book, job: Job, node: NodeTraits) -> None:
    job.node = node
    job.store_lease_until_ms = book.now_ms + book.config.store_lease_ms
    book.move(job, Phase.PARKED, book.now_ms + book.config.park_max_ms)
    if node.node_id in book.seen_by.get((job.node_session, job.index), ()):
        # Two languages of one utterance were placed at once on a node that takes each utterance once.
        requeue(book, job, "seen_before")


def _wait(book: Book, job: Job, pause_ms: int) -> None:
    assert job.give_up_ms is not None
    book.move(job, Phase.WAITING, min(book.now_ms + pause_ms, max(job.give_up_ms, book.now_ms)))


def _on_unplaced(book: Book, job: Job, reply: Unplaced) -> None:
    config = book.config
    job.fault = _no_node(reply.reason, reply.counts)
    if _relax(job):
        _wait(book, job, _same_node_pause_ms(book, job))
    elif job.attempt == 1 and reply.reason in HOPELESS:
        fail(book, job, job.fault)
    else:
        _wait(book, job, config.reselect_ms)


def _no_node(reason: NoNodeReason, counts: dict[str, int]) -> Missing:
    return Missing("no_available_node", ErrorCode.NO_AVAILABLE_NODE, shortage(reason, counts))


def _relax(job: Job) -> bool:
    """Whether nodes of protocol 2 that failed the job may be asked again from now on; False where they already may."""
    if job.is_relaxed or 2 not in job.failed_on.values():
        return False
    job.is_relaxed = True
    return True


def _same_node_pause_ms(book: Book, job: Job) -> int:
    config = book.config
    return min(max(job.retry_after_ms, config.same_node_backoff_ms), config.same_node_backoff_max_ms)


def _on_stale(book: Book, job: Job, reply: StaleAttempt) -> None:
    """The store is ahead: a repetition of ours did happen, or another instance took us for dead."""
    if reply.attempt > book.config.attempts_max + UNSENT_FREE:
        fail(book, job, job.fault)
    elif reply.attempt > job.attempt:
        job.attempt = reply.attempt
        select(book, job)
    else:
        _wait(book, job, book.config.reselect_ms)


def on_slot_offered(book: Book, job: Job) -> None:
    if job.phase is Phase.WAITING:
        select(book, job)
    elif job.phase is Phase.SELECTING:
        job.was_offered = True


def on_select_failed(book: Book, job: Job) -> None:
    if job.phase is not Phase.SELECTING:
        return
    job.is_asking = False
    if job.ending is not None:
        finish(book, job)
    else:
        book.move(job, Phase.WAITING, book.now_ms + next_backoff_ms(book, job))


def on_wait_over(book: Book, job: Job) -> None:
    """Ask again; past the pending window give up, unless it is the store that kept the job waiting."""
    assert job.give_up_ms is not None
    if book.now_ms < job.give_up_ms or job.backoff_ms:
        select(book, job)
        return
    if job.is_queued:
        book.emit(ev.LeaveQueue(job.job_id))
        job.fault = _no_node(NoNodeReason.ALL_FULL, {"waiting": job.waits_behind})
    give_out(book, job)


# ------------------------------------------------------------------------------------------- to the node


def send(book: Book, job: Job) -> None:
    """The job goes to its node, behind the earlier audio that it has to say and the node does not have."""
    node = job.node
    assert node is not None
    config, lane = book.config, book.lane_of(job)
    lane.take_carry(job)
    if not is_same_connection(lane.silent_keeper, node):
        lane.silent_keeper = None
    ahead = 0
    utterance = without_tail(job.utterance, job.said_samples)
    audio = utterance.audio
    is_joined, job.joined = True, frozenset()
    if not all(is_same_connection(piece.keeper, node) for piece in job.inherited):
        job.inherited = book.take_back(_drop_lost(book, job.inherited), "sent_elsewhere")
        is_joined = touches(job.inherited, utterance)
        job.joined = frozenset(piece.job_id for piece in job.inherited) if is_joined else frozenset()
        audio, ahead = join_pieces(job.inherited, utterance)
    book.clear(node)
    book.sent_count += 1
    job.sent_at_ms, job.sent_number = book.now_ms, book.sent_count
    if node.protocol == 1:
        book.seen_by.setdefault((job.node_session, job.index), set()).add(node.node_id)
    assign = assign_message(job, config, ahead_samples=ahead, is_joined=is_joined, kept=book.kept_on(node))
    book.emit(ev.SendAssign(node, assign, audio))
    book.move(job, Phase.ASSIGNED, book.now_ms + config.job_timeout_ms)
    renew_store_lease(book, job)
    book.tell(job, "DISPATCHED")


def _drop_lost(book: Book, pieces: list[Piece]) -> list[Piece]:
    """Without those whose audio another instance had, and which the client did not send again."""
    book.give_up(piece.utterance.index for piece in pieces if not piece.is_here)
    return [piece for piece in pieces if piece.is_here]


def renew_store_lease(book: Book, job: Job) -> None:
    """Keep the store's lease from ending before ours; costs nothing while it would not."""
    assert job.node is not None
    assert job.deadline_ms is not None
    if job.deadline_ms > job.store_lease_until_ms:
        lease_ms = book.config.store_lease_ms
        job.store_lease_until_ms = book.now_ms + lease_ms
        book.emit(ev.RenewLease(job.job_id, job.attempt, job.node.node_id, lease_ms))


def requeue(book: Book, job: Job, cause: str, *, cancel: str | None = None, is_excluded: bool = True) -> None:
    """Give the slot back and open the next attempt; the job ends where none is left.

    `cancel` is the reason told to the node, None where it cannot hear or has forgotten the job by itself.
    """
    node = job.node
    assert node is not None
    was_unsent = job.phase is Phase.PARKED or (job.phase is Phase.ASSIGNED and cause == "not_sent" and cancel is None)
    job.cancelled_on, job.is_adopted = node if cancel is not None else None, False
    if cancel is not None:
        # Whether the node took the job, and with it what it kept for it, may not be known: it is to forget both.
        book.cancel_on(node, job.job_id, cancel)
        job.inherited = book.take_back(job.inherited, cancel)
    elif job.phase in SENT and cause not in ("rejected", "not_sent"):
        book.leave(node, job.job_id)
        job.inherited = [piece.without_keeper() for piece in job.inherited]
    if not job.is_whole:
        pieces, job.inherited = job.inherited, []
        book.lane_of(job).give(pieces)
    if is_excluded:
        job.failed_on[node.node_id] = node.protocol
    job.unsent_count += was_unsent
    if job.tries >= book.config.attempts_max:
        give_out(book, job)
        return
    job.left, job.node, job.cause = node, None, cause
    book.move(job, Phase.REQUEUING)
    if was_unsent and job.unsent_count > 1:
        # Where a connection was just lost, the store learns of it in a moment.
        job.deadline_ms = book.now_ms + book.config.store_backoff_ms
    else:
        ask_to_requeue(book, job)


def ask_to_requeue(book: Book, job: Job) -> None:
    assert job.left is not None
    job.deadline_ms = None
    job.is_asking = True
    book.emit(ev.RequeueJob(job.job_id, job.attempt, job.left.node_id, job.cause))


def on_requeue_replied(book: Book, event: ev.RequeueReplied) -> None:
    """Any word will do: if the store refused because it is ahead or has forgotten the job, the next question tells."""
    job = book.jobs.get(event.job_id)
    if job is None or job.phase is not Phase.REQUEUING or job.attempt != event.attempt:
        return
    job.is_asking = False
    job.attempt += 1
    job.left, job.give_up_ms, job.backoff_ms = None, None, 0
    job.is_relaxed = job.was_offered = job.is_queued = False
    if job.ending is not None:
        finish(book, job)
    else:
        book.move(job, Phase.GATED)


def on_requeue_failed(book: Book, job: Job) -> None:
    if job.phase is not Phase.REQUEUING:
        return
    job.is_asking = False
    if job.ending is not None:
        job.ending = Ending(job.ending.status, job.ending.outcome, job.left.node_id if job.left else None)
        finish(book, job)
    else:
        job.deadline_ms = book.now_ms + next_backoff_ms(book, job)
