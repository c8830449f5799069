"""Audio that is sent again, jobs that are dropped: nothing twice, nothing lost, whoever retries what."""

from typing import Literal

import pytest

from lingua_scheduler.node.aggregation.audio_events import (
    RATE,
    Adopt,
    Conclude,
    Cut,
    Discard,
    Hold,
    Ignore,
    Recognize,
    Refuse,
    SessionEnded,
    Span,
    Taken,
    TimeReached,
)
from lingua_scheduler.node.aggregation.limits import AudioLimits
from tests.node.aggregation.shell import Shell, arrived, as_spans, job, noise, speech, true_audio

# ------------------------------------------------------------------------------------------- attempts


@pytest.mark.parametrize(("attempt", "why"), [(1, "stale_attempt"), (2, "duplicate")])
@pytest.mark.parametrize("stage", ["held", "working", "reported", "dropped"])
def test_an_attempt_that_is_not_later_is_ignored(
    attempt: int, why: Literal["stale_attempt", "duplicate"], stage: str
) -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT if stage == "held" else Cut.MANUAL, attempt=2))
    if stage == "reported":
        shell.report_all()
    if stage == "dropped":
        shell.drop(job(0))
    again = shell.feed(arrived(0, 0.5, Cut.TIMEOUT, attempt=attempt))
    assert again == [Ignore(job(0), attempt, why)]


def test_a_later_attempt_of_a_held_job_waits_on_under_its_number() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT), 0)
    assert shell.feed(arrived(0, 0.5, Cut.TIMEOUT, attempt=2), 4000) == [Hold(job(0), 2, "short", 10_000)]
    shell.feed(arrived(1, 1.0, Cut.MANUAL))
    shell.report_all()
    assert shell.heard() == [Span(0, 24_000)]


def test_a_later_attempt_of_a_job_being_recognised_is_answered_by_the_same_work() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    shell.feed(arrived(1, 1.0, Cut.MANUAL))
    assert shell.feed(arrived(1, 1.0, Cut.MANUAL, attempt=2)) == [Adopt(job(1), 2)]
    assert shell.feed(arrived(0, 0.5, Cut.TIMEOUT, attempt=3)) == [Adopt(job(0), 3)]
    shell.report_all()
    assert [(job_id, attempt) for job_id, attempt, _ in shell.results] == [(job(1), 2)]
    assert shell.heard() == [Span(0, 24_000)]


def test_a_reported_job_asked_for_again_is_recognised_again_with_a_fresh_tail() -> None:
    """Its result was lost on the way: the scheduler knows nothing of a tail, and sends all of the job."""
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION))
    first = shell.plans[job(0)]
    shell.report_all()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION, attempt=2))
    again = shell.plans[job(0)]
    assert shell.spans_of(again) == shell.spans_of(first)
    assert again.carried == first.carried
    shell.feed(arrived(1, 1, Cut.MANUAL))
    assert shell.batches[3].samples == first.carried + RATE


def test_a_reported_job_asked_for_again_leaves_its_tail_to_the_job_that_took_it() -> None:
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION))
    tail = shell.plans[job(0)].carried
    shell.report_all()
    shell.feed(arrived(1, 1, Cut.MANUAL))
    shell.feed(arrived(0, 10, Cut.MAX_DURATION, attempt=2))
    assert shell.plans[job(0)].carried == tail
    assert as_spans(shell.spans_of(shell.plans[job(0)])) == [Span(0, 10 * RATE - tail)]
    assert as_spans(shell.spans_of(shell.plans[job(1)])) == [Span(10 * RATE - tail, 11 * RATE)]


def test_too_many_open_jobs_are_refused_and_taken_once_there_is_room() -> None:
    shell = Shell(AudioLimits(open_jobs_max=2))
    for number in range(2):
        shell.feed(arrived(number, 0.2, Cut.MANUAL))
    assert shell.feed(arrived(2, 0.2, Cut.MANUAL)) == [Refuse(job(2), 1)]
    shell.report(job(0))
    assert isinstance(shell.feed(arrived(2, 0.2, Cut.MANUAL))[-1], Conclude)


def test_a_job_forgotten_after_many_others_is_new_again() -> None:
    shell = Shell(AudioLimits(open_jobs_max=2, known_jobs_max=3))
    for number in range(5):
        shell.feed(arrived(number, 0.1, Cut.MANUAL))
        shell.report_all()
    assert isinstance(shell.feed(arrived(0, 0.1, Cut.MANUAL))[-1], Conclude)
    assert isinstance(shell.feed(arrived(4, 0.1, Cut.MANUAL))[-1], Ignore)


# ------------------------------------------------------------------------------------------- carried audio again


@pytest.mark.parametrize("told_start", [True, False])
def test_carried_audio_sent_again_to_the_node_that_has_it_is_not_taken_again(told_start: bool) -> None:
    shell = Shell()
    audio = true_audio(0, 15 * RATE)
    shell.feed(arrived(0, audio[: 10 * RATE], Cut.MAX_DURATION, start=0 if told_start else None))
    tail = shell.plans[job(0)].carried
    shell.report_all()
    head = 10 * RATE - tail
    again = arrived(1, audio[head:], Cut.MANUAL, carried=tail, start=head if told_start else None)
    shell.feed(again)
    shell.report_all()
    assert as_spans(shell.said()) == [Span(0, 15 * RATE)]


