"""Many schedulers at once, and replies that never arrive."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lingua_scheduler.core.placement import Queued, Selected, SelectReply
from lingua_scheduler.protocol.ids import InstanceId, JobId, NodeId
from lingua_scheduler.store.client import Script
from lingua_scheduler.store.errors import StoreError
from lingua_scheduler.store.records import JobReply, Offer, Word
from lingua_scheduler.store.replies import number
from lingua_scheduler.store.store import Store
from tests.store.dump import dump
from tests.store.samples import join, request

SCHEDULERS = 8
JOBS_EACH = 1000
CAPACITIES = {NodeId(f"n{number}"): 1 + number % 4 for number in range(12)}


class Fleet:
    """Schedulers with a connection each, that hand each other the offers they get."""

    def __init__(self) -> None:
        self.offered: dict[JobId, asyncio.Event] = {}
        self.held: Counter[NodeId] = Counter()
        self.is_over = False
        self.done = 0
        self.missed = 0

    def offer(self, offers: tuple[Offer, ...]) -> None:
        for offer in offers:
            self.offered.setdefault(offer.job_id, asyncio.Event()).set()

    async def run_job(self, store: Store, name: str, instance: InstanceId) -> None:
        asked = request(name, preferred_instance=instance, wait_ms=60_000)
        reply = await store.jobs.select(asked)
        while isinstance(reply, Queued):
            event = self.offered.setdefault(asked.job_id, asyncio.Event())
            try:
                async with asyncio.timeout(1):
                    await event.wait()
            except TimeoutError:
                self.missed += 1
            event.clear()
            reply = await store.jobs.select(asked)
        assert isinstance(reply, Selected)
        self.held[reply.node_id] += 1
        assert self.held[reply.node_id] <= CAPACITIES[reply.node_id]
        await asyncio.sleep(0)
        self.held[reply.node_id] -= 1
        finished = await store.jobs.finish(asked.job_id, 1, reply.node_id, "completed")
        assert finished.word is Word.OK
        self.offer(finished.offers)
        self.done += 1

    async def run_scheduler(self, url: str, number: int) -> None:
        instance = InstanceId(f"i{number}")
        async with Store.open(url, rng=random.Random(number), timeout_ms=20_000) as store:
            gate = asyncio.Semaphore(8)

            async def one(job: int) -> None:
                async with gate:
                    await self.run_job(store, f"j{number}-{job}", instance)

            await asyncio.gather(*(one(job) for job in range(JOBS_EACH)))

    async def watch(self, store: Store) -> int:
        """Count reserved slots in Redis itself, again and again."""
        looks = 0
        while not self.is_over:
            counts = await store.client.pipeline([("ZCARD", f"lingua:v1:node:{node}:jobs") for node in CAPACITIES])
            for node, count in zip(CAPACITIES, counts, strict=True):
                assert number(count) <= CAPACITIES[node]
            looks += 1
        return looks


@pytest.mark.timeout(240)
async def test_capacity_is_never_exceeded_by_many_schedulers(store: Store, redis_url: str):
    for node, capacity in CAPACITIES.items():
        await join(store, node, capacity=capacity, instance=InstanceId(f"i{int(node[1:]) % SCHEDULERS}"))
    fleet = Fleet()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(fleet.watch(store))
        running = [group.create_task(fleet.run_scheduler(redis_url, number)) for number in range(SCHEDULERS)]
        await asyncio.gather(*running)
        fleet.is_over = True
    assert watching.result() > 10
    assert fleet.done == SCHEDULERS * JOBS_EACH
    assert fleet.missed <= fleet.done // 100, "waiting jobs are offered their slots; asking again is for lost offers"
    assert not [name for name in await dump(store.client) if name.endswith((":jobs", ":zh:en!", "queue:zh:en"))]


@asynccontextmanager
async def deaf(path: Path, redis_url: str) -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """A way to Redis on which replies are lost from the moment the event is set."""
    lost = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_redis = await asyncio.open_unix_connection(redis_url.removeprefix("unix://"))

        async def back() -> None:
            while data := await there.read(65536):
                if not lost.is_set():
                    writer.write(data)

        async with asyncio.TaskGroup() as group:
            returning = group.create_task(back())
            while data := await reader.read(65536):
                to_redis.write(data)
            returning.cancel()
        to_redis.close()
        writer.close()

    async with await asyncio.start_unix_server(relay, path):
        yield f"unix://{path}", lost


async def test_an_unknown_outcome_is_cured_by_asking_again(store: Store, redis_url: str, tmp_path: Path):
    """Each call happened and its reply was lost: the repetition answers as the lost reply did, and changes nothing."""
    await join(store, "n", capacity=1)
    for script in ("select_node", "renew_lease", "requeue_job", "finish_job"):  # or the first reply is NOSCRIPT
        await store.client.call("SCRIPT", "LOAD", Script(script).text)
    async with deaf(tmp_path / "relay", redis_url) as (url, lost), Store.open(url, timeout_ms=150) as far:
        calls: dict[str, Callable[[Store], Awaitable[SelectReply | JobReply]]] = {
            "select": lambda one: one.jobs.select(request("j")),
            "renew": lambda one: one.jobs.renew_lease(JobId("j"), 1, NodeId("n"), 1000, "running"),
            "requeue": lambda one: one.jobs.requeue(JobId("j"), 1, "x"),
            "select again": lambda one: one.jobs.select(request("j", 2)),
            "finish": lambda one: one.jobs.finish(JobId("j"), 2, NodeId("n"), "completed"),
        }
        words: dict[str, object] = {}
        for name, call in calls.items():
            lost.clear()
            await far.ping()
            lost.set()
            with pytest.raises(StoreError) as caught:
                await call(far)
            assert caught.value.may_have_happened
            reserved = (await store.nodes.snapshot())[0].reserved
            lost.clear()
            reply = await call(far)
            assert isinstance(reply, Selected | JobReply)
            words[name] = reply.why if isinstance(reply, Selected) else reply.word
            assert (await store.nodes.snapshot())[0].reserved == reserved
    assert words == {
        "select": "repeat", "renew": Word.OK, "requeue": Word.REPEAT, "select again": "repeat", "finish": Word.REPEAT
    }  # fmt: skip
