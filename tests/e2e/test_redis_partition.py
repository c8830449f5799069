"""The network between one instance and Redis fails: its sessions stay, its nodes stay its own, its peers go on."""

import asyncio

import pytest

from lingua_scheduler.protocol.errors import ErrorCode
from tests.e2e.fleet import Fleet
from tests.e2e.talk import talking
from tests.e2e.wire import Fault, wire_to
from tests.support import wait_until

DOWN = ErrorCode.SCHEDULER_DEPENDENCY_DOWN


@pytest.mark.parametrize("fault", ["black hole", "replies held", "reset"])
async def test_an_instance_is_cut_off_from_redis(fleet: Fleet, fault: Fault):
    at = fleet.processes.folder / "wire"
    async with wire_to(fleet.redis.socket, at) as wire:
        [cut] = await fleet.serve(redis_url=f"unix://{at}", scheduler__phase2__redis__command_timeout_ms=1000)
        [other] = await fleet.serve()
        far, near = await asyncio.gather(fleet.node("far", cut, other), fleet.node("near", other, cut))
        async with talking(cut.url) as here, talking(other.url) as there:
            await asyncio.gather(here.speak(3), there.speak(3))
            await asyncio.gather(here.wait_outcomes(3), there.wait_outcomes(3))

            wire.cut(fault)
            await here.speak(3)
            await wait_until(lambda: here.errors(DOWN), "the client to be told")
            await cut.wait_ready(503)
            assert await cut.status("/health") == 200
            assert await other.status() == 200
            await asyncio.gather(here.speak(3), there.speak(3))
            assert await fleet.redis.ask("HGET", "lingua:v1:node:far", "instance") == cut.instance_id
            wire.mend()

            await cut.wait_ready()
            await asyncio.gather(here.speak(2), there.speak(2))
            await asyncio.gather(here.finish(60), there.finish(60))
        assert (here.errors(DOWN), there.errors(DOWN)) == (1, 0)
        assert not here.disconnections() + there.disconnections()
        assert not here.missing() + there.missing()
        assert (far.registrations(), near.registrations()) == ([cut.ws], [other.ws]), "nobody's node moved"
        assert await fleet.redis.ask("HGET", "lingua:v1:node:far", "instance") == cut.instance_id
        await fleet.finish()
