"""How a session lives, closes, is lost, comes back and ends."""

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.messages import (
    ErrorMessage,
    Goaway,
    MissingReason,
    MissingResult,
    ServerHeartbeat,
    SessionCloseAck,
)
from tests.core.session.support import DEFAULTS, PROTOCOLS, Scene, codes, job_id, messages, of, results

GRACE_MS = DEFAULTS.close_grace_ms
IDLE_MS = DEFAULTS.session_idle_ms


def ends(effects: list[ev.SessionEffect]) -> list[str]:
    return [effect.reason for effect in of(effects, ev.EndSession)]


# ----------------------------------------------------------------------------------------------- closing


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_closing_is_acknowledged_at_once_where_nothing_is_pending(protocol: Protocol):
    scene = Scene(protocol=protocol)
    effects = scene.handle(ev.CloseRequested("done"))
    assert [type(effect) for effect in effects] == [ev.Send, ev.EndSession]
    assert messages(effects, SessionCloseAck)
    assert scene.machine.next_deadline_ms() is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_closing_flushes_waits_for_results_and_then_acknowledges(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.utter()
    scene.say(300)
    assert not messages(scene.handle(ev.CloseRequested("done")), SessionCloseAck)
    scene.conclude(1)
    scene.wait(1000)
    effects = scene.conclude(0)
    assert results(effects) == [(0, "text 0"), (1, "text 1")]
    assert isinstance(of(effects, ev.Send)[-1].message, SessionCloseAck)


def test_ends_that_were_to_be_said_with_what_is_cancelled_are_told_with_it():
    """The first two had their results, without their ends: those were the third's to say."""
    scene = Scene()
    for _ in range(4):
        scene.utter()
    scene.conclude(0, scene.translated(0, carried_ms=300))
    scene.conclude(1, scene.translated(1))
    scene.conclude(2, "merged")
    scene.handle(ev.AudioFreed(1))
    scene.handle(ev.CloseRequested("done"))
    scene.wait(GRACE_MS)
    told = {one.utterance_index: (one.reason, one.unsaid) for one in scene.sent(MissingResult)}
    assert told == {2: ("merged", None), 3: ("job_timeout", [0, 2])}


def test_what_is_not_done_within_the_grace_is_cancelled_and_told_as_missing():
    scene = Scene(protocol="1.0")
    for _ in range(3):
        scene.utter()
    scene.conclude(1)
    scene.handle(ev.CloseRequested("done"))
    effects = scene.wait(GRACE_MS)
    assert of(effects, ev.CancelJob) == [ev.CancelJob(job_id(n), "job_timeout") for n in (0, 2)]
    # The result that was ready had waited as long as a gap may hold it: its delivery came first.
    assert results(effects) == [(0, "gap_timeout"), (1, "text 1"), (0, "job_timeout"), (2, "job_timeout")]
    assert messages(effects, SessionCloseAck)
    assert ends(effects) == ["client"]


def test_speech_after_closing_is_refused():
    scene = Scene()
    scene.utter()
    scene.handle(ev.CloseRequested("done"))
    assert codes(scene.say(100, final=True)) == [ErrorCode.SESSION_CLOSED]
    assert codes(scene.whole(9)) == [ErrorCode.SESSION_CLOSED]
    assert len(scene.started) == 1


def test_a_client_that_loses_its_connection_while_closing_still_gets_its_results():
    scene = Scene()
    scene.utter()
    scene.handle(ev.CloseRequested("done"))
    scene.handle(ev.ConnectionLost())
    scene.conclude(0)
    effects = scene.handle(ev.Resumed(0, "token"))
    assert results(effects) == [(0, "text 0")]
    assert messages(effects, SessionCloseAck)


def test_a_client_that_comes_back_while_closing_has_a_full_grace_again():
    scene = Scene()
    scene.utter()
    scene.handle(ev.CloseRequested("done"))
    scene.wait(GRACE_MS - 1)
    scene.handle(ev.ConnectionLost())
    scene.wait(GRACE_MS)
    scene.handle(ev.Resumed(0, "token"))
    scene.wait(GRACE_MS - 1)
    assert scene.state is Life.CLOSING
    assert results(scene.wait(1)) == [(0, "job_timeout")]


def test_a_client_that_may_not_have_read_its_last_results_can_still_come_back_for_them():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    effects = scene.handle(ev.CloseRequested("done"))
    assert messages(effects, SessionCloseAck)
    assert not ends(effects), "the acknowledgement of the result is on its way, or it is not"
    scene.handle(ev.ConnectionLost())
    effects = scene.handle(ev.Resumed(0, "token"))
    assert results(effects) == [(0, "text 0")]
    assert messages(effects, SessionCloseAck)
    assert ends(scene.handle(ev.ResultsAcked(1))) == ["client"]


def test_a_client_that_never_acknowledges_its_results_is_let_go_after_the_grace():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    scene.handle(ev.CloseRequested("done"))
    effects = scene.wait(GRACE_MS)
    assert ends(effects) == ["client"]
    assert not messages(effects, SessionCloseAck), "it was told before"


# ----------------------------------------------------------------------------------------------- idleness


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_session_is_closed_after_so_long_without_any_message(protocol: Protocol):
    scene = Scene(protocol=protocol)
    assert not scene.wait(IDLE_MS - 1)
    effects = scene.wait(1)
    assert codes(effects) == [ErrorCode.SESSION_CLOSED]
    assert ends(effects) == ["idle"]


@pytest.mark.parametrize(
    "event",
    [
        ev.HeartbeatArrived(1),
        ev.ChunkArrived(0, b"", is_final=False),
        ev.TtsStarted("g"),
        ev.TtsEnded("g"),
        ev.ResultsAcked(0),
        ev.Resumed(0, "token"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_every_message_of_the_client_shows_that_it_is_there(event: ev.SessionEvent):
    scene = Scene()
    scene.wait(IDLE_MS - 1)
    scene.handle(event)
    scene.wait(IDLE_MS - 1)
    assert scene.state is Life.OPEN
    scene.wait(1)
    assert scene.state is Life.ENDED


@pytest.mark.parametrize("event", [ev.AudioFreed(0), ev.DependencyChanged(is_up=True)], ids=str)
def test_what_the_instance_does_does_not_show_that_the_client_is_there(event: ev.SessionEvent):
    scene = Scene()
    scene.wait(IDLE_MS - 1)
    scene.handle(event)
    assert ends(scene.wait(1)) == ["idle"]


def test_audio_keeps_a_session_from_being_idle():
    scene = Scene()
    for _ in range(10):
        scene.wait(IDLE_MS - 1)
        scene.say(100)
    assert scene.state is Life.OPEN


def test_a_message_beats_an_idle_timer_that_nobody_looked_at():
    scene = Scene()
    scene.jump(10 * IDLE_MS)
    scene.handle(ev.HeartbeatArrived(1))
    scene.time_reached()
    assert scene.state is Life.OPEN


def test_idleness_waits_for_results_that_are_pending():
    scene = Scene()
    scene.utter()
    scene.wait(IDLE_MS)
    assert scene.state is Life.CLOSING
    effects = scene.conclude(0)
    assert results(effects) == [(0, "text 0")]
    assert codes(effects) == [ErrorCode.SESSION_CLOSED]


def test_the_first_event_starts_the_clock_whatever_it_is():
    scene = Scene()
    fresh = type(scene.machine)(scene.config, scene.machine._identity)
    assert fresh.next_deadline_ms() == 0
    fresh.handle(ev.DependencyChanged(is_up=True), 10**9)
    assert fresh.next_deadline_ms() == 10**9 + IDLE_MS


def test_heartbeats_are_answered_with_their_own_time():
    scene = Scene()
    assert messages(scene.handle(ev.HeartbeatArrived(4711)), ServerHeartbeat) == [
        ServerHeartbeat(session_id="s", timestamp=4711)
    ]


# ----------------------------------------------------------------------------------------------- protocol 1.0, lost


def test_a_lost_client_of_1_0_is_told_nothing_more_and_its_jobs_finish():
    scene = Scene(protocol="1.0")
    scene.say(300)
    effects = scene.handle(ev.ConnectionLost())
    assert [type(effect) for effect in effects] == [ev.Send, ev.StartJob], "flushed before the loss is acted on"
    effects = scene.conclude(0)
    assert ends(effects) == ["connection_lost"]
    assert not of(effects, ev.Send)
    assert scene.machine.counts == {"undelivered_result": 1}


def test_a_lost_client_of_1_0_with_nothing_pending_ends_at_once():
    scene = Scene(protocol="1.0")
    assert ends(scene.handle(ev.ConnectionLost())) == ["connection_lost"]


def test_jobs_of_a_lost_client_of_1_0_are_cancelled_after_the_grace():
    scene = Scene(protocol="1.0")
    scene.utter()
    scene.handle(ev.ConnectionLost())
    assert not scene.wait(GRACE_MS - 1)
    effects = scene.wait(1)
    assert effects == [ev.CancelJob(job_id(0), "job_timeout"), ev.EndSession("connection_lost")]


def test_nobody_resumes_a_session_of_1_0():
    scene = Scene(protocol="1.0")
    scene.utter()
    assert not scene.handle(ev.Resumed(0, "token"))
    scene.handle(ev.ConnectionLost())
    assert not scene.handle(ev.Resumed(0, "token"))
    assert scene.machine.counts == {"stale_event": 2}


# ----------------------------------------------------------------------------------------------- the instance


def test_an_outage_is_told_once():
    scene = Scene(protocol="1.0")
    told: list[ErrorCode] = []
    for is_up in (False, False, True, True, False, True):
        told += codes(scene.handle(ev.DependencyChanged(is_up)))
    assert told == [ErrorCode.SCHEDULER_DEPENDENCY_DOWN] * 2


def test_an_outage_that_began_while_away_is_told_on_resume():
    scene = Scene()
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.DependencyChanged(is_up=False))
    assert codes(scene.handle(ev.Resumed(0, "token"))) == [ErrorCode.SCHEDULER_DEPENDENCY_DOWN]


def test_an_outage_that_was_told_is_not_told_again_on_resume():
    scene = Scene()
    scene.handle(ev.DependencyChanged(is_up=False))
    scene.handle(ev.ConnectionLost())
    assert not codes(scene.handle(ev.Resumed(0, "token")))


def test_speech_is_collected_during_an_outage():
    scene = Scene()
    scene.handle(ev.DependencyChanged(is_up=False))
    assert scene.utter().utterance.index == 0


def test_a_draining_instance_sends_clients_of_1_1_away_and_closes_whoever_stays():
    scene = Scene()
    scene.say(300)
    effects = scene.handle(ev.DrainStarted(30_000))
    assert messages(effects, Goaway) == [Goaway(reason="drain", time_left_ms=30_000)]
    scene.say(300)
    assert scene.state is Life.OPEN
    scene.wait(20_000)
    assert scene.state is Life.CLOSING
    effects = scene.conclude(0)
    assert (results(effects), codes(effects)) == ([(0, "text 0")], [ErrorCode.SESSION_CLOSED])


def test_a_client_of_1_0_is_closed_in_time_for_its_last_results():
    scene = Scene(protocol="1.0")
    scene.handle(ev.DrainStarted(30_000))
    scene.say(300)
    scene.wait(20_000)
    assert scene.state is Life.CLOSING
    effects = scene.wait(GRACE_MS)
    assert ends(effects) == ["drain"]
    assert results(effects) == [(0, "job_timeout")]
    assert len(messages(effects, ErrorMessage)) == 1


def test_a_drain_without_time_closes_at_once():
    scene = Scene(protocol="1.0")
    scene.handle(ev.DrainStarted(0))
    assert ends(scene.time_reached()) == ["drain"]


def test_a_session_that_is_away_from_a_draining_instance_ends_with_it():
    scene = Scene()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    scene.handle(ev.DrainStarted(5000))
    scene.wait(4999)
    assert scene.state is Life.AWAY
    scene.wait(1)
    assert scene.state is Life.ENDED


# ----------------------------------------------------------------------------------------------- never stuck


@pytest.mark.parametrize("reason", ["job_failed", "no_available_node", "job_timeout", "audio_lost"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_failure_stops_a_session_from_accepting_the_next_utterance(protocol: Protocol, reason: MissingReason):
    scene = Scene(protocol=protocol)
    scene.handle(ev.DependencyChanged(is_up=False))
    for index in range(20):
        assert scene.utter().utterance.index == index
        scene.conclude(index, reason)
    assert scene.results() == [(index, reason) for index in range(20)]


def test_after_its_end_a_session_does_nothing():
    scene = Scene()
    scene.handle(ev.CloseRequested("done"))
    assert scene.state is Life.ENDED
    for event in (ev.ChunkArrived(0, bytes(320), is_final=True), ev.TimeReached(), ev.CloseRequested("again")):
        assert not scene.handle(event)
