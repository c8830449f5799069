"""The client at one instance, the node at another: every message that instances have for each other crosses.

Seen where they cross, at Redis, and complete: a message that is added to the protocol is missed here.
"""

import ast
import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, get_args

from lingua_scheduler.protocol import bus, node
from lingua_scheduler.protocol import messages as wire
from tests.e2e.fleet import Fleet, Instance, Redis
from tests.support import wait_until
from tests.support.peers import ClientPeer, NodePeer, Peers

EVERY: set[type[Any]] = {*get_args(bus.BusMessage), *get_args(bus.JobReport)}
SEEN_ELSEWHERE: set[type[Any]] = {bus.AssignFailed, bus.AskJobs, bus.JobGone}
"""Races bring the first about: `test_an_attempt_that_was_placed_and_not_sent_begins_anew_at_once`.

A Redis that has lost something brings about the others: `tests/scheduler/test_bus.py`, the tests of what it lost.
"""
_PAYLOAD = re.compile(rb'"XADD" "lingua:streams:.*" "message" "(.*)"\r\n')


@dataclass(slots=True)
class Scene:
    """The peers of both instances, and which kinds of messages have crossed so far."""

    fleet: Fleet
    a: Instance
    at_a: Peers
    at_b: Peers
    crossed: set[type[Any]]

    async def node(self, name: str, **fields: Any) -> NodePeer:
        """Selectable, at b."""
        peer = await self.at_b.node()
        await peer.register(name, **fields)
        await self.fleet.wait_selectable(name)
        return peer

    async def client(self) -> ClientPeer:
        peer = await self.at_a.client()
        await peer.open(protocol_version="1.1")
        return peer

    async def wait_crossed(self, *kinds: type[Any]) -> None:
        for kind in kinds:
            await wait_until(lambda kind=kind: kind in self.crossed, f"{kind.__name__} to cross")


@contextlib.asynccontextmanager
async def crossing(redis: Redis) -> AsyncGenerator[set[type[Any]]]:
    """What is put into inboxes, reports by what they report."""
    reader, writer = await asyncio.open_unix_connection(str(redis.socket), limit=1 << 24)
    writer.write(b"MONITOR\r\n")
    assert await reader.readline() == b"+OK\r\n"
    crossed: set[type[Any]] = set()

    async def read() -> None:
        while line := await reader.readline():
            if (found := _PAYLOAD.search(line)) is not None:
                message = bus.decode_bus(ast.literal_eval(f'b"{found[1].decode()}"'))
                crossed.add(type(message))
                if isinstance(message, bus.ReportJob):
                    crossed.add(type(message.report))

    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read())
            yield crossed
            reading.cancel()
    finally:
        writer.close()


async def test_every_message_between_a_client_and_a_node_crosses(fleet: Fleet):
    a, b = await fleet.serve(2, scheduler__job_timeout_seconds=1)
    async with crossing(fleet.redis) as crossed, Peers.of(a.url) as at_a, Peers.of(b.url) as at_b:
        scene = Scene(fleet, a, at_a, at_b, crossed)
        for part in (work, hold, refuse, be_late, wait_for_a_slot, drain, meet, move):
            await part(scene)
        assert EVERY - crossed <= SEEN_ELSEWHERE
    await fleet.finish()


async def work(scene: Scene) -> None:
    worker, client = await scene.node("worker"), await scene.client()
    await client.speak(400)
    job = await worker.take_job()
    about: dict[str, Any] = {
        "job_id": job.job_id,
        "session_id": job.session_id,
        "trace_id": job.trace_id,
        "node_id": "worker",
    }
    await worker.send(node.JobAck(attempt_id=1, **about))
    await worker.send(node.JobStarted(attempt_id=1, **about))
    await worker.send(node.NodeAsrPartial(utterance_index=0, text="part", is_final=False, **about))
    assert (await client.wait_for(wire.AsrPartial)).text == "part"
    await worker.answer(job)
    assert (await client.wait_for(wire.TranslationResult)).utterance_index == 0
    await scene.wait_crossed(
        bus.AssignJob,
        bus.ReportJob,
        node.JobAck,
        node.JobStarted,
        node.NodeAsrPartial,
        node.JobResult,
        bus.CountOutcome,
    )
    await client.ws.close()
    await worker.ws.close()


