"""Jobs in the store: placement, and the transitions that the attempt number fences."""

import random
from dataclasses import replace
from typing import cast

from lingua_scheduler.core.jobs.events import FinalStatus
from lingua_scheduler.core.placement import (
    AlreadyDone,
    Candidate,
    NoNodeReason,
    Queued,
    Selected,
    SelectReply,
    SelectRequest,
    StaleAttempt,
    StaleOwner,
    Unplaced,
    Why,
)
from lingua_scheduler.protocol.ids import InstanceId, JobId, Language, NodeId, SessionId, TenantId, TraceId
from lingua_scheduler.store.client import Script, ScriptRunner
from lingua_scheduler.store.connection import Reply
from lingua_scheduler.store.keys import lane_of
from lingua_scheduler.store.records import Fence, Hold, JobReply, JobStatus, JobStory, OpenStatus
from lingua_scheduler.store.replies import job_reply, mapping, number, text, texts

SELECT = Script("select_node")
_FINISH = Script("finish_job")
_REQUEUE = Script("requeue_job")
_RENEW = Script("renew_lease")
_LEAVE = Script("leave_queue")
_SEEDS = 2**31 - 2
_AGAIN_MAX = 10_000
"""Each AGAIN has looked at 64 more nodes: past this, 640,000 of them, something else is wrong."""


class JobStore:
    """One call each for what happens to a job; every call is safe to repeat with the same arguments."""

    def __init__(self, run: ScriptRunner, rng: random.Random) -> None:
        self._run = run
        self._client = run.client
        self._keys = run.keys
        self._rng = rng

    async def select(self, request: SelectRequest) -> SelectReply:
        """Finds a node for an attempt and reserves a slot on it, or says why not.

        One round trip, but where every one of 64 nodes that were looked at could not take the job: then the search goes
        on in another, so that no script runs long and a free slot is found if there is one. `Unplaced` takes the job
        out of the queue, if it stood there; everything else about it is left as it was.
        """
        words = request_words(request)
        walked = ""
        for _ in range(_AGAIN_MAX):
            reply = await self._run(SELECT, self._rng.randint(1, _SEEDS), walked, *words)
            if reply[0] != "AGAIN":
                return _select_reply(reply)
            walked = text(reply[1])
        raise AssertionError(f"no end to the nodes of {request.pairs}")

    async def finish(  # noqa: PLR0913 - the words of one transition
        self, job_id: JobId, attempt: int, node_id: NodeId | None, status: FinalStatus, *, hold: Hold = "none",
        cause: str = "", fence: Fence | None = None, result: bytes = b"",
    ) -> JobReply:  # fmt: skip
        """Ends the job and frees its slot. `node_id` None: in the owner's own name, wherever the job is or waits.

        `hold` becomes the session's affinity to `node_id`; "none" removes it. A job that the store does not know (it
        never found a node) is recorded with its end where the owner says so. `fence`: the session can be resumed; its
        owner's epoch counts too, and `result`, if any, goes into its outbox. Words: OK, REPEAT, STALE_ATTEMPT,
        NOT_ASSIGNED, ALREADY_FINAL, UNKNOWN_JOB, STALE_EPOCH.
        """
        assert hold == "none" or node_id is not None, "an affinity is to a node"
        assert fence or not result, "only a session that can be resumed has an outbox"
        words = (job_id, attempt, node_id or "", status, hold, cause)
        return job_reply(await self._run(_FINISH, *words, *_fence_words(fence), result))

    async def requeue(self, job_id: JobId, attempt: int, cause: str, *, fence: Fence | None = None) -> JobReply:
        """Takes the attempt's slot back: what its node says counts no more, and `select` may open the next attempt.

        Words: OK, REPEAT, STALE_ATTEMPT, ALREADY_FINAL, UNKNOWN_JOB, STALE_EPOCH.
        """
        return job_reply(await self._run(_REQUEUE, job_id, attempt, cause, *_fence_words(fence)))

    async def renew_lease(
        self, job_id: JobId, attempt: int, node_id: NodeId, lease_ms: int, status: OpenStatus | None = None
    ) -> JobReply:
        """Moves the lease's end to `lease_ms` from now, and the status forward (`accepted` does not undo `running`).

        Words: OK, STALE_ATTEMPT, NOT_ASSIGNED, ALREADY_FINAL, UNKNOWN_JOB.
        """
        return job_reply(await self._run(_RENEW, job_id, attempt, node_id, lease_ms, status or ""))

    async def leave_queue(self, job_id: JobId) -> JobReply:
        """The job no longer waits for a slot, and gives up one that is kept for it. Words: OK, UNKNOWN_JOB."""
        return job_reply(await self._run(_LEAVE, job_id))

    async def story(self, job_id: JobId) -> JobStory | None:
        """What the store remembers of the job, for an hour. None where it does not know it."""
        fields = mapping(await self._client.call("HGETALL", self._keys.job(job_id)))
        if not fields:
            return None
        story = _story(job_id, fields)
        return await self._with_place(story, fields["line"]) if fields.get("line") else story

    async def _with_place(self, story: JobStory, line: str) -> JobStory:
        queue = self._keys.queue(line)
        rank, gap = await self._client.pipeline([("ZRANK", queue, story.job_id), ("HGET", f"{queue}:turns", "gap_ms")])
        if rank is None:
            return story
        return replace(story, waits_behind=number(rank), estimated_wait_ms=(number(rank) + 1) * number(gap))


