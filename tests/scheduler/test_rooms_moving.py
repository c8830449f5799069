"""Members of a room whose sessions go on at another instance."""

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.protocol.ids import SessionId
from tests.scheduler.test_rooms import Fleet, answer_all, create, heard, join, lines, members, settle
from tests.scheduler.test_rooms import fleet as fleet
from tests.support import wait_until
from tests.support.peers import ClientPeer


async def move(fleet: Fleet, client: ClientPeer, ack: wire.SessionInitAck, to: int, last: int = 0) -> ClientPeer:
    """Resume at another instance; what is replayed stays to be read."""
    await client.ws.close()
    again = await fleet.peers[to].client()
    await again.send(
        wire.SessionResume(session_id=client.session_id, resume_token=ack.resume_token or "", last_result_seq=last)
    )
    await again.wait_for(wire.SessionResumeAck)
    again.session_id, again.seq = client.session_id, client.seq
    return again


async def test_a_listener_who_resumes_elsewhere_hears_on_from_there(fleet: Fleet):
    node = await fleet.node()
    ana, bea = await fleet.person(0), await fleet.peers[1].client()
    ack = await bea.open("es", "en", protocol_version="1.1")
    code = await create(ana, "en")
    await join(bea, code, "es")
    await members(ana, 2)
    await ana.speak(400)
    await answer_all(node, 1)
    assert await heard(bea) == [(ana.session_id, "es 0")]
    await bea.send(wire.ResultAck(session_id=bea.session_id, result_seq=1))
    again = await move(fleet, bea, ack, to=2, last=1)

    def lives_there() -> bool:
        picture = fleet.instances[0].sessions.rooms.room_of(SessionId(ana.session_id))
        member = picture.member(bea.session_id) if picture is not None else None
        return member is not None and member.instance_id == fleet.instances[2].context.instance_id

    await wait_until(lives_there, "the others to know where it lives")
    await ana.speak(400)
    await answer_all(node, 1)
    assert await heard(again) == [(ana.session_id, "es 1")]
    await again.speak(400)
    await answer_all(node, 1)
    assert await heard(ana) == [(bea.session_id, "en 0")]
    was_at = fleet.instances[1].sessions.rooms
    await wait_until(lambda: was_at.room_of(SessionId(bea.session_id)) is None, "its first instance to know, too")
    assert len(await members(ana, 2)) == 2


async def test_what_a_speaker_said_before_it_moved_is_heard_once(fleet: Fleet):
    node = await fleet.node()
    ana, bea = await fleet.peers[0].client(), await fleet.person(1)
    ack = await ana.open("en", "es", protocol_version="1.1")
    code = await create(ana, "en")
    await join(bea, code, "es")
    await members(ana, 2)
    await ana.speak(400)
    job = await node.take_job()
    again = await move(fleet, ana, ack, to=2)
    await node.answer(job, text_translated="es 0")
    assert await heard(bea) == [(ana.session_id, "es 0")]
    await again.speak(400)
    await answer_all(node, 1)
    assert await heard(bea) == [(ana.session_id, "es 1")]
    await settle(bea)
    assert lines(bea) == 2
