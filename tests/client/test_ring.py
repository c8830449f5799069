"""The ring keeps every chunk until it is acknowledged, whatever the order of sending, acknowledging and rewinding."""

from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.client.ring import Ring

STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 50)),
    st.tuples(st.just("take"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["acknowledge", "rewind"]), st.integers(-1, 60)),
)


@given(st.lists(STEPS, max_size=80))
def test_what_was_sent_and_acknowledged_is_what_was_forgotten(steps: list[tuple[str, int]]):
    ring, added, sent, forgotten = Ring(200), 0, 0, 0
    for kind, number in steps:
        match kind:
            case "add":
                ring.add(bytes(number), is_final=False, spoken_at_ms=0)
                added += 1
            case "take":
                for _ in range(number):
                    chunk = ring.take()
                    assert (chunk is None) == (sent == added)
                    if chunk is not None:
                        assert chunk.seq == sent
                        sent += 1
            case "acknowledge":
                ring.acknowledge(number)
                forgotten = max(forgotten, min(number + 1, sent))
            case _:
                ring.rewind(number)
                sent = min(max(number, forgotten), added)
        ring.check()
        assert len(ring) == added - forgotten
        assert ring.next_seq == added


def test_a_full_ring_has_no_room_until_a_chunk_is_acknowledged():
    ring = Ring(100)
    ring.add(bytes(60), is_final=False, spoken_at_ms=0)
    assert not ring.has_room
    ring.take()
    ring.acknowledge(0)
    assert ring.has_room
