"""Jobs that another instance began: an attempt that runs goes on, the audio for the next one comes from the client."""

from dataclasses import replace

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.book import Book
from lingua_scheduler.core.jobs.carry import Piece
from lingua_scheduler.core.jobs.phases import Phase


def on_adopted(book: Book, event: ev.JobAdopted) -> None:
    """An attempt on a node counts as sent: whoever placed it has sent it, or its lease will end."""
    job = book.open(event.spec)
    job.attempt = event.attempt
    job.said_samples, job.is_whole = event.said_samples, event.said_samples > 0
    node = event.node
    if node is None:
        return
    book.sent_count += 1
    job.node, job.sent_number, job.sent_at_ms = node, book.sent_count, book.now_ms
    if node.protocol == 1:
        book.seen_by.setdefault((job.node_session, job.index), set()).add(node.node_id)
    lease_ms = min(max(event.lease_ms, 0), book.config.job_timeout_ms)
    job.phase, job.is_adopted = Phase.ASSIGNED, True
    job.deadline_ms = job.store_lease_until_ms = book.now_ms + lease_ms


def on_tail_adopted(book: Book, event: ev.TailAdopted) -> None:
    """Who has it to say keeps it; else it is the next one's. A node that may have it hears that it is not its own."""
    tail = event.tail
    piece = Piece(tail.job_id, event.utterance, min(tail.samples, event.utterance.samples), None)
    book.claim([piece])
    lane = book.lane(tail.tgt_lang)
    heir = book.jobs.get(tail.heir) if tail.heir is not None else None
    if heir is None:
        heir = next((job for job in lane.jobs if job.index > tail.index), None)
    if heir is not None and heir.ending is None:
        book.inherit(heir, [piece])
        return
    lane.give([piece])


def on_audio_restored(book: Book, event: ev.AudioRestored) -> None:
    """Jobs of the utterance that wait for it go on with `placing.advance`."""
    for job in book.jobs.values():
        if job.index == event.index and not job.utterance.audio:
            job.spec = replace(job.spec, utterance=replace(job.utterance, audio=event.audio))
    book.refill(event.index, event.audio)
