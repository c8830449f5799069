"""The table of the AudioAggregator, row by row, and its vectors by name."""

import numpy as np
import pytest

from lingua_scheduler.node.aggregation.audio_events import (
    RATE,
    Audio,
    Conclude,
    Cut,
    Dismiss,
    Hold,
    JobReported,
    Recognize,
    SessionEnded,
    Span,
    Taken,
    TimeReached,
    Unclaimed,
)
from tests.node.aggregation.shell import Shell, arrived, job, noise, speech


def test_three_monologues_of_ten_seconds_and_five_by_hand_are_35_seconds_and_four_results() -> None:
    shell = Shell()
    for number in range(3):
        shell.feed(arrived(number, 10, Cut.MAX_DURATION), number * 10_000)
    shell.feed(arrived(3, 5, Cut.MANUAL), 35_000)
    shell.report_all()

    assert shell.heard() == [Span(0, 35 * RATE)]
    assert [job_id for job_id, _, _ in shell.results] == [job(number) for number in range(4)]
    assert not shell.merged
    assert not shell.held
    carried = [plan.carried for _, _, plan in shell.results]
    assert all(2 * RATE <= tail < 10 * RATE for tail in carried[:3])
    assert carried[3] == 0
    assert shell.machine.is_idle


@pytest.mark.parametrize(
    ("cut", "seconds", "outcome"),
    [
        (Cut.MANUAL, 0.02, "now"),
        (Cut.MANUAL, 5, "now"),
        (Cut.TIMEOUT, 0.999, "short"),
        (Cut.TIMEOUT, 1.0, "now"),
        (Cut.NONE, 9.999, "unflagged"),
        (Cut.NONE, 10.0, "now"),
        (Cut.NONE, 20.0, "now"),
        (Cut.MAX_DURATION, 4, "no_complete_batch"),
        (Cut.MAX_DURATION, 10, "carries"),
    ],
)
def test_what_becomes_of_a_first_job(cut: Cut, seconds: float, outcome: str) -> None:
    shell = Shell()
    effects = shell.feed(arrived(0, seconds, cut), 7)
    match effects:
        case [Hold(reason=reason, deadline_ms=deadline_ms)]:
            assert (reason, deadline_ms) == (outcome, 10_007)
        case [Recognize(), Conclude(carried=carried)]:
            assert outcome == ("carries" if carried else "now")
            assert sum(map(len, shell.heard())) == 0
        case _:
            pytest.fail(f"unexpected: {effects}")


@pytest.mark.parametrize(("cut", "total", "held"), [(Cut.TIMEOUT, 0.9, True), (Cut.TIMEOUT, 1.1, False)])
def test_a_timeout_counts_what_is_pending_with_it(cut: Cut, total: float, held: bool) -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    effects = shell.feed(arrived(1, total - 0.5, cut))
    assert isinstance(effects[-1], Hold) is held


def test_unflagged_audio_is_recognised_once_ten_seconds_wait() -> None:
    shell = Shell()
    assert isinstance(shell.feed(arrived(0, 6, Cut.NONE))[-1], Hold)
    effects = shell.feed(arrived(1, 4, Cut.NONE))
    assert effects[-1] == Conclude(job(1), (1,), merged=(job(0),), taken=(Taken(job(0), 6 * RATE),))


def test_a_manual_job_speaks_for_all_that_was_held() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.3, Cut.TIMEOUT))
    shell.feed(arrived(1, 0.4, Cut.TIMEOUT))
    effects = shell.feed(arrived(2, 1.3, Cut.MANUAL))
    taken = (Taken(job(0), round(0.3 * RATE)), Taken(job(1), round(0.4 * RATE)))
    assert effects[-1] == Conclude(job(2), (1,), merged=(job(0), job(1)), taken=taken)
    shell.report_all()
    assert shell.heard() == [Span(0, 2 * RATE)]
    assert shell.merged == {job(0): job(2), job(1): job(2)}


