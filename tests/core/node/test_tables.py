"""The machine walked whole: every phase × every event, every transition of the table; then events in any order."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.events import NodeEvent
from lingua_scheduler.core.node.phases import OPEN, TRANSITIONS, Phase
from lingua_scheduler.protocol.node import NodeDrain, NodeError, NodeHeartbeat, ResourceUsage
from tests.core.node.support import FRESH, Connection, languages, registration, result

Step = Callable[[Connection], Any]
Moves = set[tuple[Phase, Phase]]


def watched() -> tuple[Connection, Moves]:
    connection = Connection()
    moves: Moves = set()
    machine = connection.machine
    move = machine._move

    def note(phase: Phase) -> None:
        moves.add((machine.phase, phase))
        move(phase)

    machine._move = note
    return connection, moves


def _heartbeat(node_id: str = FRESH, **fields: Any) -> NodeHeartbeat:
    return NodeHeartbeat(node_id=node_id, timestamp=1, resource_usage=ResourceUsage(), **fields)


def _registered(connection: Connection) -> None:
    connection.register()
    connection.confirm()


INTO: dict[Phase, Step] = {
    Phase.CONNECTED: lambda _: None,
    Phase.REGISTERING: lambda connection: connection.register(),
    Phase.REGISTERED: _registered,
    Phase.SERVING: lambda connection: connection.serve(),
    Phase.LEAVING: lambda connection: (connection.serve(), connection.feed(ev.SocketClosed())),
    Phase.GONE: lambda connection: (connection.serve(), connection.feed(ev.Superseded())),
}

EVENTS: dict[str, NodeEvent] = {
    "register": ev.MessageArrived(registration()),
    "bad register": ev.MessageArrived(registration(capacity=0)),
    "other id": ev.MessageArrived(registration(node_id="other")),
    "heartbeat": ev.MessageArrived(_heartbeat()),
    "other's heartbeat": ev.MessageArrived(_heartbeat("other")),
    "report": ev.MessageArrived(result()),
    "other's report": ev.MessageArrived(result("other")),
    "node error": ev.MessageArrived(NodeError(node_id=FRESH, code="X", message="")),
    "drain": ev.MessageArrived(NodeDrain(node_id=FRESH)),
    "garbage": ev.FrameRefused("nonsense", is_registration=False),
    "pong": ev.PongArrived(),
    "confirmed": ev.RegisterReplied("OK", 1),
    "refused": ev.RegisterReplied("NO_LANGUAGES"),
    "conflict": ev.RegisterReplied("NODE_ID_CONFLICT"),
    "taken": ev.HeartbeatReplied("OK"),
    "expired": ev.HeartbeatReplied("NODE_NOT_REGISTERED"),
    "stale": ev.HeartbeatReplied("STALE_EPOCH"),
    "offline": ev.OfflineReplied("OK"),
    "register failed": ev.StoreFailed("register"),
    "heartbeat failed": ev.StoreFailed("heartbeat"),
    "status failed": ev.StoreFailed("status"),
    "offline failed": ev.StoreFailed("offline"),
    "store returned": ev.StoreReturned(),
    "superseded": ev.Superseded(),
    "failure": ev.JobOutcomeCounted(is_good=False),
    "drain asked": ev.DrainRequested("x"),
    "resume asked": ev.ResumeRequested("x"),
    "closed": ev.SocketClosed(),
    "time": ev.TimeReached(),
}

_KNOWN = {
    "other's heartbeat": Phase.LEAVING,
    "expired": Phase.LEAVING,
    "stale": Phase.GONE,
    "superseded": Phase.GONE,
    "closed": Phase.LEAVING,
}

# Where an event leads; whatever is not named leaves the phase as it is.
LEADS: dict[Phase, dict[str, Phase]] = {
    Phase.CONNECTED: {
        "register": Phase.REGISTERING,
        "other id": Phase.REGISTERING,
        "heartbeat": Phase.GONE,
        "other's heartbeat": Phase.GONE,
        "report": Phase.GONE,
        "other's report": Phase.GONE,
        "node error": Phase.GONE,
        "drain": Phase.GONE,
        "superseded": Phase.GONE,
        "closed": Phase.GONE,
    },
    Phase.REGISTERING: {
        "other's heartbeat": Phase.LEAVING,
        "confirmed": Phase.REGISTERED,
        "refused": Phase.CONNECTED,
        "conflict": Phase.GONE,
        "superseded": Phase.LEAVING,
        "closed": Phase.LEAVING,
    },
    Phase.REGISTERED: {**_KNOWN, "taken": Phase.SERVING},
    Phase.SERVING: _KNOWN,
    Phase.LEAVING: {"offline": Phase.GONE, "superseded": Phase.GONE},
    Phase.GONE: {},
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_phase(phase: Phase, event: str):
    connection, moves = watched()
    INTO[phase](connection)
    assert connection.machine.phase is phase
    connection.feed(EVENTS[event])
    assert connection.machine.phase is LEADS[phase].get(event, phase)
    assert moves <= TRANSITIONS.keys()
    if phase not in OPEN:
        assert not connection.of(ev.Send)


def test_every_transition_of_the_table_happens():
    reached: Moves = set()
    for phase in Phase:
        for event in EVENTS.values():
            connection, moves = watched()
            INTO[phase](connection)
            connection.feed(event)
            reached |= moves
    assert reached == TRANSITIONS.keys()


# ------------------------------------------------------------------------------------------- any order

_languages = st.sampled_from([None, languages(), languages(asr="de"), languages(asr="")])
events = st.one_of(
    st.sampled_from(list(EVENTS.values())),
    st.builds(ev.RegisterReplied, st.sampled_from(["OK", "OK", "NO_LANGUAGES"]), st.integers(1, 9)),
    st.builds(ev.HeartbeatReplied, st.sampled_from(["OK", "OK", "NODE_NOT_REGISTERED", "STALE_EPOCH", "POOL_FULL"])),
    _languages.map(lambda told: ev.MessageArrived(_heartbeat(language_capabilities=told))),
    st.integers(-1, 3).map(lambda capacity: ev.MessageArrived(registration(capacity=capacity))),
)


def answered(event: NodeEvent) -> str:
    """Which question of the store an event answers, if any."""
    match event:
        case ev.StoreFailed(operation):
            return operation
        case ev.RegisterReplied():
            return "register"
        case ev.HeartbeatReplied():
            return "heartbeat"
        case ev.OfflineReplied():
            return "offline"
        case _:
            return ""


@given(st.lists(st.tuples(events, st.sampled_from([0, 1, 500, 1_000, 4_000, 20_000])), max_size=60))
def test_nothing_that_happens_breaks_it(story: list[tuple[NodeEvent, int]]):
    connection, moves = watched()
    asked = {"register": 0, "heartbeat": 0, "offline": 0}
    closed = announced = 0
    for event, later_ms in story:
        operation = answered(event)
        if operation in asked:
            if not asked[operation]:
                continue  # the store answers what it was asked
            asked[operation] -= 1
        connection.now += later_ms
        was_open = connection.machine.phase in OPEN
        connection.feed(event)
        asked["register"] += len(connection.of(ev.RegisterNode))
        asked["heartbeat"] += len(connection.of(ev.HeartbeatNode))
        asked["offline"] += len(connection.of(ev.MarkOffline))
        assert asked["register"] <= 1
        assert asked["heartbeat"] <= 1
        assert asked["offline"] <= 1
        closed += len(connection.of(ev.Close))
        announced += len([lost for lost in connection.of(ev.AnnounceLost) if lost.cause != "suspect"])
        assert closed <= 1
        assert announced <= 1
        assert was_open or not connection.of(ev.HeartbeatNode)
        is_alive = connection.machine.next_deadline_ms() is not None or any(asked.values())
        assert connection.machine.is_over or is_alive, "stuck"
    assert moves <= TRANSITIONS.keys()
