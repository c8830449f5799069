"""The instance of a session dies, hangs or is left: its client goes on with any other, nothing is lost or doubled."""

import signal

from tests.e2e.fleet import Fleet
from tests.e2e.talk import talking
from tests.support import wait_until


async def test_a_client_goes_on_elsewhere_when_its_instance_is_killed(fleet: Fleet):
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b)
    async with talking(a.url, b.url) as talk:
        await talk.speak(2)
        await talk.wait_outcomes(2)

        a.child.send(signal.SIGKILL)
        await talk.speak(2)

        await talk.wait_outcomes(4)
        await talk.speak()
        await talk.finish()
    assert talk.reconnections() == 1
    assert [one.attempt for one in talk.heard] == [1] * 5
    assert node.jobs() == [(index, 1) for index in range(5)]
    await fleet.finish()


async def test_sentences_in_flight_outlive_the_instance_of_their_session(fleet: Fleet):
    """Their nodes are elsewhere and go on; the results find the session's new instance. Nothing is said twice."""
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b, work_ms=-1)
    async with talking(a.url, b.url) as talk:
        await talk.speak(3)
        await node.wait_jobs(3)

        a.child.send(signal.SIGKILL)

        await wait_until(talk.reconnections, "the client to come back")
        node.release()
        await talk.wait_outcomes(3)
        await talk.speak()
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1] * 4
    assert node.jobs() == [(index, 1) for index in range(4)]
    await fleet.finish()


async def test_results_that_came_while_nobody_had_the_session_are_found(fleet: Fleet):
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b, work_ms=-1)
    async with talking(a.url, b.url) as talk:
        await talk.speak(2)
        await node.wait_jobs(2)

        a.child.send(signal.SIGKILL)
        node.release()
        await node.child.wait_output("answered")

        await talk.wait_outcomes(2)
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1, 1]
    await fleet.finish()
