"""What nodes say: whom to believe, what a result means, and what becomes of an error."""

from typing import Any

import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.faults import FAULTS, fault_of
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.utterance import Missing, Translated
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.node import NodeFault
from tests.core.jobs.support import A, B, C, World, job_id, spec, with_pipeline


def why(world: World) -> str:
    return world.one(ev.RefuseReport).why


# ------------------------------------------------------------------------------------------- whom to believe


def test_a_result_of_an_older_attempt_is_refused():
    world = World()
    world.run(A)
    world.lose(A, "suspect")
    world.again(B)
    world.result(A, attempt=1)
    assert why(world) == "stale_attempt"
    assert world.phase() is Phase.ASSIGNED


def test_the_same_node_is_held_to_its_newer_attempt():
    world = World()
    world.run(A)
    world.pass_ms(60_000)
    world.again(A)
    world.result(A, attempt=1)
    assert why(world) == "stale_attempt"
    world.conclude(A, attempt=2)
    assert isinstance(world.outcomes()[0], Translated)


def test_a_node_that_never_had_the_job_is_a_stranger():
    world = World()
    world.run(A)
    world.result(B)
    assert why(world) == "stranger"
    for report in (world.ack, world.start, world.hold, world.reject, world.partial):
        report(B)
        assert why(world) == "stranger"
    assert world.phase() is Phase.ASSIGNED


def test_a_result_before_the_job_was_sent_is_a_strangers():
    world = World()
    world.request()
    world.result(A)
    assert why(world) == "stranger"


def test_a_second_result_is_refused_for_ever():
    world = World()
    world.run(A)
    world.result(A)
    world.result(A, text_translated="adiós")
    assert why(world) == "repeat"
    world.finish()
    world.pass_ms(3_600_000)
    world.result(A)
    assert why(world) == "repeat"
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.result.text_translated == "hola"


def test_a_job_that_nobody_asked_for_is_unknown():
    world = World()
    world.result(A, 7)
    assert why(world) == "unknown_job"
    world.feed(ev.NodeAccepted(job_id(7), 1, A.node_id))
    assert why(world) == "unknown_job"


def test_an_empty_extra_result_for_an_answered_job_is_ignored():
    world = World()
    world.run(A)
    world.result(A)
    assert not world.empty(A, reason="NO_TEXT_ASSIGNED")
    world.finish()
    assert not world.empty(A, reason="NO_TEXT_ASSIGNED")


def test_an_ack_that_comes_late_does_not_undo_what_is_known():
    world = World()
    world.run(A)
    world.start(A)
    world.ack(A)
    assert world.phase() is Phase.RUNNING
    assert not world.of(ev.RefuseReport, world.all)


# ------------------------------------------------------------------------------------------- what a success means


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text_asr": "", "text_translated": "", "extra": {"reason": "ASR_EMPTY"}}, "no_speech"),
        ({"text_asr": None, "text_translated": None, "extra": {"reason": "ASR_EMPTY"}}, "no_speech"),
        ({"text_asr": "", "text_translated": "", "extra": {"reason": "NO_TEXT_ASSIGNED"}}, "merged"),
        ({"text_asr": " \n", "text_translated": "\u3000"}, "silence_detected"),
        ({"text_asr": None, "text_translated": None, "extra": {"reason": 7}}, "silence_detected"),
    ],
)
def test_a_success_without_text_says_why(fields: dict[str, Any], reason: str):
    world = World()
    world.run(A)
    world.result(A, **fields)
    assert world.one(ev.FinishJob).status == "completed_no_text"
    assert world.one(ev.CountNodeOutcome).is_good
    world.finish()
    assert world.missing() == reason
    assert not [effect for effect in world.of(ev.Progress, world.all) if effect.event == "ERROR"]


@pytest.mark.parametrize(
    "fields",
    [
        {"text_asr": "hello", "text_translated": "", "extra": {"reason": "ASR_EMPTY"}},
        {"text_asr": "", "text_translated": "hola", "extra": {"reason": "NO_TEXT_ASSIGNED"}},
        {"text_asr": "", "text_translated": "", "tts_audio": "AAAA"},
    ],
)
def test_what_can_be_heard_or_read_is_never_thrown_away(fields: dict[str, Any]):
    world = World()
    world.run(A)
    world.conclude(A, **fields)
    assert isinstance(world.outcomes()[0], Translated)


# ------------------------------------------------------------------------------------------- what an error means


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_every_code_is_retried_or_final_as_the_table_says(code: ErrorCode):
    world = World()
    world.run(A)
    world.error(A, code=code)
    fault = FAULTS[code]
    assert bool(world.of(ev.RequeueJob)) == fault.is_retryable
    assert bool(world.of(ev.CountNodeOutcome)) == (fault.blame == "node")
    if not fault.is_retryable:
        world.finish()
        assert world.outcomes()[0] == Missing("job_failed", code, "it broke")


@pytest.mark.parametrize("code", ["CUDA_OOM", "", "ROOM_FULL"])
def test_a_code_that_makes_no_sense_is_a_processing_error(code: str):
    assert fault_of(NodeFault(code=code, message=""))[0] is ErrorCode.PROCESSING_ERROR


def test_a_failure_without_an_error_is_a_processing_error():
    assert fault_of(None)[0] is ErrorCode.PROCESSING_ERROR


def test_an_utterance_that_fails_on_two_nodes_is_poison():
    world = World()
    world.run(A)
    world.error(A)
    world.again(B)
    world.error(B)
    assert not world.of(ev.RequeueJob)
    assert world.one(ev.FinishJob).status == "failed"
    world.finish()
    assert world.outcomes()[0] == Missing("job_failed", ErrorCode.PROCESSING_ERROR, "it broke")
    assert not world.of(ev.CountNodeOutcome, world.all)