def test_audio_whole_is_recognised_whole() -> None:
    """Held audio, carried audio and new audio make one piece: no word is split where jobs meet."""
    shell = Shell()
    tail = shell.feed(arrived(0, 10, Cut.MAX_DURATION))[-1]
    assert isinstance(tail, Conclude)
    shell.feed(arrived(1, 3, Cut.MANUAL))
    assert [len(batch.spans) for batch in shell.batches.values()][-1] == 1
    assert shell.batches[2].samples == tail.carried + 3 * RATE


def test_more_than_a_model_hears_at_once_becomes_several_batches() -> None:
    shell = Shell()
    shell.feed(arrived(0, 60, Cut.MANUAL))
    assert all(batch.samples <= 25 * RATE for batch in shell.batches.values())
    shell.report_all()
    assert shell.heard() == [Span(0, 60 * RATE)]


def test_half_an_hour_in_one_job_ends_in_one_result_and_a_small_tail() -> None:
    shell = Shell()
    shell.feed(arrived(0, np.tile(speech(3, 4, 2.5), 180), Cut.MAX_DURATION))
    (plan,) = shell.plans.values()
    assert plan.carried < 10 * RATE
    assert all(5 * RATE <= batch.samples <= 10 * RATE for batch in shell.batches.values())


@pytest.mark.parametrize("seconds", [[10, 10], [12, 3, 9.96], [30], [5.1, 5.1, 5.1]])
def test_a_monologue_is_carried_on_without_loss(seconds: list[float]) -> None:
    shell = Shell()
    for number, length in enumerate(seconds):
        shell.feed(arrived(number, length, Cut.MAX_DURATION))
        for batch in shell.batches.values():
            assert batch.samples >= 5 * RATE
    shell.feed(arrived(len(seconds), 0.0, Cut.MANUAL))
    shell.report_all()
    assert shell.heard() == [Span(0, round(sum(seconds) * RATE))]


def test_the_carried_tail_is_whole_milliseconds_whatever_the_length_of_the_job() -> None:
    """The scheduler is told milliseconds, and must be able to send exactly that audio again."""
    shell = Shell()
    (*_, plan) = shell.feed(arrived(0, noise(10.0)[:-7], Cut.MAX_DURATION))
    assert isinstance(plan, Conclude)
    assert plan.carried % (RATE // 50) == 0
    assert plan.carried_ms * 16 == plan.carried


def test_a_tail_never_begins_before_the_job_that_carries_it() -> None:
    """Here 4 s and 3 s would make a batch of 4.x s and nothing complete: the second job waits with the first."""
    shell = Shell()
    shell.feed(arrived(0, 4, Cut.MAX_DURATION))
    effects = shell.feed(arrived(1, 3, Cut.MAX_DURATION))
    assert [type(effect) for effect in effects] == [Hold]
    shell.feed(arrived(2, 10, Cut.MAX_DURATION))
    assert shell.plans[job(2)].merged == (job(0), job(1))
    assert shell.plans[job(2)].carried <= 10 * RATE


def test_twenty_seconds_never_wait() -> None:
    shell = Shell()
    for number in range(12):
        shell.feed(arrived(number, 1.9, Cut.MAX_DURATION))  # check() in feed holds the bound
    shell.feed(SessionEnded())
    assert shell.machine.next_deadline_ms() is None


# ------------------------------------------------------------------------------------------- timers


def test_a_held_job_without_a_successor_speaks_for_itself_after_ten_seconds() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.4, Cut.TIMEOUT), 1000)
    assert shell.machine.next_deadline_ms() == 11_000
    assert shell.feed(TimeReached(), 10_999) == []
    effects = shell.feed(TimeReached(), 11_000)
    assert effects[-1] == Conclude(job(0), (1,))
    assert shell.machine.next_deadline_ms() is None


