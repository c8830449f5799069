"""What all sessions of a node share: the stages, the way out, the clock, and a home for tasks."""

from dataclasses import dataclass

from lingua_scheduler.node.aggregation.utterances import UtteranceAggregator
from lingua_scheduler.node.meter import Meter
from lingua_scheduler.node.pipeline import Pipeline
from lingua_scheduler.node.run import Outlet
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.runtime.traces import Traces


@dataclass(frozen=True, slots=True)
class Workshop:
    pipeline: Pipeline
    out: Outlet
    texts: UtteranceAggregator
    meter: Meter
    clock: Clock
    timers: Timers
    scope: Scope
    traces: Traces | None = None
    """None: nobody collects them."""
