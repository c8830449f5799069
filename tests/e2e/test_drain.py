"""Leaving without loss: `lingua drain`, and a fleet that is restarted instance by instance while people talk."""

import asyncio
import signal

from tests.e2e.fleet import Fleet, Instance
from tests.e2e.talk import Talk, talking
from tests.support import free_port
from tests.support.processes import Processes

AHEAD = 1
"""How many answers a speaker of the load does not wait for."""


async def keep_talking(talk: Talk, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await talk.speak()
        await talk.wait_outcomes(talk.spoken - AHEAD, 60)


async def leave(fleet: Fleet, instance: Instance, *, by_command: bool) -> None:
    if by_command:
        drain = fleet.processes.lingua("drain", instance.url)
        assert await drain.wait_exit(60) == 0, drain.story()
        assert "has left" in drain.stdout
    else:
        instance.child.send(signal.SIGTERM)
    assert await instance.child.wait_exit(60) == 0, instance.child.story()


async def test_three_instances_are_restarted_one_after_the_other_under_load(fleet: Fleet):
    # They come back where they were, while others on this machine open connections.
    instances = [one for [one] in await asyncio.gather(*(fleet.serve(port=free_port()) for _ in range(3)))]
    a, b, c = instances
    # So that at no time all nodes are with the one that leaves next.
    orders = [(a, b, c), (b, a, c), (c, b, a)]
    await asyncio.gather(*(fleet.node(f"n{at}", *order, work_ms=40) for at, order in enumerate(orders)))
    urls = [[one.url for one in order] for order in orders]
    async with talking(*urls[0]) as first, talking(*urls[1]) as second, talking(*urls[2]) as third:
        talks, enough = (first, second, third), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for talk in talks:
                group.create_task(keep_talking(talk, enough))
            for number, one in enumerate(instances):
                spoken = [talk.spoken for talk in talks]
                await leave(fleet, one, by_command=number == 1)
                await fleet.serve(port=int(one.url.rpartition(":")[2]))
                for talk, before in zip(talks, spoken, strict=True):
                    await talk.wait_outcomes(before + 1, 60)
            enough.set()
        await asyncio.gather(*(talk.finish(60) for talk in talks))
    for talk in talks:
        assert not talk.missing()
        assert talk.reconnections() >= 1, "its instance left"
    await fleet.finish()


async def test_a_node_is_drained_through_any_instance_and_given_work_again(fleet: Fleet):
    a, b = await fleet.serve(2)
    resting = await fleet.node("resting", b, work_ms=-1)
    async with talking(a.url) as talk:
        await talk.speak()
        await resting.wait_jobs()
        drain = fleet.processes.lingua("drain", a.url, "--node", "resting")
        await resting.child.wait_output("told to drain")
        other = await fleet.node("other", a)
        await talk.speak(2)
        await other.wait_jobs(2)
        assert drain.running, "it waits for the sentence that the node has"
        resting.release()
        assert await drain.wait_exit() == 0, drain.story()
        assert drain.stdout.splitlines() == ["resting gets no more work", "resting has nothing left to do"]

        undo = fleet.processes.lingua("drain", b.url, "--node", "resting", "--undo")
        assert await undo.wait_exit() == 0, undo.story()
        other.child.send(signal.SIGTERM)
        await other.child.wait_exit()
        await talk.speak()
        await talk.finish()
    assert [one.node_id for one in talk.heard] == ["resting", "other", "other", "resting"]
    await fleet.finish()


async def test_what_is_said_while_the_only_node_moves_waits_for_it(fleet: Fleet):
    a, b = await fleet.serve(2)
    await fleet.node("before", a)
    async with talking(b.url) as talk:
        await talk.speak()
        await talk.wait_outcomes(1)
        await leave(fleet, a, by_command=False)
        # Nodes take a moment to move; however slow this machine is, the test's node shall be in time.
        assert await fleet.redis.ask("PEXPIRE", "lingua:schedulers:leaving", "60000") == 1
        await talk.speak()
        await fleet.node("after", b)
        await talk.finish()
    assert [one.node_id for one in talk.heard] == ["before", "after"]
    await fleet.finish()


async def test_workers_that_share_a_port_leave_together(processes: Processes):
    port = free_port()
    serve = processes.lingua("serve", "--embedded-redis", "--port", str(port), "--workers", "2")
    await serve.wait_output("workers")
    drain = processes.lingua("drain", f"127.0.0.1:{port}")
    assert await drain.wait_exit() == 0, drain.story()
    assert await serve.wait_exit() == 0, serve.story()


async def test_what_cannot_be_drained_is_told(fleet: Fleet):
    [a] = await fleet.serve()
    nobody = fleet.processes.lingua("drain", a.url, "--node", "nobody")
    assert await nobody.wait_exit() == 1
    assert "no node 'nobody' is registered" in nobody.stderr
    nowhere = fleet.processes.lingua("drain", f"http://127.0.0.1:{free_port()}")
    assert await nowhere.wait_exit() == 1
    assert "no instance answers at" in nowhere.stderr
    for child in (nobody, nowhere):
        assert len(child.stderr.splitlines()) == 1
    await fleet.finish()
