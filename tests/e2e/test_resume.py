"""A client whose network is cut again and again, against a real scheduler: nothing is lost, nothing comes twice."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from itertools import pairwise

from lingua_scheduler.client import Reconnected, connect
from lingua_scheduler.client.log import SessionLog
from lingua_scheduler.client.sound import read_sound_file
from lingua_scheduler.client.speaking import Pace, Speaker
from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from lingua_scheduler.protocol.messages import TranslationResult
from lingua_scheduler.runtime.clock import Clock
from tests.support import Processes

CUTS_MS = (2000, 9000, 14_000, 20_000)


class Cable:
    """A TCP relay in front of a port, to be cut: both ends see a reset, and what was under way is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: set[asyncio.StreamWriter] = set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends |= {writer, far_writer}
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, far_writer))
            group.create_task(_pump(far_reader, writer))

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def cable_to(port: int) -> AsyncGenerator[tuple[Cable, int]]:
    """A relay and its own port."""
    cable = Cable(port)
    server = await asyncio.start_server(cable.relay, "127.0.0.1", 0)
    try:
        yield cable, server.sockets[0].getsockname()[1]
    finally:
        cable.cut()
        server.close()


async def test_cut_connections_lose_no_speech_and_repeat_none(processes: Processes):
    scheduler = processes.lingua("serve", "--embedded-redis", "--port", "0")
    url = (await scheduler.wait_output("listening on")).split()[-1]
    node = processes.lingua("node", "--url", f"{url.replace('http', 'ws')}/ws/node", "--engines", "scripted?text=hello")
    await node.wait_output("registered at")
    cuts = list(CUTS_MS)
    reconnected = 0

    async with (
        cable_to(int(url.rpartition(":")[2])) as (cable, port),
        connect(f"127.0.0.1:{port}", src="en", tgt="pt") as session,
    ):
        log, clock = SessionLog(session.ack.session_id), Clock()

        def spoken(spoken_ms: int, is_speaking: bool) -> None:
            if cuts and spoken_ms >= cuts[0]:
                cuts.pop(0)
                cable.cut()

        async def speak() -> None:
            speaker = Speaker(session, log, Pace(speed=4), clock)
            await speaker.speak(read_sound_file(SENSE_AND_SENSIBILITY.path), spoken)
            session.finish()

        async with asyncio.TaskGroup() as group:
            group.create_task(speak())
            async for event in session.events():
                log.received(event, clock.now_ms())
                reconnected += isinstance(event, Reconnected)

    tally = log.tally()
    assert reconnected >= 1
    assert not cuts
    assert (tally.lost, tally.duplicated, tally.failed) == (0, 0, 0)
    assert tally.translated >= 4
    spans = [
        (one.outcome.speech_start_ms or 0, one.outcome.speech_end_ms or 0)
        for one in log.utterances
        if isinstance(one.outcome, TranslationResult)
    ]
    assert all(end <= start for (_, end), (start, _) in pairwise(spans)), f"no sound is in two utterances: {spans}"
    assert max(end for _, end in spans) <= session.sent_samples // 16
