"""Text while somebody is still speaking: a client, an instance and a node with engine processes, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

from lingua_scheduler.client import SessionEvent, SessionOptions, connect
from lingua_scheduler.node.app import NodeApp
from lingua_scheduler.protocol.messages import AsrPartial, TranslationResult
from lingua_scheduler.runtime.config import Config, NodeConfig, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.support import wait_until

ENGINES = "scripted-asr?partials=2&text=well hello there,scripted-mt,scripted-tts"
OPTIONS = SessionOptions(enable_streaming_asr=True, partial_update_interval_ms=200)
CHUNK = b"\x10\x20" * 320
"""Of 20 ms: what is sent while the test waits stays far below the longest utterance."""


async def test_a_partial_text_arrives_before_the_final_is_sent():
    async with EmbeddedRedis.start() as redis, Scheduler.start(Config(server=ServerConfig(port=0)), redis.url) as here:
        settings = NodeConfig(url=f"{here.url.replace('http', 'ws')}/ws/node", engines=ENGINES, capacity=2)
        node = asyncio.create_task(NodeApp(settings).run())
        try:
            await wait_until(lambda: any(one.connection.status == "ready" for one in here.nodes.all()), "the node")
            await _read_along(f"{here.url.replace('http', 'ws')}/ws/session")
        finally:
            node.cancel()
            await asyncio.gather(node, return_exceptions=True)


async def _read_along(url: str) -> None:
    log: list[SessionEvent] = []
    async with connect(url, src="en", tgt="pt", options=OPTIONS) as session:
        reading = asyncio.create_task(_log(session.events(), log))

        async def has_read_along() -> bool:
            await session.send_audio(CHUNK)
            return sum(isinstance(one, AsrPartial) for one in log) >= 2

        await wait_until(has_read_along, "partial texts of speech that has not ended")
        before = [one for one in log if isinstance(one, AsrPartial)]
        assert all((one.text, one.is_final) == ("well hello there", False) for one in before)
        assert [one.stable_chars for one in before[:2]] == [0, 16]
        assert not any(isinstance(one, TranslationResult) for one in log)
        await session.send_final()
        session.finish()
        await reading
    assert [one.text_asr for one in log if isinstance(one, TranslationResult)] == ["well hello there"]
    after = [one for one in log if isinstance(one, AsrPartial)]
    assert {one.job_id for one in after} == {before[0].job_id}
    assert all(one.text.startswith("well hello there"[: one.stable_chars]) for one in after)


async def _log(events: AsyncIterator[SessionEvent], log: list[SessionEvent]) -> None:
    async for event in events:
        log.append(event)  # noqa: PERF401 - read by the test while it grows
