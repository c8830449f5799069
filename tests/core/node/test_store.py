"""A store that fails, comes back empty, or knows better: what the node's connection makes of it."""

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.phases import Phase
from tests.core.node.support import FRESH, Connection, serving

LAST_PONG_MS = 1_000


def silent_since(connection: Connection) -> int:
    """Let the node answer one ping and then no more; returns when that was."""
    connection.pass_ms(LAST_PONG_MS, answers=True)
    return connection.now


def test_a_heartbeat_that_failed_is_made_again():
    connection = serving()
    connection.beat()
    connection.feed(ev.StoreFailed("heartbeat"))
    connection.pass_ms(1_000, answers=True)
    assert connection.of(ev.HeartbeatNode)


def test_a_status_that_did_not_arrive_is_told_again():
    connection = serving()
    connection.feed(ev.DrainRequested("maintenance"))
    connection.feed(ev.StoreFailed("status"))
    connection.pass_ms(1_000, answers=True)
    assert connection.of(ev.SetStatus) == [ev.SetStatus(FRESH, 1, "draining")]


def test_a_store_that_comes_back_empty_gets_the_node_from_memory():
    connection = serving()
    connection.feed(ev.StoreReturned())
    assert connection.one(ev.HeartbeatNode)
    connection.beaten("NODE_NOT_REGISTERED")
    known = connection.of(ev.AnnounceRegistered, connection.all)[0].registration
    assert connection.last == [ev.RegisterNode(known, is_again=True)]
    connection.confirm(epoch=1)
    assert [type(effect) for effect in connection.last] == [ev.AnnounceRegistered, ev.HeartbeatNode]
    connection.beaten()
    assert connection.machine.status == "ready"
    assert not connection.of(ev.Close, connection.all)
    assert not connection.of(ev.AnnounceLost, connection.all)


def test_jobs_are_told_again_to_a_store_that_was_away_until_it_has_heard_them():
    """A fail-over lost who has which slot, and answers were lost after it: the slots were given a second time."""
    connection = serving()
    connection.beat()
    assert not connection.one(ev.HeartbeatNode).is_again, "it was on its way before"
    connection.feed(ev.StoreReturned())
    connection.beaten()
    assert connection.one(ev.HeartbeatNode).is_again
    connection.feed(ev.StoreFailed("heartbeat"))
    connection.pass_ms(1_000, answers=True)
    assert connection.of(ev.HeartbeatNode)[-1].is_again
    connection.beaten()
    connection.beat()
    assert not connection.one(ev.HeartbeatNode).is_again


def test_jobs_given_before_the_store_was_emptied_are_lost_with_their_node():
    """The epochs of a store that came back empty begin again: the loss spoke of epoch 1, the jobs of epoch 7."""
    connection = Connection()
    connection.register()
    connection.confirm(epoch=7)
    connection.beat()
    connection.beaten()
    connection.feed(ev.StoreReturned())
    connection.beaten("NODE_NOT_REGISTERED")
    connection.confirm(epoch=1)
    connection.feed(ev.SocketClosed())
    assert connection.one(ev.AnnounceLost).epoch == 7
    assert connection.one(ev.MarkOffline).epoch == 1


def test_a_store_that_comes_back_with_a_newer_connection_is_believed():
    connection = serving()
    connection.feed(ev.StoreReturned())
    connection.beaten("STALE_EPOCH")
    assert connection.one(ev.Close).code == 4002


def test_the_store_may_go_away_again_while_it_learns_of_the_node():
    connection = serving()
    connection.feed(ev.StoreReturned())
    connection.beaten("NODE_NOT_REGISTERED")
    connection.feed(ev.StoreFailed("register"))
    connection.beat()
    assert not connection.of(ev.HeartbeatNode)
    connection.pass_ms(1_000, answers=True)
    assert connection.of(ev.RegisterNode)
    connection.confirm(epoch=2)
    connection.beaten()
    assert (connection.machine.status, connection.machine.phase) == ("ready", Phase.SERVING)
