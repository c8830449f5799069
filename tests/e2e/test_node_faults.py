"""A node dies or hangs, with the client on one instance and the node on the other."""

import asyncio
import random
import signal

import pytest

from tests.e2e.fleet import Fleet, Instance
from tests.e2e.talk import Talk, talking
from tests.support import wait_until
from tests.support.legacy_node import Habits, LegacyNode


async def test_a_sentence_on_a_node_that_is_killed_gets_its_second_attempt_elsewhere(fleet: Fleet):
    a, b = await fleet.serve(2)
    victim = await fleet.node("victim", b, work_ms=-1)
    async with talking(a.url) as talk:
        await talk.speak(2)
        await victim.wait_jobs(2)
        await fleet.node("rescuer", b)

        victim.child.send(signal.SIGKILL)

        await talk.wait_outcomes(2)
        await talk.speak(2)
        await talk.finish()
    assert [(one.attempt, one.node_id) for one in talk.heard] == [(2, "rescuer")] * 2 + [(1, "rescuer")] * 2
    await fleet.finish()


async def test_what_a_node_says_after_it_hung_is_refused(fleet: Fleet):
    """The node ignores job_cancel, as existing ones do: its late result gets as far as its own instance.

    It was thrown away on the way without a word, neither counted nor logged.
    """
    a, b = await fleet.serve(2)
    sleeper = await fleet.node("sleeper", b, work_ms=-1, heeds_cancel=False)
    async with talking(a.url) as talk:
        await talk.speak()
        await sleeper.wait_jobs()
        await fleet.node("rescuer", b)

        sleeper.child.send(signal.SIGSTOP)
        await talk.wait_outcomes(1)
        await talk.speak()
        await talk.wait_outcomes(2)
        sleeper.release()
        sleeper.child.send(signal.SIGCONT)

        await b.child.wait_output("report refused")
        await talk.speak()
        await talk.finish()
    assert [(one.attempt, one.node_id) for one in talk.heard[:2]] == [(2, "rescuer"), (1, "rescuer")]
    assert sleeper.registrations() == [b.ws], "it was suspect, not lost"
    await fleet.finish()


@pytest.mark.parametrize("seed", [1, 2])
async def test_speakers_under_load_while_nodes_are_killed_at_random(fleet: Fleet, seed: int):
    """Six talks on two instances, four nodes of two slots; the nodes themselves check their capacity."""
    rng = random.Random(seed)
    a, b = await fleet.serve(2)
    names = [f"node-{number}" for number in range(4)]
    for number, name in enumerate(names):
        await fleet.node(name, *((a, b) if number % 2 else (b, a)), capacity=2, work_ms=60)
    done = asyncio.Event()

    async def speak(at: Instance) -> Talk:
        async with talking(at.url) as talk:
            for round_ in range(12):
                await talk.speak()
                await talk.wait_outcomes(max(0, talk.spoken - 2), 60)
                assert round_ < 12
            await talk.finish(60)
        return talk

    async def kill() -> None:
        for _ in range(5):
            if done.is_set():
                return
            victim = rng.choice([node for node in fleet.nodes if node.child.running])
            seen = len(victim.jobs())
            await wait_until(lambda v=victim, s=seen: done.is_set() or len(v.jobs()) > s, "a job to be there", 30)
            victim.child.send(signal.SIGKILL)
            await fleet.node(victim.node_id, *rng.sample([a, b], 2), capacity=2, work_ms=60)

    killing = asyncio.create_task(kill())
    talks = await asyncio.gather(*(speak(at) for at in (a, b) * 3))
    done.set()
    await killing
    assert all(not talk.missing() for talk in talks), [talk.story() for talk in talks]
    assert any(one.attempt > 1 for talk in talks for one in talk.heard), "no kill hit a job"
    await fleet.finish()


async def test_an_existing_node_agent_that_swallows_and_refuses_leaves_nothing_open(fleet: Fleet):
    """The only node keeps short Timeout utterances without a word, answers for the next, repeats empty results."""
    [a] = await fleet.serve(1, scheduler__web_task_segmentation__pause_ms=400)
    async with LegacyNode(f"{a.ws}/ws/node", Habits(repeats_empty=True, tts_languages=("pt",))) as node:
        await node.registered()
        await fleet.wait_selectable(node.node_id or "")
        async with talking(a.url) as talk:
            for _ in range(3):
                # Half a second that ends by silence: the node swallows it ...
                await talk.session.send_audio(b"\x10\x01" * 8000)
                await node.job(len(node.accepted) + 1)
                # ... and says it with the one that is ended by hand.
                await talk.session.send_audio(b"\x10\x01" * 16_000)
                await talk.session.send_final()
                await node.job(len(node.accepted) + 1)
            talk.session.finish()
            await wait_until(lambda: talk.has_ended, "the end of the session", 30)
        assert [one.utterance_index for one in talk.outcomes] == [0, 1, 2, 3, 4, 5]
        assert talk.missing() == ["merged"] * 3
        texts = [text for one in talk.outcomes if (text := getattr(one, "text_asr", ""))]
        assert all(text.count("0.5s") == 1 and text.count("1.0s") == 1 for text in texts), texts
        assert not node.refused
    await fleet.finish()
