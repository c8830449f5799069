"""Results wait until they are read, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.outbox import Outbox, Outgoing
from lingua_scheduler.protocol.node import ActiveJob, JobResult


def outgoing(number: int, size: int = 0) -> Outgoing:
    result = JobResult(
        job_id=f"j{number}",
        attempt_id=1,
        node_id="n",
        session_id="s",
        utterance_index=number,
        success=True,
        trace_id="t",
    )
    return Outgoing(result, b"x" * size)


def ids(waiting: tuple[Outgoing, ...] | list[Outgoing]) -> list[str]:
    return [one.result.job_id for one in waiting]


def test_a_pong_confirms_what_stood_before_its_ping_and_no_more():
    box = Outbox()
    box.add(outgoing(1))
    assert box.cover()
    box.add(outgoing(2))
    assert not box.cover(), "one ping at a time"
    box.confirm()
    assert ids(box.waiting()) == ["j2"]
    assert box.active_jobs() == [ActiveJob(job_id="j2", attempt_id=1)]
    assert box.cover()
    box.confirm()
    assert len(box) == 0


def test_a_ping_sent_while_nothing_waited_confirms_nothing():
    box = Outbox()
    assert box.cover()
    box.add(outgoing(1))
    box.confirm()
    assert len(box) == 1


def test_a_pong_nobody_asked_for_confirms_nothing():
    box = Outbox()
    box.add(outgoing(1))
    box.confirm()
    assert len(box) == 1


def test_what_was_on_its_way_waits_again_when_the_connection_is_lost():
    box = Outbox()
    box.add(outgoing(1))
    box.cover()
    box.connection_lost()
    box.confirm()
    assert ids(box.waiting()) == ["j1"]


def test_the_oldest_goes_at_either_bound_and_the_newest_stays():
    box = Outbox(results_max=2, bytes_max=20_000)
    assert box.add(outgoing(1)) == box.add(outgoing(2)) == []
    assert ids(box.add(outgoing(3))) == ["j1"]
    assert ids(box.add(outgoing(4, size=50_000))) == ["j2", "j3"]
    assert ids(box.waiting()) == ["j4"]


def test_a_result_dropped_under_a_ping_is_not_counted_as_confirmed():
    box = Outbox(results_max=2)
    box.add(outgoing(1))
    box.cover()
    box.add(outgoing(2))
    box.add(outgoing(3))
    box.confirm()
    assert ids(box.waiting()) == ["j2", "j3"]


@given(st.lists(st.sampled_from(["add", "cover", "confirm", "lost"]), max_size=60))
def test_whatever_happens_nothing_is_forgotten_before_a_ping_behind_it_was_answered(steps: list[str]):
    box = Outbox(results_max=1000)
    count, flying, read = 0, None, 0
    for step in steps:
        match step:
            case "add":
                count += 1
                box.add(outgoing(count))
            case "cover":
                if box.cover():
                    flying = count
            case "confirm":
                box.confirm()
                read, flying = (flying if flying is not None else read), None
            case _:
                box.connection_lost()
                flying = None
        assert ids(box.waiting()) == [f"j{number}" for number in range(read + 1, count + 1)]
