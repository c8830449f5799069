"""What a session's log counts as answered, lost and doubled, and from when it measures."""

from typing import Any

import pytest

from lingua_scheduler.client.log import SessionLog, Tally, percentile
from lingua_scheduler.protocol import messages as wire
from tests.client.model import SESSION_ID, translation


def missing(index: int, reason: Any) -> wire.MissingResult:
    return wire.MissingResult(session_id=SESSION_ID, utterance_index=index, reason=reason, created_at_ms=0)


def dispatched(index: int) -> wire.UiEvent:
    return wire.UiEvent(
        trace_id="t", session_id=SESSION_ID, job_id="j", utterance_index=index, event="DISPATCHED", status="ok"
    )


def log(*events: Any, finals: int = 0) -> SessionLog:
    made = SessionLog(SESSION_ID)
    for _ in range(finals):
        made.spoke(1600, 0)
        made.ended_utterance()
    for event in events:
        made.received(event, 0)
    return made


@pytest.mark.parametrize(
    ("made", "tally"),
    [
        (log(), Tally(0, 0, 0, 0, 0, 0)),
        (log(translation(0, 1), missing(1, "no_speech"), missing(2, "job_failed")), Tally(3, 1, 1, 1, 0, 0)),
        (log(translation(0, 1), translation(2, 2)), Tally(3, 2, 0, 0, 1, 0)),
        (log(translation(0, 1), dispatched(1)), Tally(2, 1, 0, 0, 1, 0)),
        (log(translation(0, 1), finals=3), Tally(3, 1, 0, 0, 2, 0)),
        (log(translation(0, 1), translation(0, 2), missing(0, "merged")), Tally(1, 1, 0, 0, 0, 2)),
        (log(missing(0, "gap_timeout"), translation(0, 2)), Tally(1, 1, 0, 0, 0, 0)),
        (log(translation(0, 1, session_id="somebody else")), Tally(0, 0, 0, 0, 0, 0)),
    ],
    ids=["nothing", "kinds", "gap", "named", "finals", "twice", "late", "stranger"],
)
def test_answers_are_counted(made: SessionLog, tally: Tally):
    assert made.tally() == tally


def test_a_final_without_audio_promises_nothing():
    made = SessionLog(SESSION_ID)
    made.ended_utterance()

    assert made.tally().utterances == 0


def test_latency_runs_from_the_last_voiced_sample_of_the_utterance():
    made = SessionLog(SESSION_ID)
    made.spoke(16_000, at_ms=1000)
    made.spoke(24_000, at_ms=1500)
    made.spoke(48_000, at_ms=9000)  # the next utterance

    utterance = made.received(translation(0, 1, speech_end_ms=2000), at_ms=2300)

    assert utterance is not None
    assert utterance.text_latency_ms == 800
    assert utterance.sound_latency_ms is None
    utterance.sound_at_ms = 2350
    assert utterance.sound_latency_ms == 850


def test_where_nothing_tells_when_it_was_spoken_there_is_no_latency():
    made = SessionLog(SESSION_ID)
    unknown = made.received(translation(0, 1, speech_end_ms=2000), 5)
    unsaid = made.received(translation(1, 2), 5)

    assert unknown is not None
    assert unsaid is not None
    assert (unknown.text_latency_ms, unsaid.text_latency_ms) == (None, None)


def test_utterances_come_in_order_of_their_index():
    assert [one.index for one in log(translation(2, 1), translation(0, 2), translation(1, 3)).utterances] == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 50, None), ([7], 95, 7), ([3, 1, 2], 50, 2), (list(range(1, 101)), 95, 95), ([1, 2], 95, 2), ([1, 2], 0, 1)],
)
def test_percentiles_are_values_that_occurred(values: list[int], percent: int, expected: int | None):
    assert percentile(values, percent) == expected