def test_carried_audio_is_taken_by_a_node_that_never_had_it() -> None:
    shell = Shell()
    shell.feed(arrived(7, true_audio(1000, 5 * RATE), Cut.MANUAL, carried=3 * RATE))
    assert shell.plans[job(7)].taken == (Taken(job(7), 3 * RATE),), "sent in front of its own"
    shell.report_all()
    assert shell.said() == [Span(1000, 1000 + 5 * RATE)]


def test_carried_audio_of_a_job_that_ran_elsewhere_is_taken() -> None:
    """Job 1 ran on another node, which died after its result: what it carried is new here."""
    for start in (None, 2 * RATE):
        shell = Shell()
        shell.feed(arrived(0, true_audio(0, RATE // 2), Cut.TIMEOUT))
        shell.feed(arrived(2, true_audio(2 * RATE, 4 * RATE), Cut.MANUAL, carried=3 * RATE, start=start))
        shell.report_all()
        assert shell.said() == [Span(0, RATE // 2), Span(2 * RATE, 6 * RATE)]


def test_of_a_longer_head_only_what_is_missing_is_taken() -> None:
    """The head reaches back over the audio of a held job that is here, to audio that never was."""
    shell = Shell()
    shell.feed(arrived(4, true_audio(4 * RATE, RATE // 2), Cut.TIMEOUT, start=4 * RATE))
    shell.feed(arrived(5, true_audio(2 * RATE, 5 * RATE), Cut.MANUAL, carried=5 * RATE // 2, start=2 * RATE))
    shell.report_all()
    assert as_spans(shell.said()) == [Span(2 * RATE, 7 * RATE)]
    assert shell.merged == {job(4): job(5)}


@pytest.mark.parametrize("carried", [-3, 10**9])
def test_a_carried_length_that_makes_no_sense_loses_no_audio(carried: int) -> None:
    shell = Shell()
    shell.feed(arrived(0, 1, Cut.MANUAL, carried=carried))
    shell.report_all()
    assert sum(map(len, shell.heard())) == RATE


# ------------------------------------------------------------------------------------------- dropped jobs


def test_a_dropped_held_job_leaves_the_others_waiting() -> None:
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 4000), Cut.TIMEOUT))
    shell.feed(arrived(1, true_audio(4000, 4000), Cut.TIMEOUT))
    shell.feed(arrived(2, true_audio(8000, 4000), Cut.TIMEOUT))
    shell.drop(job(1))
    shell.feed(TimeReached(), 10_000)
    shell.report_all()
    assert shell.said() == [Span(0, 4000), Span(8000, 12_000)]
    assert shell.merged == {job(0): job(2)}


def test_jobs_merged_into_a_dropped_one_are_recognised_for_themselves() -> None:
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 4000), Cut.TIMEOUT))
    shell.feed(arrived(1, true_audio(4000, 4000), Cut.TIMEOUT))
    shell.feed(arrived(2, true_audio(8000, RATE), Cut.MANUAL))
    discarded, recognised, plan = shell.drop(job(2))
    assert discarded == Discard((1,))
    assert isinstance(recognised, Recognize)
    assert plan == Conclude(job(1), (2,), merged=(job(0),), taken=(Taken(job(0), 4_000),))
    shell.feed(arrived(2, true_audio(8000, RATE), Cut.MANUAL, attempt=2))
    shell.report_all()
    assert as_spans(shell.said()) == [Span(0, 8000 + RATE)]


def test_whoever_speaks_for_a_dropped_monologue_does_not_claim_its_tail() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    shell.feed(arrived(1, 10, Cut.MAX_DURATION))
    assert shell.plans[job(1)].carried
    assert shell.drop(job(1))[-1] == Conclude(job(0), (2,), carried=0)


def test_a_dropped_job_is_taken_out_of_the_result_it_was_merged_into() -> None:
    """It runs elsewhere now: said here as well, it would be said twice."""
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 4000), Cut.TIMEOUT))
    shell.feed(arrived(1, true_audio(4000, RATE), Cut.MANUAL))
    assert shell.drop(job(0))[-1] == Conclude(job(1), (2,))
    shell.report_all()
    assert shell.said() == [Span(4000, 4000 + RATE)]


def test_a_dropped_job_takes_the_tail_it_carried_out_of_its_successor() -> None:
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 10 * RATE), Cut.MAX_DURATION))
    shell.feed(arrived(1, true_audio(10 * RATE, RATE), Cut.MANUAL))
    shell.drop(job(0))
    shell.feed(arrived(0, true_audio(0, 10 * RATE), Cut.MAX_DURATION, attempt=2))
    assert shell.plans[job(0)].carried == 0, "it came after its turn: nobody is left to take a tail"
    for number in (0, 1):
        shell.report(job(number))
    assert as_spans(shell.said()) == [Span(0, 11 * RATE)]


