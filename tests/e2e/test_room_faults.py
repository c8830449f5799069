"""Rooms of real processes: an instance is killed, its members go on elsewhere, everybody hears everything once."""

import contextlib
import signal
from collections.abc import AsyncGenerator

from lingua_scheduler.protocol import messages as wire
from tests.e2e.fleet import Fleet, Instance
from tests.support import wait_until
from tests.support.peers import ClientPeer, Peers


class Person:
    """A client that moves on to another instance when its own is gone."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.peer: ClientPeer
        self.ack: wire.SessionInitAck
        self.last_seq = 0
        self.heard: list[int] = []

    async def open(self, peers: Peers) -> None:
        self.peer = await peers.client()
        self.ack = await self.peer.open("en", "pt", protocol_version="1.1")

    async def resume(self, peers: Peers) -> None:
        before, self.peer = self.peer, await peers.client()
        self.peer.session_id, self.peer.seq = before.session_id, before.seq
        await self.peer.send(
            wire.SessionResume(
                session_id=self.ack.session_id,
                resume_token=self.ack.resume_token or "",
                last_result_seq=self.last_seq,
            )
        )
        await self.peer.wait_for(wire.SessionResumeAck)

    async def hear(self) -> None:
        """The next line, acknowledged."""
        line = await self.peer.wait_for(wire.TranslationResult)
        self.last_seq = line.result_seq or 0
        await self.peer.send(wire.ResultAck(session_id=self.ack.session_id, result_seq=self.last_seq))
        self.heard.append(line.utterance_index)

    async def wait_members(self, count: int) -> None:
        await self.peer.wait_for(wire.RoomMembers, lambda one: len(one.members) == count)


@contextlib.asynccontextmanager
async def places(*instances: Instance) -> AsyncGenerator[list[Peers]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Peers.of(one.url)) for one in instances]


async def meet(*people: tuple[Person, Peers]) -> None:
    """All in one room, the first as its host."""
    code = ""
    for person, peers in people:
        await person.open(peers)
        if not code:
            await person.peer.send(wire.RoomCreate(client_ts=0, preferred_lang=person.lang))
            code = (await person.peer.wait_for(wire.RoomCreateAck)).room_code
        else:
            await person.peer.send(wire.RoomJoin(room_code=code, preferred_lang=person.lang))
    for person, _ in people:
        await person.wait_members(len(people))


async def test_a_listener_whose_instance_is_killed_hears_everything_once(fleet: Fleet):
    a, b, c = await fleet.serve(3)
    await fleet.node("node", a)
    for one in (a, c):
        await one.wait_peers(3)
    ana, bea, cleo = Person("en"), Person("pt"), Person("pt")
    async with places(a, b, c) as (at_a, at_b, at_c):
        await meet((ana, at_a), (bea, at_b), (cleo, at_c))
        await ana.peer.speak(400)
        await bea.hear()
        await cleo.hear()

        b.child.send(signal.SIGKILL)
        await b.child.wait_exit()
        await ana.peer.speak(400)
        await cleo.hear()
        # The presence ends 30 s after its last renewal; here it ends now: a peer takes the dead one's inbox over.
        await fleet.redis.ask("DEL", f"lingua:schedulers:presence:{b.instance_id}")
        inbox = f"lingua:streams:{{instance:{b.instance_id}}}:inbox"

        async def is_gone() -> bool:
            return not await fleet.redis.ask("EXISTS", inbox)

        await wait_until(is_gone, "the inbox of the dead to be taken over", 30)
        await ana.peer.speak(400)
        await cleo.hear()

        await bea.resume(at_c)
        await bea.hear()
        await bea.hear()
        await ana.peer.speak(400)
        await bea.hear()
        await cleo.hear()
        assert bea.heard == cleo.heard == [0, 1, 2, 3]
    await fleet.finish()


async def test_what_was_said_at_an_instance_that_is_killed_is_heard_once(fleet: Fleet):
    a, b, c = await fleet.serve(3)
    node = await fleet.node("node", a, work_ms=-1)
    ana, bea = Person("en"), Person("pt")
    async with places(a, b, c) as (at_a, at_b, at_c):
        await meet((ana, at_b), (bea, at_a))
        await ana.peer.speak(400)
        await node.wait_jobs()

        b.child.send(signal.SIGKILL)
        await b.child.wait_exit()
        await ana.resume(at_c)
        node.release()
        await bea.hear()
        await ana.peer.speak(400)
        await bea.hear()
        assert bea.heard == [0, 1]
    await fleet.finish()
