"""A node from its first heartbeat to its end: status, liveness, reconnecting, drain, and a store that fails."""

from typing import Any

import msgspec
import pytest

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.node import (
    Capability,
    JobHeld,
    NodeControl,
    NodeDrain,
    NodeError,
    ResourceUsage,
)
from tests.core.node.support import FRESH, READY, Connection, languages, result, serving

LAST_PONG_MS = 1_000


def silent_since(connection: Connection) -> int:
    """Let the node answer one ping and then no more; returns when that was."""
    connection.pass_ms(LAST_PONG_MS, answers=True)
    return connection.now


# ------------------------------------------------------------------------------------------- heartbeats and status


def test_a_node_gets_jobs_from_its_first_heartbeat():
    connection = Connection()
    connection.register()
    connection.confirm(epoch=5)
    assert connection.machine.status == "registering"
    connection.beat(resource_usage=ResourceUsage(running_jobs=2, cpu_percent=30.0))
    beat = connection.one(ev.HeartbeatNode)
    assert (beat.node_id, beat.epoch, beat.status) == (FRESH, 5, "ready")
    assert (beat.load.running_jobs, beat.load.cpu_percent, beat.languages) == (2, 30.0, None)
    connection.beaten()
    assert connection.machine.status == "ready"
    assert not connection.of(ev.SetStatus, connection.all)


def test_a_first_heartbeat_before_the_confirmation_counts():
    connection = Connection()
    connection.register()
    connection.beat()
    assert not connection.last
    connection.confirm()
    assert connection.one(ev.HeartbeatNode).status == "ready"


def test_heartbeats_do_not_pile_up():
    connection = serving()
    for running in range(5):
        connection.beat(resource_usage=ResourceUsage(running_jobs=running))
    connection.beaten()
    assert [beat.load.running_jobs for beat in connection.of(ev.HeartbeatNode, connection.all)][1:] == [0, 4]
    connection.beaten()
    assert not connection.last


def test_a_heartbeat_of_an_unknown_node_is_sent_to_register():
    for connection, node_id in [(Connection(), FRESH), (serving(), "somebody-else")]:
        connection.beat(node_id)
        assert connection.error()[0] is ErrorCode.NODE_NOT_REGISTERED
        assert connection.one(ev.Close).code == 4001


def test_a_heartbeat_of_an_expired_node_is_sent_to_register():
    connection = serving()
    connection.beat()
    connection.beaten("NODE_NOT_REGISTERED")
    assert connection.error()[0] is ErrorCode.NODE_NOT_REGISTERED
    assert connection.one(ev.Close).code == 4001
    assert connection.one(ev.AnnounceLost).cause == "lost"
    assert connection.one(ev.MarkOffline).epoch == 1


def test_changed_languages_travel_with_the_heartbeat_once():
    connection = serving()
    connection.beat(language_capabilities=languages(asr="en de"))
    beat = connection.one(ev.HeartbeatNode)
    assert beat.languages is not None
    assert [*beat.languages.asr] == ["en", "de"]
    connection.beaten()
    connection.beat(language_capabilities=languages(asr="en de"))
    assert connection.one(ev.HeartbeatNode).languages is None


def test_languages_that_did_not_arrive_are_sent_again():
    connection = serving()
    connection.beat(language_capabilities=languages(asr="en de"))
    connection.feed(ev.StoreFailed("heartbeat"))
    connection.pass_ms(1_000)
    assert connection.one(ev.HeartbeatNode).languages is not None


def test_odd_languages_in_a_heartbeat_cost_nothing():
    connection = serving()
    connection.beat(language_capabilities=languages(asr=""))
    assert connection.one(ev.RefuseMessage).why == "malformed"
    assert connection.one(ev.HeartbeatNode).languages is None


@pytest.mark.parametrize("word", ["NO_LANGUAGES", "TOO_MANY_PAIRS"])
def test_languages_that_the_store_refuses_are_told_and_dropped(word: str):
    connection = serving()
    connection.beat(language_capabilities=languages(asr="en de"))
    connection.beaten(word)
    assert connection.error() == (ErrorCode.INVALID_CAPABILITY_SCHEMA, "language_capabilities")
    connection.beat()
    assert connection.one(ev.HeartbeatNode).languages is None


