"""What a result says beside its own utterance, as the node tells: the last word on who has said which audio.

What the book expects of a node may be wrong. Reports get lost or overtake each other; an attempt that was taken back
was answered all the same; an owner died between placing an attempt and sending it. A result of our own nodes names the
audio that it took over, and here the claims are brought in line with that, whatever was expected:

- what it was counted on to say and does not is still to be said;
- what it says and another job was to say is taken from that one: its next attempt goes without, and an utterance that
  is in the result from end to end has merged into it;
- where what it says was told before, the result is not used: its job is done once more, alone.

Nodes that do not tell (`taken_over` is absent) are trusted to have done what was expected.
"""

from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.carry import Piece, tail_of, touches
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.phases import SENT, Phase
from lingua_scheduler.core.jobs.placing import release, requeue
from lingua_scheduler.core.jobs.settling import absorb
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.protocol.node import JobResult


def account(book: Book, job: Job, result: JobResult) -> bool:
    """Make the claims fit what `result` says. Whether some of that was told before."""
    job.unsaid = frozenset()
    if result.taken_over is None:
        return False
    taken = {JobId(one.job_id): one.ms for one in result.taken_over}
    job.unsaid = _unsaid(job, frozenset(taken))
    expected = {piece.job_id for piece in job.inherited} | {job.job_id}
    repeats = [not _take(book, job, other, ms) for other, ms in taken.items() if other not in expected]
    return any(repeats)


def _unsaid(job: Job, taken: frozenset[JobId]) -> frozenset[JobId]:
    """What was sent in front of the utterance goes by the job's own name."""
    if job.job_id in taken:
        return frozenset()
    # What was sent in front is not taken where the node has the job from an attempt before, or from another owner.
    doubtful = [piece for piece in job.inherited if piece.keeper is not None or piece.job_id in job.joined]
    if job.is_adopted and touches(job.inherited, job.utterance):
        doubtful = job.inherited
    return frozenset(piece.job_id for piece in doubtful) - taken


def _take(book: Book, job: Job, other_id: JobId, ms: int) -> bool:
    """`job` says the last `ms` of another's utterance. False where those were told before."""
    lane = book.lane_of(job)
    other = next((one for one in lane.jobs if one.job_id == other_id), None)
    if other is not None and other.said_samples:
        return False  # a third one's result had them, and was here first
    if other is not None:
        _take_of_open(book, job, other, ms)
        return True
    pieces = [piece for piece in lane.carry if piece.job_id == other_id]
    lane.carry = [piece for piece in lane.carry if piece not in pieces]
    for one in [one for one in lane.jobs if one is not job]:
        pieces += _take_from(book, one, other_id)
    book.inherit(job, [piece.without_keeper() for piece in pieces])
    return bool(pieces) or other_id not in lane.said


def _take_of_open(book: Book, job: Job, other: Job, ms: int) -> None:
    utterance = other.utterance
    samples = min(ms * utterance.sample_rate // 1000, utterance.samples)
    whole = Piece(other.job_id, utterance, utterance.samples, None)
    pieces = tail_of([whole], samples, None)
    book.claim(pieces)
    book.inherit(job, pieces)
    if ms >= utterance.duration_ms:
        absorb(book, other)
        return
    other.said_samples, other.is_whole = samples, True
    if other.phase is Phase.WITHHELD:
        release(book, other)
    elif not (other.is_sent_to(job.node) and other.sent_number < job.sent_number):
        _do_again_without(book, other)


def _take_from(book: Book, heir: Job, other_id: JobId) -> list[Piece]:
    """The pieces of `other_id` that `heir` was to say, unless its result has said them."""
    pieces = [piece for piece in heir.inherited if piece.job_id == other_id]
    is_said = heir.phase is Phase.WITHHELD and heir.fallback is not None and other_id in heir.fallback.said
    if not pieces or is_said:
        return []
    heir.inherited = [piece for piece in heir.inherited if piece not in pieces]
    if not heir.is_adopted and any(piece.keeper is None for piece in pieces):
        _do_again_without(book, heir)
    return pieces


def _do_again_without(book: Book, job: Job) -> None:
    """It was sent what another's result says. Better twice than not at all, where no attempt is left."""
    if job.phase in SENT and job.tries < book.config.attempts_max:
        requeue(book, job, "said_elsewhere", cancel="said_elsewhere", is_excluded=False)