def test_the_first_deadline_lets_the_last_held_job_speak_for_all() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.4, Cut.TIMEOUT), 0)
    shell.feed(arrived(1, 0.4, Cut.TIMEOUT), 8000)
    effects = shell.feed(TimeReached(), 10_000)
    assert effects[-1] == Conclude(job(1), (1,), merged=(job(0),), taken=(Taken(job(0), 6_400),))


def test_a_successor_cut_ten_seconds_later_finds_the_tail_waiting() -> None:
    """Speech without a pause brings a job every 10 s and a little: the tail's timer must not win that race."""
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION), 0)
    assert shell.feed(TimeReached(), 10_900) == []
    shell.feed(arrived(1, 10, Cut.MAX_DURATION), 11_000)
    assert all(len(span) >= 2 * RATE for batch in shell.batches.values() for span in batch.spans)


def test_a_tail_without_a_successor_is_recognised_and_said_by_the_next_job() -> None:
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION), 0)
    shell.report_all()
    (effect,) = shell.feed(TimeReached(), 12_000)
    assert isinstance(effect, Recognize)
    assert effect.job is None
    shell.feed(arrived(1, 0.5, Cut.TIMEOUT), 30_000)
    assert shell.plans == {}, "a short job is held all the same"
    shell.feed(TimeReached(), 40_000)
    assert shell.plans[job(1)].batches == (2, 3)
    shell.report_all()
    assert shell.heard() == [Span(0, round(10.5 * RATE))]


def test_a_last_job_with_the_carried_audio_alone_says_the_tail() -> None:
    """What a scheduler sends at the end of speech, whether the tail still waits or was recognised already."""
    for waited_ms in (3000, 20_000):
        shell = Shell()
        audio = noise(10)
        shell.feed(arrived(0, audio, Cut.MAX_DURATION), 0)
        tail = shell.plans[job(0)].carried
        shell.report_all()
        shell.run_timers(waited_ms)
        shell.feed(arrived(1, audio[-tail:], Cut.MANUAL, carried=tail))
        taken = shell.plans[job(1)].taken
        shell.report_all()
        assert shell.heard() == [Span(0, 10 * RATE)]
        assert len(shell.batches) == 2, "recognised once"
        assert taken == (Taken(job(0), tail),)


def test_the_end_of_the_session_leaves_nothing_unsaid() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.4, Cut.TIMEOUT))
    shell.feed(arrived(1, 0.4, Cut.TIMEOUT))
    effects = shell.feed(SessionEnded())
    assert effects[-1] == Conclude(job(1), (1,), merged=(job(0),), taken=(Taken(job(0), 6_400),))
    assert shell.machine.next_deadline_ms() is None


def test_after_the_end_nothing_waits_any_more() -> None:
    shell = Shell()
    shell.feed(SessionEnded())
    for number, cut in enumerate(Cut):
        effects = shell.feed(arrived(number, 0.5, cut))
        assert effects[-1] == Conclude(job(number), (number + 1,))


def test_a_tail_at_the_end_is_recognised_and_reported_as_nobodys() -> None:
    shell = Shell()
    shell.feed(arrived(0, 10, Cut.MAX_DURATION))
    shell.report_all()
    recognised, unclaimed = shell.feed(SessionEnded())
    assert isinstance(recognised, Recognize)
    assert unclaimed == Unclaimed(job(0), (recognised.batch.number,))
    assert shell.machine.is_idle


# ------------------------------------------------------------------------------------------- silence, nothing, gaps


@pytest.mark.parametrize("audio", [np.zeros(RATE, np.float32), noise(2, 0.0004), np.zeros(3, np.float32)])
def test_silence_is_dismissed_and_still_ends_in_one_result(audio: Audio) -> None:
    shell = Shell()
    dismissed, plan = shell.feed(arrived(0, audio, Cut.MANUAL))
    assert isinstance(dismissed, Dismiss)
    assert plan == Conclude(job(0), (1,))