async def hold(scene: Scene) -> None:
    keeper, client = await scene.node("keeper"), await scene.client()
    await client.speak(400)
    first = await keeper.take_job()
    await keeper.send(node.JobHeld(job_id=first.job_id, attempt_id=1, reason="short", deadline_ms=10_000))
    await client.speak(400)
    second = await keeper.take_job()
    await keeper.answer(first, merged_into=second.job_id)
    await keeper.answer(second)
    assert (await client.wait_for(wire.MissingResult)).reason == "merged"
    assert (await client.wait_for(wire.TranslationResult)).utterance_index == 1
    await scene.wait_crossed(node.JobHeld)
    await client.ws.close()
    await keeper.ws.close()


async def refuse(scene: Scene) -> None:
    """Another node, which then is lost with the next sentence."""
    picky, client = await scene.node("picky"), await scene.client()
    await client.speak(400)
    job = await picky.take_job()
    willing = await scene.node("willing")
    await picky.send(node.JobReject(job_id=job.job_id, attempt_id=1, code="FULL"))
    await willing.answer(await willing.take_job())
    await client.wait_for(wire.TranslationResult)
    await picky.ws.close()
    await client.speak(400)
    await willing.take_job()
    last = await scene.node("last")
    await willing.ws.close()
    await last.answer(await last.take_job())
    await client.wait_for(wire.TranslationResult)
    await scene.wait_crossed(node.JobReject, bus.NodeGone)
    await client.ws.close()
    await last.ws.close()


async def be_late(scene: Scene) -> None:
    """A node that acknowledges nothing has a second here, then it is told to forget the job."""
    slow, client = await scene.node("slow"), await scene.client()
    await client.speak(400)
    job = await slow.take_job()
    quick = await scene.node("quick")
    assert (await slow.wait_for(node.JobCancel)).job_id == job.job_id
    await quick.answer(await quick.take_job())
    await client.wait_for(wire.TranslationResult)
    await scene.wait_crossed(bus.CancelJob)
    await client.ws.close()
    await slow.ws.close()
    await quick.ws.close()


async def wait_for_a_slot(scene: Scene) -> None:
    single, first = await scene.node("single", capacity=1), await scene.at_b.client()
    await first.open()
    await first.speak(400)
    job = await single.take_job()
    second = await scene.client()
    await second.speak(400)
    await wait_until(lambda: scene.fleet.redis.keys("lingua:v1:*queue*"), "the second to stand in line")
    await single.answer(job)
    await single.answer(await single.take_job())
    await second.wait_for(wire.TranslationResult)
    await scene.wait_crossed(bus.SlotFreed)
    for peer in (first, second, single):
        await peer.ws.close()


async def drain(scene: Scene) -> None:
    leaver = await scene.node("leaver")
    command = scene.fleet.processes.lingua("drain", scene.a.url, "--node", "leaver")
    assert (await leaver.wait_for(node.NodeControl)).command == "drain"
    assert await command.wait_exit() == 0, command.story()
    await scene.wait_crossed(bus.DrainNode)
    await leaver.ws.close()


async def meet(scene: Scene) -> None:
    """In a room: the speaker at a, the node and the listener at b."""
    interpreter, ana, bea = await scene.node("interpreter"), await scene.client(), await scene.at_b.client()
    await bea.open(protocol_version="1.1")
    await ana.send(wire.RoomCreate(client_ts=0, preferred_lang="en"))
    code = (await ana.wait_for(wire.RoomCreateAck)).room_code
    await bea.send(wire.RoomJoin(room_code=code, preferred_lang="pt"))
    await ana.wait_for(wire.RoomMembers, lambda message: len(message.members) == 2)
    await ana.speak(400)
    await interpreter.answer(await interpreter.take_job())
    assert (await bea.wait_for(wire.TranslationResult)).session_id == ana.session_id
    await ana.send(wire.WebrtcOffer(room_code=code, to=bea.session_id, sdp="offer"))
    assert (await bea.wait_for(wire.WebrtcOffer)).to == ana.session_id
    await scene.wait_crossed(bus.RoomChanged, bus.RoomLine, bus.RoomSignal)
    for peer in (ana, bea):
        await peer.send(wire.RoomLeave(room_code=code))
        await peer.ws.close()
    await interpreter.ws.close()


async def move(scene: Scene) -> None:
    client = await scene.at_a.client()
    ack = await client.open(protocol_version="1.1")
    await client.ws.close()
    back = await scene.at_b.client()
    await back.send(
        wire.SessionResume(session_id=ack.session_id, resume_token=ack.resume_token or "", last_result_seq=0)
    )
    await back.wait_for(wire.SessionResumeAck)
    await scene.wait_crossed(bus.SessionMoved)
    await back.ws.close()