def test_a_full_pool_is_no_reason_to_stand_still():
    connection = Connection()
    connection.register()
    connection.confirm()
    connection.beat()
    connection.beaten("POOL_FULL")
    assert connection.machine.status == "ready"


@pytest.mark.parametrize("missing", ["asr", "nmt", "tts"])
def test_a_node_without_a_service_is_degraded_until_it_is_ready(missing: str):
    partly = [Capability(type=one.type, ready=one.type != missing) for one in READY]
    connection = serving(capability_by_type=partly)
    assert connection.machine.status == "degraded"
    connection.beat(capability_by_type=READY)
    beat = connection.one(ev.HeartbeatNode)
    assert (beat.status, beat.services) == ("ready", ("asr", "nmt", "tts"))
    assert connection.machine.status == "ready"


def test_three_failures_of_the_last_five_make_a_node_degraded():
    connection = serving()
    for is_good in (False, True, False):
        connection.feed(ev.JobOutcomeCounted(is_good))
        assert not connection.last
    connection.feed(ev.JobOutcomeCounted(is_good=False))
    assert connection.one(ev.SetStatus) == ev.SetStatus(FRESH, 1, "degraded")


def test_good_jobs_make_it_ready_again():
    connection = serving()
    for is_good in (False, False, False, True, True):
        connection.feed(ev.JobOutcomeCounted(is_good))
    assert connection.machine.status == "degraded"
    connection.feed(ev.JobOutcomeCounted(is_good=True))
    assert connection.one(ev.SetStatus).status == "ready"


def test_a_node_that_gets_no_jobs_gets_another_chance():
    connection = serving()
    for _ in range(3):
        connection.feed(ev.JobOutcomeCounted(is_good=False))
    connection.pass_ms(59_999, answers=True)
    assert connection.machine.status == "degraded"
    connection.pass_ms(1, answers=True)
    assert connection.machine.status == "ready"


# ------------------------------------------------------------------------------------------- what it may say


def test_reports_go_on_under_the_connections_name():
    connection = serving()
    report = result()
    connection.say(report)
    assert connection.last == [ev.ForwardReport(FRESH, 1, report)]
    held = JobHeld(job_id="j", attempt_id=1, reason="short", deadline_ms=10_000)
    connection.say(held)
    assert connection.last == [ev.ForwardReport(FRESH, 1, held)]


def test_the_empty_result_behind_a_real_one_is_no_answer():
    """Its owner forgets a job with its result: the empty one took another way, and counted (seed 572)."""
    connection = Connection().serve()
    real, empty = result(), msgspec.structs.replace(result(), extra={"reason": "NO_TEXT_ASSIGNED"})
    assert connection.say(real) == [ev.ForwardReport(FRESH, 1, real)]
    assert connection.say(empty) == []
    assert connection.say(real) == [ev.ForwardReport(FRESH, 1, real)], "what is sent again may have been lost"
    retried = msgspec.structs.replace(empty, attempt_id=2)
    assert connection.say(retried) == [ev.ForwardReport(FRESH, 1, retried)]
    merged = msgspec.structs.replace(empty, job_id="j1", utterance_index=1)
    assert connection.say(merged) == [ev.ForwardReport(FRESH, 1, merged)], "the only answer of its job"


def test_a_report_in_anothers_name_is_refused():
    connection = serving()
    connection.say(result("somebody-else"))
    assert connection.last == [ev.RefuseMessage("foreign_node_id")]


def test_a_report_before_the_registration_is_refused():
    connection = Connection()
    connection.say(result())
    assert connection.error()[0] is ErrorCode.NODE_NOT_REGISTERED
    assert connection.one(ev.Close).code == 4001


def test_a_fault_of_the_node_is_recorded():
    connection = serving()
    error = NodeError(node_id=FRESH, code="DISK_FULL", message="no space")
    connection.say(error)
    assert connection.last == [ev.RecordNodeError(FRESH, error)]


# ------------------------------------------------------------------------------------------- silence


def test_a_ping_each_second():
    connection = serving()
    pinged = connection.of(ev.SendPing, connection.pass_ms(10_000, answers=True))
    assert len(pinged) == 10


