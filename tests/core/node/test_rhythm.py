"""Pings of many nodes stay spread over their interval, whatever our own process went through."""

from lingua_scheduler.core.node.liveness import Liveness
from lingua_scheduler.runtime.config import NodeHealthConfig

HEALTH = NodeHealthConfig()


def pinged(nodes: list[Liveness], from_ms: int, to_ms: int) -> list[int]:
    """How many pings leave in each tenth of an interval; everybody answers at once."""
    tenths = [0] * 10
    for now_ms in range(from_ms, to_ms):
        for node in nodes:
            if node.is_ping_due(now_ms):
                tenths[now_ms % HEALTH.ping_ms * 10 // HEALTH.ping_ms] += 1
                node.heard(now_ms)
    return tenths


def test_a_pause_of_our_process_does_not_bring_all_nodes_into_step():
    """A thousand nodes that had all become due in one pause were pinged in the same millisecond from then on, for good:
    a tenth of a second of work, every second, in front of every sentence.
    """
    nodes = [Liveness(HEALTH, now_ms=at) for at in range(0, HEALTH.ping_ms, 10)]
    assert pinged(nodes, 1000, 2000) == [10] * 10

    late = pinged(nodes, 2950, 2951)  # the loop stood still from 2,000 on
    assert sum(late) == 96

    pinged(nodes, 2951, 4000)
    assert pinged(nodes, 4000, 5000) == [10] * 10


def test_a_late_ping_leaves_time_for_its_answer_before_the_next():
    node = Liveness(HEALTH, now_ms=0)
    assert node.is_ping_due(1900)

    assert not any(node.is_ping_due(now_ms) for now_ms in range(1901, 1900 + HEALTH.ping_ms // 2))
    assert [now_ms for now_ms in range(1901, 4001) if node.is_ping_due(now_ms)] == [3000, 4000]
