"""An instance dies, hangs or leaves: its nodes move, the sessions of others notice a pause."""

import asyncio
import signal

from lingua_scheduler.protocol.messages import Goaway
from tests.e2e.fleet import Fleet
from tests.e2e.talk import talking
from tests.support import let_pass, wait_until
from tests.support.peers import Peers

STOOD_STILL_S = 10.5
"""A node from which nothing has come for ten seconds is lost."""


async def test_nodes_of_a_killed_instance_move_and_their_sentences_are_tried_again(fleet: Fleet):
    a, b = await fleet.serve(2)
    node = await fleet.node("mover", b, a, work_ms=-1)
    async with talking(a.url) as talk:
        await talk.speak(2)
        await node.wait_jobs(2)

        b.child.send(signal.SIGKILL)

        await node.wait_registered(2)
        await node.wait_jobs(4)
        node.release()
        await talk.wait_outcomes(2)
        await talk.speak(2)
        await talk.finish()
    assert node.registrations() == [b.ws, a.ws]
    assert [one.attempt for one in talk.heard] == [2, 2, 1, 1]
    await fleet.finish()


async def test_the_end_of_a_dead_instance_does_not_touch_a_node_that_has_moved(fleet: Fleet):
    """Half a minute after a kill, when the peers saw the presence expire, they took the dead one's nodes for lost.

    Also those that had moved to themselves: a sentence in flight there got a needless second attempt. And from the
    dead one's inbox they sent out old assignments again, to connections on which no slot was kept for them.
    """
    a, b = await fleet.serve(2)
    node = await fleet.node("mover", b, a, work_ms=-1)
    await a.wait_peers(2)
    async with talking(a.url) as talk:
        b.child.send(signal.SIGSTOP)  # so that its inbox holds what nobody has read
        await talk.speak()
        await wait_until(lambda: fleet.redis.ask("XLEN", _inbox(b.instance_id)), "the inbox to hold the assignment")
        b.child.send(signal.SIGKILL)
        await node.wait_registered(2)
        await node.wait_jobs(1)

        # The presence ends 30 s after its last renewal; here it ends now.
        await fleet.redis.ask("DEL", f"lingua:schedulers:presence:{b.instance_id}")
        await a.child.wait_output("taking over an inbox")
        await wait_until(_is_gone(fleet, _inbox(b.instance_id)), "the inbox to be removed")
        await talk.speak()
        await node.wait_jobs(2)
        node.release()
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [2, 1]
    assert node.jobs() == [(0, 2), (1, 1)]
    await fleet.finish()


async def test_a_sentence_waits_for_an_instance_that_stands_still(fleet: Fleet):
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b, work_ms=-1)
    async with talking(a.url) as talk:
        await talk.speak()
        await node.wait_jobs()

        b.child.send(signal.SIGSTOP)
        node.release()
        await talk.speak(2)
        inbox = _inbox(b.instance_id)
        await wait_until(lambda: fleet.redis.ask("XLEN", inbox), "the inbox to hold what was said meanwhile")
        async with talking(a.url) as other:  # an instance that stands still holds nobody else up
            await fleet.node("other", a)
            await other.speak()
            await other.finish()
        b.child.send(signal.SIGCONT)

        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1, 1, 1]
    assert node.registrations() == [b.ws]
    await fleet.finish()


async def test_an_instance_that_stood_still_for_longer_than_a_node_may_takes_none_for_lost(fleet: Fleet):
    """When it goes on, all that nodes and clients said meanwhile waits in its sockets, and every deadline is past."""
    a, b = await fleet.serve(2)
    far, near = await asyncio.gather(fleet.node("far", b, work_ms=-1), fleet.node("near", a, work_ms=-1))
    async with talking(a.url) as here, talking(b.url) as there:
        await asyncio.gather(here.speak(2), there.speak(2))
        await asyncio.gather(far.wait_jobs(2), near.wait_jobs(2))
        for one in (a, b):
            one.child.send(signal.SIGSTOP)
        await let_pass(STOOD_STILL_S)
        for one in (a, b):
            one.child.send(signal.SIGCONT)
        far.release()
        near.release()
        await asyncio.gather(here.finish(), there.finish())
    assert [one.attempt for one in here.heard + there.heard] == [1, 1, 1, 1]
    assert (far.registrations(), near.registrations()) == ([b.ws], [a.ws])
    await fleet.finish()


async def test_an_instance_told_to_stop_finishes_what_its_nodes_have_and_moves_them(fleet: Fleet):
    """It used to close its nodes as soon as its own sessions were idle.

    Sentences of other instances' sessions on them were lost with the connection and said a second time; what it told
    the store and its peers of that raced with its own end, and an inbox read while it was removed was made again.
    """
    a, b = await fleet.serve(2)
    node = await fleet.node("mover", b, a, work_ms=-1)
    async with talking(a.url) as talk, Peers.of(b.url) as peers:
        await talk.speak(2)
        await node.wait_jobs(2)
        guest = await peers.client()
        await guest.open(protocol_version="1.1")

        b.child.send(signal.SIGTERM)

        assert (await guest.wait_for(Goaway)).reason == "drain"
        await node.child.wait_output("told to drain")
        assert await b.status() == 503
        node.release()
        await talk.wait_outcomes(2)
        assert await b.child.wait_exit() == 0
        assert await guest.wait_closed() == 1001
        await node.wait_registered(2)
        await fleet.wait_selectable("mover")
        await talk.speak(2)
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1, 1, 1, 1]
    assert node.registrations() == [b.ws, a.ws]
    left = [key for key in await fleet.redis.keys() if b.instance_id in key]
    assert not left, "presence, inbox and what it owned"
    assert await fleet.redis.ask("SISMEMBER", "lingua:schedulers:all", b.instance_id) == 0
    await fleet.finish()


async def test_an_instance_told_to_stop_takes_its_nodes_off_the_fleet(fleet: Fleet):
    """The last to leave turns off the light: nobody is there to clear up after it."""
    [a] = await fleet.serve()
    await fleet.node("node", a)

    a.child.send(signal.SIGTERM)

    assert await a.child.wait_exit() == 0
    assert await fleet.redis.keys() == []
    await fleet.finish()


async def test_slots_taken_for_sessions_of_a_killed_instance_come_free(fleet: Fleet):
    """Also where its client does not go on with it elsewhere: nothing of it stays behind.

    The results of its sentences lay in its inbox; whoever took that over dropped them, and
    the node's slots stayed taken until their leases ran out, a minute later.
    """
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b, capacity=2, work_ms=-1)
    await b.wait_peers(2)
    async with talking(a.url) as talk, talking(b.url) as other:
        await talk.speak(2)
        await node.wait_jobs(2)

        a.child.send(signal.SIGKILL)

        await wait_until(talk.disconnections, "the client to notice")
        node.release()
        await node.child.wait_output("answered")
        assert await fleet.slots_taken() == 2, "nobody knows yet that the instance is gone"
        # The presence ends 30 s after its last renewal; here it ends now.
        await fleet.redis.ask("DEL", f"lingua:schedulers:presence:{a.instance_id}")
        await other.speak()
        await other.finish()
    async with talking(b.url) as anew:
        await anew.speak()
        await anew.finish()
    await fleet.finish()


def _inbox(instance_id: str) -> str:
    return f"lingua:streams:{{instance:{instance_id}}}:inbox"


def _is_gone(fleet: Fleet, key: str):
    async def is_gone() -> bool:
        return await fleet.redis.ask("EXISTS", key) == 0

    return is_gone
