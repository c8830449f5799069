"""A job that nothing happens to: two questions to the store, one message, one outcome."""

from typing import Any

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.phases import Phase
from lingua_scheduler.core.utterance import Translated
from tests.core.jobs.support import A, World, job_id, pcm


def test_a_sentence_costs_two_questions_to_the_store():
    world = World()
    world.request()
    world.select(A)
    world.ack(A)
    world.start(A)
    world.pass_ms(1500)
    world.result(A)
    world.finish()

    asked = [effect for effect in world.all if isinstance(effect, ev.SelectNode | ev.FinishJob | ev.RenewLease)]
    assert [type(effect) for effect in asked] == [ev.SelectNode, ev.FinishJob]
    outcome = world.outcomes()[0]
    assert isinstance(outcome, Translated)
    assert outcome.result.text_translated == "hola"
    assert (outcome.assigned_at_ms, outcome.arrived_at_ms) == (1_000, 2_500)
    assert world.freed() == [0]
    assert world.machine.is_idle
    assert world.machine.next_deadline_ms() is None


def test_progress_is_told_once_for_each_step():
    world = World()
    world.run(A)
    world.ack(A)
    world.ack(A)
    world.partial(A)
    world.partial(A, text="hello", is_final=True)
    world.conclude(A)

    assert [effect.event for effect in world.of(ev.Progress, world.all)] == [
        "DISPATCHED",
        "NODE_ACCEPTED",
        "ASR_PARTIAL",
        "ASR_FINAL",
        "NMT_DONE",
    ]
    assert [effect.text for effect in world.of(ev.ForwardPartial, world.all)] == ["hel", "hello"]


def test_the_stages_are_told_with_the_outcome_where_nothing_was_said_before():
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["ASR_FINAL", "NMT_DONE"]),
        ({"text_asr": None}, ["NMT_DONE"]),
    ]
    for fields, stages in cases:
        world = World()
        world.run(A)
        world.conclude(A, **fields)
        told = [effect.event for effect in world.of(ev.Progress, world.all)]
        assert told == ["DISPATCHED", *stages]


def test_the_outcome_is_told_once_the_store_has_it():
    world = World()
    world.run(A)
    world.result(A)
    assert world.phase() is Phase.FINISHING
    assert not world.of(ev.Conclude)
    assert world.one(ev.FinishJob) == ev.FinishJob(job_id(), 1, A.node_id, "completed", "none")

    world.finish(word="REPEAT")
    assert world.of(ev.Conclude)


def test_the_audio_is_sent_as_it_came():
    world = World()
    world.run(A, ms=500)
    sent = world.one(ev.SendAssign)
    assert sent.node == A
    assert sent.audio == pcm(0, 8_000)
    assert sent.assign.audio == ""


def test_a_silent_sentence_is_missing_for_its_reason():
    for reason, told in [("ASR_EMPTY", "no_speech"), ("NO_TEXT_ASSIGNED", "merged"), (None, "silence_detected")]:
        world = World()
        world.run(A)
        world.empty(A, reason=reason)
        assert world.one(ev.FinishJob).status == "completed_no_text"
        world.finish()
        assert world.missing() == told