def test_a_quiet_piece_beside_loud_ones_is_recognised() -> None:
    shell = Shell()
    shell.feed(arrived(0, np.concatenate((noise(0.5, 0.002), noise(2, 0.3))), Cut.MANUAL))
    assert not shell.dismissed
    assert shell.batches[1].spans == (Span(0, round(2.5 * RATE)),)


def test_a_job_without_a_sample_ends_at_once() -> None:
    shell = Shell()
    for number, cut in enumerate(Cut):
        assert shell.feed(arrived(number, 0.0, cut)) == [Conclude(job(number), ())]
    shell.report_all()
    assert shell.machine.is_idle


def test_a_job_without_a_sample_may_be_held_beside_one_with_some() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    shell.feed(arrived(1, 0.0, Cut.TIMEOUT))
    shell.drop(job(0))
    assert shell.feed(TimeReached(), 10_000) == [Conclude(job(1), ())]


def test_a_missing_index_ends_a_piece_and_loses_nothing() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    shell.feed(arrived(2, 0.75, Cut.MANUAL))
    assert shell.batches[1].spans == (Span(0, 8000), Span(8000 + RATE, 20_000 + RATE))
    assert shell.plans[job(2)].merged == (job(0),)


def test_a_missing_index_ends_a_piece_even_where_the_next_job_brings_no_sample() -> None:
    """Found by a random schedule: the gap was a mark on the next job's audio, and that had none to carry it."""
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT))
    shell.feed(arrived(2, 0.0, Cut.TIMEOUT))
    shell.feed(arrived(3, 0.75, Cut.MANUAL))
    assert len(shell.batches[1].spans) == 2


def test_a_position_further_on_ends_a_piece() -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT, start=0))
    shell.feed(arrived(1, 0.5, Cut.MANUAL, start=RATE))
    assert shell.batches[1].spans == (Span(0, 8000), Span(RATE, RATE + 8000))


@pytest.mark.parametrize("off_by", [-320, -1, 0, 1, 320])
def test_rounding_of_positions_is_no_gap(off_by: int) -> None:
    shell = Shell()
    shell.feed(arrived(0, 0.5, Cut.TIMEOUT, start=48_000))
    shell.feed(arrived(1, 0.5, Cut.MANUAL, start=56_000 + off_by))
    assert shell.batches[1].spans == (Span(48_000, 64_000),)


@pytest.mark.parametrize("start", [0, -5, 10**15])
def test_positions_that_make_no_sense_lose_no_audio(start: int) -> None:
    shell = Shell()
    shell.feed(arrived(0, 3, Cut.MANUAL, start=64_000))
    for number in (1, 2, 3):
        shell.feed(arrived(number, 0.4, Cut.TIMEOUT, start=start))
    shell.feed(SessionEnded())
    shell.report_all()
    assert sum(map(len, shell.heard())) == round(4.2 * RATE)


def test_a_late_job_is_recognised_at_once_and_alone() -> None:
    shell = Shell()
    shell.feed(arrived(3, 0.5, Cut.TIMEOUT))
    effects = shell.feed(arrived(1, 0.25, Cut.TIMEOUT))
    assert effects[-1] == Conclude(job(1), (1,))
    assert shell.batches[1].samples == 4000
    assert job(3) in shell.held


def test_reports_of_unknown_jobs_change_nothing() -> None:
    shell = Shell()
    assert shell.feed(JobReported(job(9))) == []
    assert shell.drop(job(9)) == []


def test_garbage_samples_are_recognised_like_any() -> None:
    shell = Shell()
    audio = noise(11)
    audio[::100] = np.nan
    audio[1::100] = np.inf
    shell.feed(arrived(0, audio, Cut.MAX_DURATION))
    shell.feed(arrived(1, np.full(RATE, 3e38, np.float32), Cut.MANUAL))
    shell.report_all()
    assert shell.heard() == [Span(0, 12 * RATE)]
