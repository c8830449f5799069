"""Reading the arrays that scripts return. Another shape than the script's header says is a bug, no fault of Redis."""

from collections.abc import Sequence
from typing import cast

from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId, SessionId
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.records import HeldJob, JobReply, JobStatus, NodeReply, Offer, Word


def text(reply: Reply) -> str:
    """A string, or a number as Redis prints it; "" for nil."""
    return "" if reply is None else str(reply)


def number(reply: Reply) -> int:
    """An integer, also where it was stored as text; 0 for nil and ""."""
    return int(float(text(reply) or 0))


def items(reply: Reply) -> list[Reply]:
    return cast("list[Reply]", reply) if isinstance(reply, list) else []


def texts(reply: Reply) -> list[str]:
    return [text(item) for item in items(reply)]


def mapping(reply: Reply) -> dict[str, str]:
    """HGETALL's flat array."""
    flat = texts(reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def offers(reply: Reply) -> tuple[Offer, ...]:
    """Flat: job, owner, …"""
    flat = texts(reply)
    return tuple(Offer(JobId(job), InstanceId(owner)) for job, owner in zip(flat[::2], flat[1::2], strict=True))


def held_jobs(reply: Reply) -> tuple[HeldJob, ...]:
    """Flat: job, attempt, session, owner, node, …"""
    flat = texts(reply)
    return tuple(
        HeldJob(JobId(job), int(attempt), SessionId(session), InstanceId(owner), NodeId(node))
        for job, attempt, session, owner, node in zip(*(flat[at::5] for at in range(5)), strict=True)
    )


def node_reply(reply: Sequence[Reply]) -> NodeReply:
    """word, epoch, held jobs, offers; what follows the word may be missing."""
    word, epoch, jobs, offered = (*reply, *(None,) * (4 - len(reply)))
    return NodeReply(Word(text(word)), number(epoch), held_jobs(jobs), offers(offered))


def job_reply(reply: Sequence[Reply]) -> JobReply:
    """word, attempt, status, offers; what follows the word may be missing."""
    word, attempt, status, offered = (*reply, *(None,) * (4 - len(reply)))
    stored = cast("JobStatus", text(status)) if status else None
    return JobReply(Word(text(word)), number(attempt), stored, offers(offered))
