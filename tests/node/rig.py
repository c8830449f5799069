"""A whole node with scripted engines in real worker processes, registered at a scheduler that a test plays."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from lingua_scheduler.node.app import NodeApp
from lingua_scheduler.node.audio import to_pcm16
from lingua_scheduler.node.engines.scripted import counting_audio
from lingua_scheduler.protocol.node import JobAck, JobResult, NodeRegister
from lingua_scheduler.runtime.config import NodeConfig
from tests.node.harness import FakeScheduler, Peer, job

RATE = 16_000


@dataclass(slots=True)
class Rig:
    scheduler: FakeScheduler
    app: NodeApp
    task: "asyncio.Task[None]"
    peer: Peer
    told: list[str]
    """What a person sees on the console."""
    session: str = "s-1"
    """Of the jobs that `assign` makes; their ids begin with it where it is not the usual one."""

    def assign(self, index: int, start: int, end: int, **fields: Any) -> None:
        """A job with samples `start` to `end` of the session's counted time line; `fields` as `harness.job`."""
        carried = fields.get("carried_audio_ms") or 0
        usual: dict[str, Any] = {
            "job_id": self.job(index),
            "session_id": self.session,
            "start_samples": start - carried * RATE // 1000,
        }
        self.peer.assign(job(index, **(usual | fields)), counted(start, end))

    async def ask(self, index: int, start: int, end: int, **fields: Any) -> JobResult:
        """Assign a job and wait for its result."""
        self.assign(index, start, end, **fields)
        return await self.result(index)

    async def result(self, index: int) -> JobResult:
        return await self.peer.result(self.job(index))

    def results(self) -> list[JobResult]:
        """Those of this session, in the order of arrival."""
        return [result for result in self.peer.all(JobResult) if result.session_id == self.session]

    def job(self, index: int) -> str:
        return f"job-{index}" if self.session == "s-1" else f"{self.session}-{index}"

    async def leave(self) -> None:
        """As SIGTERM does; returns when the node is gone."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def acks(self) -> list[tuple[str, int]]:
        return [(ack.job_id, ack.attempt_id) for ack in self.peer.all(JobAck) if ack.session_id == self.session]

    def registration(self) -> NodeRegister:
        return self.peer.all(NodeRegister)[0]


@asynccontextmanager
async def running_node(engines: str = "scripted", *, capacity: int = 4, heartbeat_s: int = 15) -> AsyncGenerator[Rig]:
    """A registered node; it leaves when the block ends, and all its processes with it."""
    told: list[str] = []
    async with FakeScheduler() as scheduler:
        settings = NodeConfig(
            url=scheduler.url, engines=engines, capacity=capacity, heartbeat_interval_seconds=heartbeat_s
        )
        app = NodeApp(settings, told.append, drain_s=5)
        task = asyncio.create_task(app.run())
        waiting = asyncio.create_task(scheduler.peer())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            await task
        rig = Rig(scheduler, app, task, await waiting, told)
        try:
            yield rig
        finally:
            await rig.leave()


def counted(start: int, end: int) -> bytes:
    return to_pcm16(counting_audio(start, end))


def heard(text: str | None) -> list[tuple[int, int]]:
    """The sample ranges that an echo names, those that touch as one."""
    found: list[tuple[int, int]] = []
    for start, end in re.findall(r"\[(-?\d+):(\d+)\]", text or ""):
        if found and found[-1][1] == int(start):
            found[-1] = (found[-1][0], int(end))
        else:
            found.append((int(start), int(end)))
    return found
