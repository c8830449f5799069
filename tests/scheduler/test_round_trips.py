"""What an utterance costs Redis: two round trips where its first attempt succeeds, and no command that scans."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from lingua_scheduler.protocol import messages as wire
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.client import RedisClient, Script
from tests.support.peers import Peers

UPKEEP = {"reap", "heartbeat_with_pool_assign"}
"""By the clock, whatever is said meanwhile."""


async def test_an_utterance_takes_one_selection_and_one_finish(
    peers: Peers, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
):
    node, client = await peers.node(), await peers.client()
    await node.register()
    await client.open()
    asked: list[str] = []
    run = RedisClient.run

    async def counting(self: RedisClient, script: Script, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        asked.append(script.name)
        return await run(self, script, keys, arguments)

    monkeypatch.setattr(RedisClient, "run", counting)
    for _ in range(20):
        await client.speak(400)
        await node.answer(await node.take_job())
        await client.wait_for(wire.TranslationResult)
    assert [name for name in asked if name not in UPKEEP] == ["select_node", "finish_job"] * 20
    stats = str(await scheduler.context.store.client.call("INFO", "commandstats"))
    commands = set(re.findall(r"cmdstat_([a-z|]+):", stats))
    assert "evalsha" in commands
    assert not commands & {"eval", "keys", "scan", "hscan", "sscan", "zscan"}
