"""What every part of one scheduler instance needs and none of them owns."""

from dataclasses import dataclass

from lingua_scheduler.protocol.ids import InstanceId
from lingua_scheduler.runtime.clock import Clock
from lingua_scheduler.runtime.config import Config
from lingua_scheduler.runtime.metrics import Metrics
from lingua_scheduler.runtime.scope import Scope
from lingua_scheduler.runtime.timers import Timers
from lingua_scheduler.runtime.traces import Traces
from lingua_scheduler.scheduler.auth.guard import Guard
from lingua_scheduler.scheduler.limits import Limits
from lingua_scheduler.scheduler.store_health import StoreHealth
from lingua_scheduler.store.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    config: Config
    instance_id: InstanceId
    store: Store
    health: StoreHealth
    clock: Clock
    timers: Timers
    metrics: Metrics
    scope: Scope
    """Home of every background task of the instance; the composition root closes it."""
    guard: Guard
    limits: Limits
    traces: Traces | None = None
    """None: nobody collects them."""
