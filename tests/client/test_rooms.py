"""What a client asks of rooms reaches the scheduler, also when the connection is away just then."""

from lingua_scheduler.client import events as ev
from lingua_scheduler.client.machine import ASKED_MAX
from lingua_scheduler.protocol import messages as wire
from tests.client.model import translation
from tests.client.test_machine import LOST, machine, opened, resumed, said

JOIN = wire.RoomJoin(room_code="123456", preferred_lang="pt")
LEAVE = wire.RoomLeave(room_code="123456")


def test_a_request_is_sent_at_once_and_its_answer_is_told():
    made = opened()
    assert said(made.handle(ev.RoomAsked(JOIN), 1)) == [JOIN]
    members = wire.RoomMembers(room_code="123456", members=[])
    assert made.handle(ev.MessageArrived(members), 2) == [ev.Tell(members)]


def test_requests_wait_for_the_connection_in_their_order():
    made = opened()
    made.handle(LOST, 0)
    assert made.handle(ev.RoomAsked(JOIN), 1) == []
    made.handle(ev.RoomAsked(LEAVE), 1)
    assert said(resumed(made, 2, next_seq=0)) == [JOIN, LEAVE]


def test_of_too_many_that_wait_the_oldest_are_forgotten():
    made = machine()
    made.handle(ev.Started(), 0)
    for number in range(ASKED_MAX + 1):
        made.handle(ev.RoomAsked(wire.RoomLeave(room_code=str(number))), 0)
    made.check()
    assert len(made._asked) == ASKED_MAX


def test_what_others_say_is_acknowledged_and_told_once():
    made = opened()
    other = translation(0, 1, session_id="another")
    effects = made.handle(ev.MessageArrived(other), 1)
    assert [one for one in effects if isinstance(one, ev.Tell)] == [ev.Tell(other)]
    assert not any(isinstance(one, ev.Tell) for one in made.handle(ev.MessageArrived(other), 2))
