"""The store on plain data: the specification that the scripts are tested against, and the simulator's Redis.

`StoreModel` has the methods of `Store`, without `await`. Time comes in as a function; where selection draws at random,
a `Chooser` does. What the scripts do to be fast (lanes with ranks, nodes set aside lazily, one brief field) is absent:
each question is answered from what is true of all nodes. A test runs both in lock step and compares replies and state.
"""

from collections.abc import Callable

from lingua_scheduler.store.model.allowances import AllowanceModel
from lingua_scheduler.store.model.instances import InstanceModel
from lingua_scheduler.store.model.jobs import JobModel
from lingua_scheduler.store.model.nodes import NodeModel
from lingua_scheduler.store.model.rooms import RoomModel
from lingua_scheduler.store.model.sessions import SessionModel
from lingua_scheduler.store.model.shares import ShareModel
from lingua_scheduler.store.model.world import Chooser, World


class StoreModel:
    """One shared state. Calls are atomic because they are plain functions."""

    def __init__(self, now_ms: Callable[[], int], choose: Chooser) -> None:
        self.world = World(now_ms, choose)
        self.nodes = NodeModel(self.world)
        self.jobs = JobModel(self.world)
        self.sessions = SessionModel(self.world)
        self.instances = InstanceModel(self.world)
        self.rooms = RoomModel(self.world)
        self.shares = ShareModel(self.world)
        self.allowances = AllowanceModel(self.world)


__all__ = ["StoreModel"]
