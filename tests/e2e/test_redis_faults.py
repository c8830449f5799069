"""Redis dies, comes back empty or not, or stands still: sessions stay open and what is said meanwhile is translated."""

import asyncio
import signal

import pytest

from lingua_scheduler.protocol.errors import ErrorCode
from tests.e2e.fleet import Fleet
from tests.e2e.talk import Talk, talking
from tests.support import wait_until

DOWN = ErrorCode.SCHEDULER_DEPENDENCY_DOWN


async def wait_told(talk: Talk) -> None:
    await wait_until(lambda: talk.errors(DOWN), "the client to be told")


@pytest.mark.parametrize("keeps", [False, True], ids=["empty", "with its data"])
async def test_redis_is_killed_and_comes_back(fleet: Fleet, keeps: bool):
    """Nobody reconnects: neither the client nor the node notices more than a pause.

    To a Redis that came back empty a pair had no nodes until they were registered again: what was said meanwhile was
    given up at once with `no_available_node`.
    """
    fleet.redis.keeps = keeps
    await fleet.redis.restart()
    a, b = await fleet.serve(2)
    far = await fleet.node("far", b)
    async with talking(a.url) as talk:
        await talk.speak(2)
        await talk.wait_outcomes(2)

        await fleet.redis.kill()
        await talk.speak(2)
        await wait_told(talk)
        await asyncio.gather(a.wait_ready(503), b.wait_ready(503))
        assert await a.status("/health") == 200
        await talk.speak(2)
        assert len(talk.outcomes) == 2
        await fleet.redis.start()

        await asyncio.gather(a.wait_ready(), b.wait_ready())
        await talk.wait_outcomes(6)
        await talk.speak(2)
        await talk.finish()
    assert [one.node_id for one in talk.heard] == ["far"] * 8
    assert talk.errors(DOWN) == 1
    assert talk.disconnections() == 0
    assert far.registrations() == [b.ws]
    await fleet.finish()


@pytest.mark.parametrize("keeps", [False, True], ids=["empty", "with its data"])
async def test_sentences_in_flight_outlive_a_restart_of_redis(fleet: Fleet, keeps: bool):
    """A result for another instance's session was dropped where Redis did not answer: its sentence waited for a lease.

    The session was closed before that ran out, with `job_timeout`.
    """
    fleet.redis.keeps = keeps
    await fleet.redis.restart()
    a, b = await fleet.serve(2)
    far, near = await asyncio.gather(fleet.node("far", b, work_ms=-1), fleet.node("near", a, work_ms=-1))
    async with talking(a.url) as here, talking(b.url) as there:
        await here.speak(4)
        await there.speak(4)
        await wait_until(lambda: len(far.jobs()) + len(near.jobs()) == 8, "all sentences to be at the nodes")

        await fleet.redis.kill()
        await asyncio.gather(wait_told(here), wait_told(there))
        far.release()
        near.release()
        await fleet.redis.start()

        await asyncio.gather(a.wait_ready(), b.wait_ready())
        await asyncio.gather(here.finish(), there.finish())
    assert not here.missing() + there.missing()
    await fleet.finish()


async def test_a_redis_that_stands_still_for_longer_than_a_command_may_take(fleet: Fleet):
    """What was under way when it stopped may have happened or not: it is asked again, and nothing is said twice."""
    a, b = await fleet.serve(2, scheduler__phase2__redis__command_timeout_ms=1000)
    await asyncio.gather(fleet.node("far", b, work_ms=30), fleet.node("near", a, work_ms=30))
    async with talking(a.url) as talk:
        for _ in range(3):
            await talk.speak(4)
            fleet.redis.child.send(signal.SIGSTOP)
            await talk.speak(2)
            told = talk.errors(DOWN)
            await wait_until(lambda told=told: talk.errors(DOWN) > told, "the client to be told")
            fleet.redis.child.send(signal.SIGCONT)
            await asyncio.gather(a.wait_ready(), b.wait_ready())
            await talk.wait_outcomes(talk.spoken)
        await talk.finish()
    assert not talk.missing()
    assert talk.errors(DOWN) == 3
    await fleet.finish()


async def test_an_instance_told_to_stop_without_redis_stops(fleet: Fleet):
    [a] = await fleet.serve()
    await fleet.node("node", a)
    await fleet.redis.kill()

    a.child.send(signal.SIGTERM)

    assert await a.child.wait_exit(20) == 0
    await fleet.redis.start()
    await fleet.finish()
