"""Jobs of one utterance in several languages: where one node hears it once for all, they are to meet there.

A node of protocol 2 recognises speech once for all jobs of an utterance that it has. So the first job of an utterance
for a room chooses a node, and the others follow it, as they would follow audio that a node keeps: that node or, within
`affinity_wait_ms`, none. They wait while the first one's question is on its way and no longer: a language that finds no
node holds no other up.
"""

from collections.abc import Iterator

from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.events import NodeTraits
from lingua_scheduler.core.jobs.job import Job
from lingua_scheduler.core.jobs.phases import SENT, Phase


def is_awaited(book: Book, job: Job) -> bool:
    """Whether an earlier language of the utterance is about to learn of its first node."""
    if not job.spec.is_for_room or job.attempt > 1:
        return False
    before = _others(book, job)
    return any(one.phase is Phase.SELECTING and one.attempt == 1 and one.ending is None for one in before)


def hearer_for(book: Book, job: Job) -> NodeTraits | None:
    """The node of protocol 2 that hears the utterance already for another language."""
    if not job.spec.is_for_room:
        return None
    there = (one.node for one in _others(book, job) if one.phase in SENT or one.phase is Phase.PARKED)
    return next((node for node in there if node is not None and node.protocol == 2), None)


def _others(book: Book, job: Job) -> Iterator[Job]:
    return (one for one in book.jobs.values() if one is not job and one.index == job.index)
