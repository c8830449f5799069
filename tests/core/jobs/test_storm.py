"""Events in any order, true or not: the machine refuses what makes no sense, and always comes to an end."""

from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.book import LANES_MAX
from lingua_scheduler.core.jobs.events import JobEffect, JobEvent
from lingua_scheduler.core.placement import AlreadyDone, NoNodeReason, Queued, Selected, StaleAttempt, Unplaced
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.ids import JobId, Language
from lingua_scheduler.protocol.node import JobResult, NodeFault
from tests.core.jobs.support import DE, ES, OLD, A, B, World, job_id, spec

JOBS = [(index, tgt) for index in range(3) for tgt in (ES, DE)]
NODES = [A, B, OLD]

_jobs = st.sampled_from(JOBS)
_ids = st.sampled_from([*(job_id(*job) for job in JOBS), JobId("nobody's")])
_attempts = st.integers(0, 5)
_nodes = st.sampled_from(NODES)
_node_ids = _nodes.map(lambda node: node.node_id)
_ms = st.integers(-5, 100_000)


@st.composite
def results(draw: st.DrawFn) -> ev.ResultArrived:
    index, tgt = draw(_jobs)
    node_id = draw(_node_ids)
    fields: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"success": st.booleans()},
            optional={
                "text_asr": st.sampled_from(["", "hello"]),
                "text_translated": st.sampled_from(["", "hola"]),
                "extra": st.sampled_from([{"reason": "ASR_EMPTY"}, {"reason": "NO_TEXT_ASSIGNED"}]),
                "carried_ms": st.integers(-5, 5_000),
                "merged_into": _ids,
                "error": st.sampled_from(["PROCESSING_ERROR", "MODEL_NOT_AVAILABLE", "INVALID_MESSAGE"]).map(
                    lambda code: NodeFault(code=code, message="")
                ),
            },
        )
    )
    result = JobResult(
        job_id=job_id(index, tgt),
        attempt_id=draw(_attempts),
        node_id=node_id,
        session_id="s",
        utterance_index=index,
        trace_id="t",
        **fields,
    )
    return ev.ResultArrived(result, node_id)


@st.composite
def placements(draw: st.DrawFn) -> ev.PlacementReplied:
    node, attempt = draw(_nodes), draw(_attempts)
    reply = draw(
        st.sampled_from(
            [
                Selected(node.node_id, node.instance_id, attempt, "two_choices"),
                Selected(node.node_id, node.instance_id, attempt, "two_choices"),
                Queued(1, 500),
                Unplaced(NoNodeReason.NONE_FOR_PAIR, {}),
                Unplaced(NoNodeReason.ALL_EXCLUDED, {}),
                AlreadyDone(job_id(), "completed"),
                StaleAttempt(attempt + 1),
            ]
        )
    )
    return ev.PlacementReplied(draw(_ids), attempt, reply, node if isinstance(reply, Selected) else None)


def _request(job: tuple[int, Language], ms: int, reason: FinalizeReason) -> ev.JobRequested:
    return ev.JobRequested(spec(job[0], ms=ms, reason=reason, tgt=job[1]))


requests = st.builds(_request, _jobs, st.sampled_from([100, 900, 1_500]), st.sampled_from(list(FinalizeReason)))
events: st.SearchStrategy[JobEvent] = st.one_of(
    requests,
    requests,
    placements(),
    placements(),
    results(),
    results(),
    st.builds(ev.StoreFailed, _ids, _attempts, st.sampled_from(["select", "finish", "requeue", "renew"])),
    st.builds(ev.SlotOffered, _ids),
    st.builds(ev.NodeAccepted, _ids, _attempts, _node_ids),
    st.builds(ev.NodeStarted, _ids, _attempts, _node_ids),
    st.builds(ev.NodeHeld, _ids, _attempts, _node_ids, _ms),
    st.builds(ev.NodeRejected, _ids, _attempts, _node_ids, st.sampled_from(["FULL", "MODEL_NOT_AVAILABLE"]), _ms),
    st.builds(ev.AssignFailed, _ids, _attempts, _node_ids),
    st.builds(ev.NodePartial, _ids, _node_ids, st.just("hel"), st.booleans()),
    st.builds(ev.FinishReplied, _ids, _attempts, st.sampled_from(["OK", "STALE_ATTEMPT"])),
    st.builds(ev.RequeueReplied, _ids, _attempts, st.sampled_from(["OK", "UNKNOWN_JOB"])),
    st.builds(
        ev.NodeLost,
        _node_ids,
        st.sampled_from(["closed", "suspect", "lost", "replaced"]),
        st.sampled_from([None, 0, 1]),
    ),
    st.builds(ev.AudioContinued),
    st.builds(ev.CancelRequested, _ids, st.sampled_from(["audio_lost", "left"])),
    st.builds(ev.TimeReached),
)


