"""The invariants of the job machine, computed from scratch."""

from collections import Counter

from lingua_scheduler.core.jobs import siblings
from lingua_scheduler.core.jobs.book import LANES_MAX, Book
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.ledger import RANGES_MAX
from lingua_scheduler.core.jobs.phases import SENT, SETTLED, UNPLACED, Phase

_TIMED = SENT | {Phase.WAITING, Phase.PARKED, Phase.WITHHELD, Phase.CLOSING}
_PLACED = SENT | {Phase.PARKED, Phase.WITHHELD}


def check_book(book: Book) -> None:
    """AssertionError where memory and promises do not agree."""
    for job_id, job in book.jobs.items():
        assert job.job_id == job_id
        _check_job(job)
        assert (job.ending is None) == (job in book.lane_of(job).jobs), f"{job_id}: in its lane until settled"
    _check_lanes(book)
    _check_custody(book)
    assert len(book.concluded) <= LANES_MAX + len(book.jobs)
    assert all(len(ranges) <= RANGES_MAX for ranges in book.concluded.values())
    assert book.seen_by.keys() <= {(job.node_session, job.index) for job in book.jobs.values()}
    assert not book.out, "an effect was not handed out"


def _check_job(job: Job) -> None:
    name = f"{job.job_id} ({job.phase})"
    assert job.phase is not Phase.GONE, name
    assert job.attempt >= 1, name
    if job.phase in _TIMED and not (job.phase is Phase.CLOSING and job.deadline_ms is None):
        assert job.deadline_ms is not None, f"{name}: nothing would ever end it"
    if job.phase in (Phase.GATED, Phase.SELECTING, Phase.FINISHING):
        assert job.deadline_ms is None, name
    if job.phase is Phase.REQUEUING:
        assert job.is_asking != (job.deadline_ms is not None), name
        assert job.left is not None, name
    assert job.is_asking or job.phase is not Phase.SELECTING, name
    assert not job.is_asking or job.phase in (Phase.SELECTING, Phase.REQUEUING), name
    if job.phase in _PLACED:
        assert job.node is not None, name
    if job.phase in UNPLACED:
        assert job.node is None, name
    if job.phase in SETTLED:
        assert job.ending is not None, name
    if job.phase is Phase.WITHHELD:
        assert job.fallback is not None, name
    orders = [piece.order for piece in job.inherited]
    assert orders == sorted(orders), f"{name}: says audio out of order"


def _check_lanes(book: Book) -> None:
    for language, lane in book.lanes.items():
        assert lane.tgt_lang == language
        indices = [job.index for job in lane.jobs]
        assert indices == sorted(indices)
        orders = [piece.order for piece in lane.carry]
        assert orders == sorted(orders)
        for job in lane.jobs:
            assert book.jobs.get(job.job_id) is job
            if job.phase is Phase.GATED:
                waits = lane.is_gated(job, book.config) or siblings.is_awaited(book, job)
                assert waits, f"{job.job_id} waits for nobody"


def _check_custody(book: Book) -> None:
    claims: Counter[int] = Counter()
    for job in book.jobs.values():
        if job.phase is not Phase.CLOSING:
            claims.update([job.index, *(piece.utterance.index for piece in job.inherited)])
    for lane in book.lanes.values():
        claims.update(piece.utterance.index for piece in lane.carry)
    assert claims == book.custody.claims, f"audio claimed by {claims}, counted {book.custody.claims}"