def test_a_dropped_job_takes_along_the_tail_of_a_reported_one() -> None:
    """The scheduler knows of that tail, and sends it again at the head of the next attempt."""
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 10 * RATE), Cut.MAX_DURATION))
    tail = shell.plans[job(0)].carried
    shell.report_all()
    shell.feed(arrived(1, true_audio(10 * RATE, RATE), Cut.MANUAL))
    shell.drop(job(1))
    assert shell.machine.is_idle
    head = 10 * RATE - tail
    shell.feed(arrived(1, true_audio(head, tail + RATE), Cut.MANUAL, attempt=2, carried=tail))
    shell.report_all()
    assert as_spans(shell.said()) == [Span(0, 11 * RATE)]


@pytest.mark.parametrize("cut", [Cut.MANUAL, Cut.MAX_DURATION])
def test_a_dropped_job_gives_back_a_tail_that_nobody_else_knows_of(cut: Cut) -> None:
    """The job before it has no result yet, so the next attempt cannot bring its tail along."""
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 10 * RATE), Cut.MAX_DURATION))
    shell.feed(arrived(1, true_audio(10 * RATE, RATE // 2), cut))
    shell.drop(job(1))
    assert shell.machine.next_deadline_ms() == 12_000
    shell.feed(arrived(1, true_audio(10 * RATE, RATE // 2), Cut.MANUAL, attempt=2))
    shell.report_all()
    assert as_spans(shell.said()) == [Span(0, 10 * RATE + RATE // 2)]


@pytest.mark.parametrize("index", [1, 2])
def test_a_tail_given_back_waits_for_the_late_attempt_of_the_job_that_had_it(index: int) -> None:
    """Found by a random schedule: a later job took the tail, and died with it after the job it belonged to was told."""
    shell = Shell()
    shell.feed(arrived(0, true_audio(0, 10 * RATE), Cut.MAX_DURATION))
    shell.feed(arrived(1, true_audio(10 * RATE, RATE), Cut.MANUAL, index=index))
    shell.feed(arrived(2, true_audio(11 * RATE, RATE), Cut.MANUAL, index=index + 1))
    shell.drop(job(1))
    shell.feed(arrived(1, true_audio(10 * RATE, RATE), Cut.MANUAL, index=index, attempt=2))
    for number in range(2):
        shell.report(job(number))
    assert as_spans(shell.said()) == [Span(0, 11 * RATE)]
    assert shell.machine.next_deadline_ms() is None


def test_a_dropped_job_takes_its_tail_along_even_where_that_was_recognised_for_nobody() -> None:
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION))
    shell.feed(TimeReached(), 12_000)
    assert {effect for effect in shell.drop(job(0)) if isinstance(effect, Discard)} == {Discard((1,)), Discard((2,))}
    assert shell.machine.is_idle


def test_a_tail_given_back_after_the_end_is_nobodys() -> None:
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION))
    shell.feed(arrived(1, 0.5, Cut.MAX_DURATION))
    shell.feed(SessionEnded())
    shell.drop(job(1))
    assert len(shell.unclaimed) == 1
    shell.report_all()
    assert shell.machine.is_idle


def test_lanes_of_two_languages_get_equal_batches() -> None:
    """So that a node can recognise once what several languages are made of."""
    lanes = [Shell(), Shell()]
    for lane in lanes:
        for number, seconds in enumerate((10, 10, 0.4, 3)):
            cut = (Cut.MAX_DURATION, Cut.MAX_DURATION, Cut.TIMEOUT, Cut.MANUAL)[number]
            lane.feed(arrived(number, noise(seconds, seed=number), cut))
    assert list(lanes[0].batches.values()) == list(lanes[1].batches.values())


def test_a_later_attempt_does_not_overtake_a_timer_that_is_late() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT), 0)
    recognised, plan, adopted = shell.feed(arrived(0, 0.5, Cut.TIMEOUT, attempt=2), 10_001)
    assert isinstance(recognised, Recognize)
    assert (plan, adopted) == (Conclude(job(0), (1,)), Adopt(job(0), 2))


# ------------------------------------------------------------------------------------------- whose audio counts


def test_audio_that_others_say_by_now_is_told_from_what_counts_here() -> None:
    shell = Shell()
    shell.feed(arrived(0, speech(6, 3), Cut.MAX_DURATION))
    shell.report(job(0))
    shell.feed(arrived(1, 0.5, Cut.TIMEOUT))
    left = shell.machine.left_of_others
    assert left({job(2)}, 2) == [job(0), job(1)]
    assert left({job(0), job(1)}, 2) == []
    assert left({job(1)}, 2) == [job(0)]
    assert left(set(), 0) == [job(0)]
    assert left({job(0)}, 1) == [job(1)], "the same index, cut by another owner"
    for other in left(set(), 2):
        shell.drop(other)
    assert left(set(), 2) == []
    assert shell.machine.is_idle
