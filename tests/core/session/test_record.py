"""What a session's client knows by itself corrects a record whose last writes Redis has lost."""

from dataclasses import replace

from lingua_scheduler.core.session.record import Known, OpenUtterance, Place, SessionState, corrected
from lingua_scheduler.core.utterance import FinalizeReason, Tail
from lingua_scheduler.protocol.ids import GroupId, JobId, Language, SessionId

ES = Language("es")
NOTHING = Known(last_result_seq=0, acked_seq=-1, answered=frozenset())


def said(index: int, *places: Place) -> OpenUtterance:
    """Ten chunks each."""
    return OpenUtterance(
        index=index,
        first_seq=10 * index,
        last_seq=10 * index + 9,
        size_bytes=100,
        audio_format="opus",
        sample_rate=16_000,
        start_samples=0,
        samples=1600,
        reason=FinalizeReason.IS_FINAL,
        finalized_epoch_ms=0,
        padding_ms=0,
        group_id=GroupId("g"),
        part_index=0,
        web_to_scheduler_ms=None,
        places=places or (Place(ES),),
    )


STATE = SessionState(
    index_highest=2,
    index_gaps=(),
    sealed_seq=29,
    line_samples=0,
    audio_format="opus",
    group=0,
    parts=0,
    last_result_seq=1,
    open=(said(1), said(2)),
    tails=(Tail(JobId("j0"), 1, ES, 800, None),),
)


def test_a_client_that_knows_no_more_changes_nothing():
    assert corrected(STATE, NOTHING) == STATE


def test_what_was_acknowledged_is_concluded_with_all_that_it_left():
    after = corrected(STATE, replace(NOTHING, acked_seq=19))
    assert [one.index for one in after.open] == [2]
    assert after.tails == ()


def test_an_utterance_that_was_answered_waits_for_no_answer():
    after = corrected(STATE, replace(NOTHING, answered=frozenset({2}), last_result_seq=2))
    assert [one.places for one in after.open] == [(Place(ES),), ()]
    assert after.last_result_seq == 2
    assert after.tails == STATE.tails


def test_an_end_that_was_left_while_the_store_was_away_is_known_from_the_client():
    """Its result was sent, its owner died, and the record knew of neither (seed 41492)."""
    left = Tail(JobId("j2"), 2, ES, 900, None)
    state = replace(STATE, last_result_seq=4)
    told = Known(last_result_seq=5, acked_seq=-1, answered=frozenset({2}), tails=(left,))
    assert corrected(state, told).tails == (left,)
    assert corrected(state, replace(told, tails=())).tails == ()
    assert corrected(state, replace(told, last_result_seq=4)).tails == STATE.tails, "the record is as new"
    assert corrected(state, replace(told, tails=None)).tails == STATE.tails, "a client that does not tell"


def test_others_in_the_room_wait_all_the_same():
    theirs = Place(Language("pt"), (SessionId("bea"),))
    after = corrected(replace(STATE, open=(said(2, Place(ES), theirs),)), replace(NOTHING, answered=frozenset({2})))
    assert after.open[0].places == (theirs,)


def test_indices_and_chunks_that_the_record_never_saw_are_not_given_again():
    after = corrected(STATE, Known(last_result_seq=5, acked_seq=59, answered=frozenset({1, 2, 5})))
    assert (after.index_highest, after.sealed_seq, after.last_result_seq) == (5, 59, 5)
    assert after.open == ()