def test_a_silent_node_is_suspect_after_three_seconds():
    connection = serving()
    silent_since(connection)
    connection.pass_ms(2_999)
    assert connection.machine.status == "ready"
    connection.pass_ms(1)
    assert connection.one(ev.AnnounceLost) == ev.AnnounceLost(FRESH, 1, "suspect")
    assert connection.one(ev.SetStatus).status == "suspect"


def test_a_suspect_node_that_speaks_is_well_again():
    connection = serving()
    silent_since(connection)
    connection.pass_ms(5_000)
    connection.feed(ev.PongArrived())
    assert connection.last == [ev.SetStatus(FRESH, 1, "ready")]
    connection.pass_ms(60_000, answers=True)
    assert len(connection.of(ev.AnnounceLost, connection.all)) == 1


def test_a_silent_node_is_lost_after_ten_seconds():
    connection = serving()
    silent_since(connection)
    connection.pass_ms(9_999)
    assert not connection.of(ev.Close)
    connection.pass_ms(1)
    assert [type(effect) for effect in connection.last] == [ev.Close, ev.AnnounceLost, ev.MarkOffline]
    assert connection.one(ev.Close).code == 4001
    assert connection.one(ev.AnnounceLost).cause == "lost"
    assert connection.machine.status == "offline"


@pytest.mark.parametrize(
    "event",
    [
        ev.MessageArrived(result()),
        ev.FrameRefused("nonsense", is_registration=False),
        ev.MessageArrived(NodeError(node_id=FRESH, code="X", message="")),
        ev.PongArrived(),
    ],
)
def test_any_traffic_is_a_sign_of_life(event: Any):
    connection = serving()
    for _ in range(20):
        connection.pass_ms(2_500)
        connection.feed(event)
    assert not connection.of(ev.AnnounceLost, connection.all)


def test_a_pause_of_our_own_makes_nobody_suspect():
    """The process was stopped for a minute: the pongs wait in the socket while the timer sees a minute of silence."""
    connection = serving()
    connection.pass_ms(30_000, answers=True)
    connection.now += 60_000
    connection.feed(ev.TimeReached())
    assert connection.last == [ev.SendPing()]
    connection.feed(ev.PongArrived())
    connection.pass_ms(30_000, answers=True)
    assert not connection.of(ev.AnnounceLost, connection.all)


def test_a_node_that_hangs_during_our_pause_is_found_soon_after():
    connection = serving()
    silent_since(connection)
    connection.now += 60_000
    connection.feed(ev.TimeReached())
    connection.pass_ms(2_000)
    assert connection.one(ev.AnnounceLost).cause == "suspect"


def test_other_settings_are_kept_too():
    connection = Connection(ping_ms=200, suspect_ms=500, lost_ms=800).serve()
    connection.pass_ms(200, answers=True)
    connection.pass_ms(500)
    assert connection.machine.status == "suspect"
    connection.pass_ms(300)
    assert connection.machine.status == "offline"


# ------------------------------------------------------------------------------------------- the end


def test_a_closed_socket_is_a_lost_node_at_once():
    connection = serving()
    connection.feed(ev.SocketClosed())
    assert connection.last == [ev.AnnounceLost(FRESH, 1, "closed"), ev.MarkOffline(FRESH, 1)]
    assert not connection.machine.is_over
    connection.feed(ev.OfflineReplied("OK"))
    assert connection.machine.is_over
    assert connection.machine.next_deadline_ms() is None


def test_a_socket_that_closes_after_we_closed_it_is_no_news():
    connection = serving()
    silent_since(connection)
    connection.pass_ms(10_000)
    assert not connection.feed(ev.SocketClosed())


def test_a_socket_that_closes_while_the_store_confirms_leaves_nothing_behind():
    connection = Connection()
    connection.register()
    connection.say(result())
    connection.feed(ev.SocketClosed())
    assert not connection.last
    connection.confirm(epoch=4)
    assert connection.last == [ev.MarkOffline(FRESH, 4)]
    connection.feed(ev.OfflineReplied("OK"))
    assert connection.machine.is_over
    assert not connection.of(ev.AnnounceRegistered, connection.all)


def test_a_socket_that_closes_while_the_store_refuses_is_gone():
    connection = Connection()
    connection.register()
    connection.feed(ev.SocketClosed())
    connection.feed(ev.RegisterReplied("NO_LANGUAGES"))
    assert connection.machine.is_over