def test_a_node_that_alone_fails_an_utterance_is_to_blame():
    world = World()
    world.run(A)
    world.error(A)
    world.again(B)
    world.result(B)
    assert world.of(ev.CountNodeOutcome) == [
        ev.CountNodeOutcome(B.node_id, is_good=True),
        ev.CountNodeOutcome(A.node_id, is_good=False),
    ]


def test_a_node_that_recovers_is_not_blamed():
    world = World()
    world.run(A)
    world.error(A)
    world.again(A)
    world.result(A)
    assert world.one(ev.CountNodeOutcome).is_good


def test_failing_twice_on_the_only_node_is_not_poison():
    world = World()
    world.run(A)
    for _ in range(3):
        world.error(A)
        world.again(A)
    world.error(A)
    world.finish()
    assert world.of(ev.CountNodeOutcome, world.all) == [ev.CountNodeOutcome(A.node_id, is_good=False)]


def test_other_failures_do_not_make_poison():
    world = World()
    world.run(A)
    world.error(A, code="NODE_OVERLOADED")
    world.again(B)
    world.error(B)
    world.again(C)
    world.conclude(C)
    assert isinstance(world.outcomes()[0], Translated)


def test_a_missing_model_marks_the_service_it_names():
    world = World()
    world.run(A)
    world.error(A, code="MODEL_NOT_AVAILABLE", details={"service": "TTS"})
    assert world.one(ev.MarkUnavailable) == ev.MarkUnavailable(A.node_id, "tts")
    assert world.one(ev.RequeueJob)


@pytest.mark.parametrize("details", [None, {}, {"service": "x"}, ["tts"], "tts"])
def test_a_missing_model_without_a_service_marks_all_that_the_job_needs(details: object):
    world = World()
    world.feed(ev.JobRequested(with_pipeline(spec(), pipeline=spec().speaker.pipeline)))
    world.select(A)
    world.error(A, code="MODEL_NOT_AVAILABLE", details=details)
    assert [mark.service for mark in world.of(ev.MarkUnavailable)] == ["asr", "nmt", "tts"]


def test_a_missing_model_can_be_a_reason_to_reject():
    world = World()
    world.run(A)
    world.reject(A, code="MODEL_NOT_AVAILABLE")
    assert world.of(ev.MarkUnavailable)
    assert world.one(ev.RequeueJob).cause == "rejected"


def test_a_rejected_job_goes_elsewhere_and_blames_nobody():
    world = World()
    world.run(A)
    world.reject(A)
    assert not world.of(ev.CountNodeOutcome)
    assert not world.of(ev.SendCancel)
    world.again(B)
    world.conclude(B)
    assert isinstance(world.outcomes()[0], Translated)


def test_the_last_rejection_says_why_the_job_failed():
    world = World()
    world.run(A)
    for where, following in [(A, B), (B, C), (C, A)]:
        world.reject(where)
        world.again(following)
    world.reject(A, code="DRAINING")
    world.finish()
    assert world.outcomes()[0] == Missing("job_failed", ErrorCode.NODE_OVERLOADED, "DRAINING")


def test_an_assignment_that_did_not_arrive_is_a_new_attempt():
    world = World()
    world.run(A)
    world.feed(ev.AssignFailed(job_id(), 1, A.node_id))
    assert world.one(ev.RequeueJob).cause == "not_sent"
    world.again(A)
    world.conclude(A)
    assert isinstance(world.outcomes()[0], Translated)


def test_attempts_that_no_node_was_sent_are_not_among_the_four_and_do_not_follow_at_once():
    """A lost connection that the store still had for good took all four attempts of an utterance within a second."""
    world = World()
    world.run(A)
    world.feed(ev.AssignFailed(job_id(), 1, A.node_id))
    for attempt in range(2, 5):
        world.again(A)
        world.feed(ev.AssignFailed(job_id(), attempt, A.node_id))
        assert not world.of(ev.RequeueJob), "not at once again"
        world.pass_ms(250)
        assert world.one(ev.RequeueJob).attempt == attempt
    world.again(A)
    world.conclude(A)
    assert isinstance(world.outcomes()[0], Translated)


# ------------------------------------------------------------------------------------------- a node that is lost


@pytest.mark.parametrize("cause", ["closed", "lost", "replaced"])
def test_a_lost_node_means_a_new_attempt_at_once(cause: Any):
    world = World()
    world.run(A)
    assert world.lose(A, cause) == [ev.RequeueJob(job_id(), 1, A.node_id, f"node_{cause}")]


def test_a_suspect_node_is_told_to_forget_what_goes_elsewhere():
    world = World()
    world.run(A)
    world.lose(A, "suspect")
    assert world.one(ev.SendCancel) == ev.SendCancel(A, job_id(), "node_suspect")


def test_the_loss_of_an_older_connection_touches_nothing_newer():
    world = World()
    world.run(A)
    assert not world.feed(ev.NodeLost(A.node_id, "replaced", epoch=A.epoch - 1))
    assert world.feed(ev.NodeLost(A.node_id, "closed", epoch=A.epoch + 1))


def test_a_loss_without_an_epoch_means_every_connection():
    world = World()
    world.run(A)
    assert world.feed(ev.NodeLost(A.node_id, "lost"))


def test_the_loss_of_another_node_changes_nothing():
    world = World()
    world.run(A)
    assert not world.lose(B)


def test_a_result_that_was_taken_is_not_lost_with_its_node():
    world = World()
    world.run(A)
    world.result(A)
    assert not world.lose(A)
    world.finish()
    assert isinstance(world.outcomes()[0], Translated)
