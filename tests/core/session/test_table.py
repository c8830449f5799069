"""Every state with every event: what the table says is what happens, and every way between states is gone."""

from collections.abc import Callable

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol
from lingua_scheduler.core.session.endpointing import TRANSITIONS as SPEECH_TRANSITIONS
from lingua_scheduler.core.session.endpointing import Endpointing, Speech
from lingua_scheduler.core.session.life import RULES, TRANSITIONS, Life, Rule
from lingua_scheduler.core.utterance import Missing
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import MissingResult
from tests.core.session.support import DEFAULTS, ES, PROTOCOLS, SPEAKER, Scene, codes, job_id, of

EVENTS: tuple[ev.SessionEvent, ...] = (
    ev.ChunkArrived(1000, bytes(320), is_final=True),
    ev.UtteranceArrived(1000, bytes(320), "pcm16", 16_000, True, SPEAKER, ES),
    ev.TtsStarted("g"),
    ev.TtsEnded("g"),
    ev.HeartbeatArrived(1),
    ev.RoomAsked(),
    ev.ResultsAcked(0),
    ev.CloseRequested("done"),
    ev.ConnectionLost(),
    ev.Resumed(0, "token"),
    ev.JobConcluded(job_id(0), 0, ES, Missing("no_speech")),
    ev.AudioFreed(0),
    ev.JobProgressed(job_id(0), 0, "DISPATCHED"),
    ev.PartialArrived(job_id(0), 0, "x", is_final=False),
    ev.AudienceChanged(None),
    ev.LineArrived(MissingResult(session_id="other", utterance_index=0, reason="no_speech", created_at_ms=0)),
    ev.DependencyChanged(is_up=False),
    ev.DrainStarted(20_000),
    ev.TimeReached(),
)


def opened(protocol: Protocol) -> Scene:
    """With one job running, so that nothing ends by itself."""
    scene = Scene(protocol=protocol)
    scene.utter()
    return scene


def closing(protocol: Protocol) -> Scene:
    scene = opened(protocol)
    scene.handle(ev.CloseRequested("done"))
    return scene


def lost(protocol: Protocol) -> Scene:
    scene = opened(protocol)
    scene.handle(ev.ConnectionLost())
    return scene


def ended(protocol: Protocol) -> Scene:
    scene = closing(protocol)
    scene.wait(DEFAULTS.close_grace_ms)
    return scene


REACH: dict[tuple[Life, Protocol], Callable[[Protocol], Scene]] = {
    (Life.OPEN, "1.0"): opened,
    (Life.OPEN, "1.1"): opened,
    (Life.CLOSING, "1.0"): closing,
    (Life.CLOSING, "1.1"): closing,
    (Life.AWAY, "1.1"): lost,
    (Life.QUIET, "1.0"): lost,
    (Life.ENDED, "1.0"): ended,
    (Life.ENDED, "1.1"): ended,
}


def test_the_table_has_every_event_and_every_state():
    assert set(RULES) == {type(event) for event in EVENTS}
    assert all(set(rules) == set(Life) for rules in RULES.values())
    assert {state for state, _ in REACH} == set(Life)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize(("state", "protocol"), REACH, ids=str)
def test_an_event_does_in_a_state_what_the_table_says(state: Life, protocol: Protocol, event: ev.SessionEvent):
    scene = REACH[state, protocol](protocol)
    assert scene.state is state
    rule = RULES[type(event)][state]
    if protocol == "1.0" and isinstance(event, ev.Resumed):
        rule = Rule.IGNORED  # no client of 1.0 has a token
    counts = dict(scene.machine.counts)

    effects = scene.handle(event)

    is_stale = scene.machine.counts.get("stale_event", 0) > counts.get("stale_event", 0)
    match rule:
        case Rule.HANDLED:
            assert not is_stale
            assert ErrorCode.SESSION_CLOSED not in codes(effects)
        case Rule.REFUSED:
            assert codes(effects) == [ErrorCode.SESSION_CLOSED]
            assert len(effects) == 1
        case Rule.IGNORED:
            assert is_stale
            assert not effects
    if scene.state is not state:
        assert (state, scene.state) in TRANSITIONS
    if state in (Life.AWAY, Life.QUIET) and not isinstance(event, ev.Resumed):
        assert not of(effects, ev.Send), "nobody is there to hear it"


def test_every_way_between_states_is_gone():
    gone: set[tuple[Life, Life]] = set()
    for (state, protocol), reach in REACH.items():
        for event in EVENTS:
            scene = reach(protocol)
            scene.handle(event)
            gone.add((state, scene.state))
        scene = reach(protocol)
        for _ in range(3):
            before = scene.state
            scene.wait(DEFAULTS.session_idle_ms)
            gone.add((before, scene.state))
    scene = closing("1.1")
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.Resumed(0, "token"))
    gone.add((Life.AWAY, scene.state))
    scene = closing("1.1")
    scene.conclude(0)
    scene.handle(ev.ResultsAcked(1))
    gone.add((Life.CLOSING, scene.state))
    assert {way for way in gone if way[0] is not way[1]} == set(TRANSITIONS)


# ----------------------------------------------------------------------------------------------- one utterance

Step = Callable[[Endpointing], object]
NOW_MS = 10_000
STEPS: dict[str, Step] = {
    "audio": lambda one: one.heard(NOW_MS),
    "final": lambda one: one.final(NOW_MS)[1] and one.sealed(),
    "sealed": lambda one: one.sealed(),
    "pause": lambda one: one.pass_time(NOW_MS + DEFAULTS.pause_ms) and one.sealed(),
    "later": lambda one: one.pass_time(NOW_MS + 10 * DEFAULTS.pause_ms) and one.sealed(),
    "suspend": lambda one: one.suspend(NOW_MS),
    "restart": lambda one: one.restart(NOW_MS),
}
FIRST: dict[Speech, tuple[str, ...]] = {
    Speech.SILENT: (),
    Speech.SPEAKING: ("audio",),
    Speech.ENDING: ("audio", "pause"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", Speech)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_utterance_changes_only_as_the_table_says(protocol: Protocol, state: Speech, step: str):
    endpointing = Endpointing(DEFAULTS, protocol)
    for name in FIRST[state]:
        STEPS[name](endpointing)
    assert endpointing.state is state

    STEPS[step](endpointing)

    assert endpointing.state is state or (state, endpointing.state) in SPEECH_TRANSITIONS
    assert (endpointing.deadline_ms() is None) == (endpointing.state is Speech.SILENT)


def test_every_change_of_an_utterance_happens():
    gone: set[tuple[Speech, Speech]] = set()
    for protocol in PROTOCOLS:
        for state in Speech:
            for step in STEPS.values():
                endpointing = Endpointing(DEFAULTS, protocol)
                for name in FIRST[state]:
                    STEPS[name](endpointing)
                step(endpointing)
                gone.add((state, endpointing.state))
    assert {way for way in gone if way[0] is not way[1]} == set(SPEECH_TRANSITIONS)
