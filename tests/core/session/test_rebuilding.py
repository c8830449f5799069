"""Audio that comes a second time is cut where it was cut the first time."""

from lingua_scheduler.core.session.rebuilding import Rebuilding
from lingua_scheduler.core.session.record import OpenUtterance
from lingua_scheduler.core.utterance import FinalizeReason
from lingua_scheduler.protocol.ids import GroupId


def stretch(index: int, first_seq: int | None, last_seq: int, size_bytes: int) -> OpenUtterance:
    return OpenUtterance(
        index=index, first_seq=first_seq, last_seq=last_seq, size_bytes=size_bytes, audio_format="pcm16",
        sample_rate=16_000, start_samples=0, samples=1, reason=FinalizeReason.IS_FINAL, finalized_epoch_ms=0,
        padding_ms=0, group_id=GroupId("g"), part_index=0, web_to_scheduler_ms=None, places=(),
    )  # fmt: skip


def test_chunks_go_where_they_were_in_their_order():
    rebuilding = Rebuilding([stretch(3, 10, 12, 6), stretch(5, 20, 21, 4)], sealed_seq=30)
    assert rebuilding.next_seq == 10
    assert rebuilding.add(12, b"ee") is None
    assert rebuilding.add(10, b"aa") is None
    assert rebuilding.add(10, b"zz") is None, "a repetition"
    assert rebuilding.add(15, b"nobody's") is None, "of an utterance that has its result"
    assert rebuilding.add(11, b"cc") == (3, b"aaccee")
    assert rebuilding.next_seq == 20
    assert rebuilding.give_up() == [5]
    assert (rebuilding.is_done, rebuilding.next_seq) == (True, 31)


def test_what_has_its_outcome_is_not_wanted_again():
    rebuilding = Rebuilding([stretch(0, 0, 3, 6), stretch(1, 4, 5, 4)], sealed_seq=5)
    rebuilding.forget({1})
    assert rebuilding.next_seq == 4


def test_a_whole_utterance_is_not_made_of_chunks():
    assert Rebuilding([stretch(0, None, -1, 6)], sealed_seq=-1).next_seq == 0
