"""When spans begin and end."""

from opentelemetry.sdk.trace import TracerProvider

from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.traces import EPOCH_MS, Traces


class UnsteadyClock(Clock):
    """Its two times are never read at once."""

    def __init__(self) -> None:
        self.at_ms = 0
        self.epochs = iter((1_000_000, 999_990, 999_980))

    def now_ms(self) -> int:
        return self.at_ms

    def epoch_ms(self) -> int:
        return next(self.epochs)


def test_parts_keep_to_the_order_of_the_loops_time():
    """A busy machine stopped the process between the two readings: a part ended after its whole, by the wall."""
    clock = UnsteadyClock()
    traces = Traces(TracerProvider(), clock)

    assert [traces.wall_ns(at) for at in (5, 5, 6)] == [1_000_005_000_000, 1_000_005_000_000, 1_000_006_000_000]


def test_a_wall_clock_that_is_set_is_followed():
    clock = UnsteadyClock()
    traces = Traces(TracerProvider(), clock)
    clock.at_ms = EPOCH_MS

    assert traces.wall_ns(EPOCH_MS) == (999_990 + EPOCH_MS) * 1_000_000