def test_a_store_that_is_away_is_told_of_the_end_until_it_would_know_by_itself():
    connection = serving()
    connection.pass_ms(100_000, answers=True)
    connection.feed(ev.SocketClosed())
    told = 0
    for _ in range(60):
        connection.feed(ev.StoreFailed("offline"))
        connection.pass_ms(1_000)
        told += len(connection.of(ev.MarkOffline))
        if connection.machine.is_over:
            break
    assert connection.machine.is_over
    assert told == 44


def test_the_end_is_told_when_the_store_returns():
    connection = serving()
    connection.feed(ev.SocketClosed())
    connection.feed(ev.StoreFailed("offline"))
    connection.feed(ev.StoreReturned())
    assert connection.one(ev.MarkOffline)


def test_the_end_is_told_once_while_the_answer_is_awaited():
    connection = serving()
    connection.beat()
    connection.feed(ev.SocketClosed())
    assert not connection.feed(ev.StoreFailed("heartbeat"))
    assert not connection.feed(ev.StoreReturned())
    assert connection.machine.next_deadline_ms() is None


# ------------------------------------------------------------------------------------------- two connections


def test_the_older_connection_closes_and_touches_nothing():
    connection = serving()
    connection.feed(ev.Superseded())
    assert [type(effect) for effect in connection.last] == [ev.Close, ev.AnnounceLost]
    assert connection.one(ev.Close).code == 4002
    assert connection.one(ev.AnnounceLost).cause == "replaced"
    assert connection.machine.is_over
    for event in (ev.SocketClosed(), ev.StoreReturned(), ev.MessageArrived(result()), ev.TimeReached()):
        assert not connection.feed(event)


def test_the_store_may_know_first_that_a_newer_connection_took_over():
    connection = serving()
    connection.beat()
    connection.beaten("STALE_EPOCH")
    assert connection.one(ev.Close).code == 4002
    assert not connection.of(ev.MarkOffline, connection.all)


def test_a_connection_that_was_taken_over_while_it_registered_leaves_by_its_own_epoch():
    connection = Connection()
    connection.register()
    connection.feed(ev.Superseded())
    assert connection.one(ev.Close).code == 4002
    connection.confirm(epoch=6)
    assert connection.last == [ev.MarkOffline(FRESH, 6)]


def test_a_closed_connection_that_is_taken_over_has_nothing_left_to_say():
    connection = serving()
    connection.feed(ev.SocketClosed())
    connection.feed(ev.StoreFailed("offline"))
    connection.feed(ev.Superseded())
    assert connection.machine.is_over


# ------------------------------------------------------------------------------------------- drain


def test_an_operator_drains_and_resumes_a_node():
    connection = serving()
    connection.feed(ev.DrainRequested("maintenance"))
    assert connection.last == [
        ev.Send(NodeControl(command="drain", reason="maintenance")),
        ev.SetStatus(FRESH, 1, "draining"),
    ]
    connection.beat()
    assert connection.one(ev.HeartbeatNode).status == "draining"
    connection.beaten()
    connection.feed(ev.ResumeRequested("done"))
    assert connection.last == [
        ev.Send(NodeControl(command="resume", reason="done")),
        ev.SetStatus(FRESH, 1, "ready"),
    ]


def test_a_node_that_is_to_drain_is_told_when_it_is_confirmed():
    connection = Connection()
    connection.feed(ev.DrainRequested("maintenance"))
    connection.register()
    connection.confirm()
    assert ev.Send(NodeControl(command="drain", reason="maintenance")) in connection.last
    connection.beat()
    assert connection.one(ev.HeartbeatNode).status == "draining"


def test_a_node_drains_by_itself_until_it_registers_again():
    connection = serving()
    connection.say(NodeDrain(node_id=FRESH))
    assert connection.one(ev.SetStatus).status == "draining"
    connection.feed(ev.ResumeRequested("no"))
    assert connection.machine.status == "draining"
    connection.register()
    connection.confirm(epoch=2)
    assert connection.one(ev.HeartbeatNode).status == "ready"


def test_a_draining_node_that_hangs_is_suspect_like_any_other():
    connection = serving()
    connection.say(NodeDrain(node_id=FRESH))
    silent_since(connection)
    connection.pass_ms(3_000)
    assert connection.machine.status == "suspect"