def fitting(world: World, event: JobEvent, is_true: bool) -> JobEvent:
    """The event as its job's node, or the store, would tell it now, so that it means something; or as it is."""
    result = event.result if isinstance(event, ev.ResultArrived) else None
    job = world.machine.book.jobs.get(JobId(result.job_id) if result else getattr(event, "job_id", JobId("")))
    if not is_true or job is None:
        return event
    changes: dict[str, Any] = {"attempt": job.attempt} if hasattr(event, "attempt") else {}
    if job.node is not None and hasattr(event, "node_id"):
        changes["node_id"] = job.node.node_id
    if result is not None:
        changes["result"] = msgspec.structs.replace(result, attempt_id=job.attempt)
    if isinstance(event, ev.PlacementReplied) and isinstance(event.reply, Selected):
        changes["reply"] = replace(event.reply, attempt=job.attempt)
    return replace(event, **changes)


class Storm:
    """A world and what must hold of all that it was ever told to do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.concluded: set[JobId] = set()
        self.claimed: set[int] = set()

    def feed(self, event: JobEvent) -> None:
        if isinstance(event, ev.JobRequested):
            self.claimed.add(event.spec.utterance.index)
        for effect in self.world.feed(event):
            self._judge(effect)
        book = self.world.machine.book
        is_asking = any(job.is_asking or job.ending is not None for job in book.jobs.values())
        assert not book.jobs or is_asking or self.world.machine.next_deadline_ms() is not None, "stuck"

    def _judge(self, effect: JobEffect) -> None:
        match effect:
            case ev.Conclude(told):
                assert told not in self.concluded, "concluded twice"
                self.concluded.add(told)
            case ev.FreeAudio(index):
                assert index in self.claimed, "freed twice"
                self.claimed.discard(index)
            case ev.SendAssign(_, assign):
                assert assign.attempt_id <= self.world.config.attempts_max
                assert JobId(assign.job_id) not in self.concluded
            case _:
                pass


@given(
    st.lists(st.tuples(events, st.integers(0, 4_000), st.sampled_from([True, True, False])), max_size=100),
    st.booleans(),
)
def test_nothing_that_is_said_breaks_it(story: list[tuple[JobEvent, int, bool]], waits: bool):
    world = World(carry_wait_ms=1_500 if waits else 0)
    storm = Storm(world)
    requested: set[JobId] = set()
    for event, later_ms, is_true in story:
        world.now += later_ms
        if isinstance(event, ev.JobRequested):
            requested.add(event.spec.job_id)
        storm.feed(fitting(world, event, is_true))
    storm.feed(ev.SessionEnded())
    for _ in range(3):
        for job in list(world.machine.book.jobs.values()):
            operations = ("select", "requeue", "finish") if job.is_asking else ("finish",)
            for operation in operations:
                storm.feed(ev.StoreFailed(job.job_id, job.attempt, operation))
            storm.feed(ev.FinishReplied(job.job_id, job.attempt, "OK"))
    assert world.machine.is_idle
    assert storm.concluded == requested
    assert not world.machine.book.custody.claims


def test_hours_of_talk_cost_no_memory():
    world = World()
    for index in range(2_000):
        world.run((A, B, OLD)[index % 3], index, ms=1_500)
        world.conclude((A, B, OLD)[index % 3], index)
        world.all.clear()
    book = world.machine.book
    assert not book.jobs
    assert not book.custody.claims
    assert not book.seen_by
    assert len(book.concluded[ES]) == 1


def test_a_session_that_names_ever_new_languages_costs_bounded_memory():
    world = World()
    for number in range(3 * LANES_MAX):
        tgt = Language(f"l{number}")
        world.request(0, tgt=tgt)
        world.select(A, 0, tgt=tgt)
        world.result(A, 0, tgt=tgt)
        world.finish(0, tgt=tgt)
    assert len(world.machine.book.lanes) == len(world.machine.book.concluded) == LANES_MAX