def request_words(request: SelectRequest) -> tuple[str | int, ...]:
    """The arguments of `select_node` that come from the request, in its header's order."""
    lane = lane_of(request.pairs)
    pairs = [f"{src}:{tgt}" for src, tgt in request.pairs]
    is_whole = "~" in lane or len(pairs) == 1
    return (
        request.job_id, request.job_key, request.attempt, request.session_id, request.tenant_id,
        request.utterance_index, lane, ",".join(pairs), "" if is_whole else ",".join(pairs[1:]),
        ",".join(["", *sorted(request.services), ""]),
        request.lease_ms, request.wait_ms, request.trace_id, request.preferred_instance,
        _listed(request.exclude), int(request.exclude_is_soft),
        request.affinity_node or "", request.affinity_wait_ms, request.bind or "",
        "" if request.session_epoch is None else request.session_epoch,
    )  # fmt: skip


def _fence_words(fence: Fence | None) -> tuple[str | int, str | int]:
    return (fence.session_id, fence.epoch) if fence else ("", "")


def _listed(nodes: frozenset[NodeId]) -> str:
    """`,a,b,`: the script looks for `,a,`."""
    return ",".join(["", *sorted(nodes), ""]) if nodes else ""


def _select_reply(reply: list[Reply]) -> SelectReply:
    match reply[0]:
        case "SELECTED":
            node, instance, attempt, why, flat = reply[1:6]
            drawn = texts(flat)
            return Selected(
                node_id=NodeId(text(node)),
                instance_id=InstanceId(text(instance)),
                attempt=number(attempt),
                why=cast("Why", text(why)),
                candidates=tuple(
                    Candidate(NodeId(one), int(load) / 1000) for one, load in zip(drawn[::2], drawn[1::2], strict=True)
                ),
            )
        case "QUEUED":
            return Queued(*(number(one) for one in reply[1:4]))
        case "NO_NODE":
            counts = mapping(reply[2])
            return Unplaced(NoNodeReason(text(reply[1])), {kind: int(count) for kind, count in counts.items()})
        case "DONE":
            return AlreadyDone(JobId(text(reply[1])), text(reply[2]))
        case "STALE_ATTEMPT":
            return StaleAttempt(number(reply[1]))
        case "STALE_EPOCH":
            return StaleOwner(number(reply[1]))
        case word:
            raise AssertionError(f"select_node answered {word}")


def _story(job_id: JobId, fields: dict[str, str]) -> JobStory:
    pairs = [pair.split(":") for pair in fields.get("pairs", "").split(",") if pair]
    return JobStory(
        job_id=job_id,
        status=cast("JobStatus", fields["status"]),
        attempt=number(fields["attempt"]),
        node_id=NodeId(fields["node"]) if fields.get("node") else None,
        owner=InstanceId(fields.get("owner", "")),
        session_id=SessionId(fields.get("session", "")),
        tenant_id=TenantId(fields.get("tenant", "")),
        utterance_index=number(fields.get("index")),
        pairs=tuple((Language(src), Language(tgt)) for src, tgt in pairs),
        trace_id=TraceId(fields.get("trace", "")),
        times_ms={name[:-3]: number(value) for name, value in fields.items() if name.endswith("_ms")},
        choices={
            int(name[7:]): " ".join([value, *fields.get(f"others:{name[7:]}", "").split()])
            for name, value in fields.items()
            if name.startswith("choice:")
        },
        causes={int(name[6:]): value for name, value in fields.items() if name.startswith("cause:")},
    )
