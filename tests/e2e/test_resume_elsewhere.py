"""The instance of a session dies, hangs or is left: its client goes on with any other, nothing is lost or doubled."""

import signal

import pytest

from lingua_scheduler.protocol.messages import UiEvent
from tests.e2e.fleet import Fleet
from tests.e2e.talk import Talk, length_ms, talking
from tests.e2e.test_resume import cable_to
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


async def test_a_sentence_that_is_cut_by_the_death_of_its_instance_stays_whole(fleet: Fleet):
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b)
    async with talking(a.url, b.url) as talk:
        half = b"\x10\x01" * 16 * (length_ms(0) // 2)
        await talk.session.send_audio(half)
        await talk.session.send_audio(b"")
        await wait_until(lambda: talk.log, "the beginning to be heard")

        a.child.send(signal.SIGKILL)
        await wait_until(talk.reconnections, "the client to come back")
        await talk.session.send_audio(half)
        await talk.session.send_final()
        talk.spoken = 1

        await talk.speak()
        await talk.finish()
    assert node.jobs() == [(0, 1), (1, 1)]
    await fleet.finish()


async def test_sentences_whose_node_moves_too_are_tried_again_with_the_audio_of_the_client(fleet: Fleet):
    """The new instance has no audio of its own: the client sends it again, within the same bounds."""
    a, b = await fleet.serve(2)
    node = await fleet.node("node", a, b, work_ms=-1)
    async with talking(a.url, b.url) as talk:
        await talk.speak(3)
        await node.wait_jobs(3)

        a.child.send(signal.SIGKILL)

        await node.wait_registered(2)
        node.release()
        await talk.wait_outcomes(3)
        await talk.speak()
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [2, 2, 2, 1]
    await fleet.finish()


@pytest.mark.parametrize("has_node", [False, True], ids=["without", "with the node"])
async def test_one_instance_after_the_other_may_die(fleet: Fleet, has_node: bool):
    a, b, c = await fleet.serve(3)
    node = await fleet.node("node", *([b, c] if has_node else [c]), work_ms=-1)
    async with talking(a.url, b.url, c.url) as talk:
        await talk.speak(2)
        await node.wait_jobs(2)
        a.child.send(signal.SIGKILL)
        await wait_until(talk.reconnections, "the client to come back")
        await talk.speak(2)
        await node.wait_jobs(4)

        b.child.send(signal.SIGKILL)

        await wait_until(lambda: talk.reconnections() == 2, "the client to come back again")
        await talk.speak()
        await node.wait_jobs(8 if has_node else 4)  # which is its capacity
        node.release()
        await talk.finish()
    attempts = [2, 2, 2, 2, 1] if has_node else [1] * 5
    assert [one.attempt for one in talk.heard] == attempts
    # Sentences that nothing binds are sent as they are placed, in any order.
    again = [(index, 2) for index in range(4)] if has_node else []
    assert sorted(node.jobs()) == sorted([*((index, 1) for index in range(5)), *again])
    await fleet.finish()


async def test_an_instance_that_was_paused_does_not_act_when_it_wakes(fleet: Fleet):
    """It has results to pass on, speech to cut and leases to end, of a session that is another's by then."""
    a, b = await fleet.serve(2)
    node = await fleet.node("node", a, b, work_ms=-1)
    async with (
        cable_to(int(a.url.rpartition(":")[2])) as (cable, port),
        talking(f"127.0.0.1:{port}", b.url) as talk,
    ):
        await talk.speak(2)
        await node.wait_jobs(2)
        node.release()
        await talk.wait_outcomes(2)
        await fleet.node("other", b)
        await talk.session.send_audio(b"\x10\x01" * 16 * length_ms(2))
        await wait_until(lambda: _began(talk, 2), "the third to be heard")

        a.child.send(signal.SIGSTOP)
        cable.cut()
        await wait_until(talk.reconnections, "the client to come back")
        await talk.session.send_final()
        talk.spoken += 1
        await talk.wait_outcomes(3)
        a.child.send(signal.SIGCONT)

        await a.child.wait_output("session goes on elsewhere")
        await talk.speak(2)
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1] * 5
    await fleet.finish()


async def test_the_loud_leaver_hands_its_sessions_over(fleet: Fleet):
    """An instance told to stop says goodbye: its clients go on elsewhere, with what was in flight."""
    a, b = await fleet.serve(2)
    node = await fleet.node("node", b, work_ms=-1)
    async with talking(a.url, b.url) as talk:
        await talk.speak(2)
        await node.wait_jobs(2)

        a.child.send(signal.SIGTERM)

        await wait_until(talk.reconnections, "the client to come back")
        assert await a.child.wait_exit() == 0
        node.release()
        await talk.speak()
        await talk.finish()
    assert [one.attempt for one in talk.heard] == [1] * 3
    await fleet.finish()


async def test_nobody_comes_back_and_nothing_stays(fleet: Fleet):
    """Keys of a session end by themselves; its jobs give their slots back."""
    a, b = await fleet.serve(2, scheduler__web_task_segmentation__resume_window_seconds=1)
    node = await fleet.node("node", b, work_ms=-1)
    await b.wait_peers(2)
    async with talking(a.url) as talk:
        await talk.speak(2)
        await node.wait_jobs(2)
        a.child.send(signal.SIGKILL)
        await wait_until(talk.disconnections, "the client to notice")
    node.release()
    await node.child.wait_output("answered")
    # The presence ends 30 s after its last renewal; here it ends now.
    await fleet.redis.ask("DEL", f"lingua:schedulers:presence:{a.instance_id}")
    await b.child.wait_output("taking over an inbox")
    await fleet.finish()


def _began(talk: Talk, index: int) -> bool:
    return any(
        isinstance(event, UiEvent) and event.event == "INPUT_STARTED" and event.utterance_index == index
        for event in talk.log
    )
