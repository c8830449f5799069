"""What the pages and `/api/v1` show: made every two seconds in the background, so that no request costs a scan."""

import asyncio
from dataclasses import replace

import msgspec

from lingua_scheduler.protocol.ids import InstanceId, JobId, SessionId
from lingua_scheduler.scheduler.answers import FeedParts, Picture, Pictures
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.gauges import set_levels
from lingua_scheduler.scheduler.history import History
from lingua_scheduler.scheduler.nodes import Nodes
from lingua_scheduler.scheduler.pictures import UNSEEN, Fleet, pictures, shown
from lingua_scheduler.scheduler.reports import decode_report, encode_report, make_report
from lingua_scheduler.scheduler.sessions import Sessions
from lingua_scheduler.scheduler.tally import shortened
from lingua_scheduler.store.records import JobStory

PICTURES = Pictures.__struct_fields__


class Snapshots:
    """The latest picture of the fleet. `age_ms` in each says how old it is."""

    def __init__(self, context: Context, sessions: Sessions, nodes: Nodes) -> None:
        self._context = context
        self._sessions = sessions
        self._nodes = nodes
        self._pictures = pictures(UNSEEN)
        self._made_at_ms = 0
        self._changed = asyncio.Event()
        self._parts: dict[str, bytes] | None = None
        self.history = History()
        self.version = 0
        """Grows with each refresh."""
        self.instances: set[InstanceId] = set()
        """Who is alive, this instance included."""
        self.is_draining = False

    @property
    def age_ms(self) -> int:
        return self._context.clock.now_ms() - self._made_at_ms

    def unready_reasons(self) -> list[str]:
        """Why no client should be sent here; empty when ready."""
        reasons: list[str] = []
        if not self._context.health.is_up:
            reasons.append("Redis is unreachable")
        if self.is_draining:
            reasons.append("draining")
        if self._context.limits.is_out_of_memory:
            reasons.append("no memory for new sessions")
        return reasons

    def get(self, name: str) -> Picture:
        """One picture by its name in `PICTURES`."""
        return msgspec.structs.replace(getattr(self._pictures, name), age_ms=self.age_ms)

    def parts(self) -> dict[str, bytes]:
        """The pictures as JSON, bounded, for whoever watches; encoded once for all of them.

        What did not change is the same object as before.
        """
        if self._parts is None:
            parts = shown(self._pictures)
            self._parts = {name: msgspec.json.encode(getattr(parts, name)) for name in FeedParts.__struct_fields__}
        return self._parts

    async def wait_newer(self, version: int) -> None:
        """Until there is a newer picture than `version`, or `wake`."""
        if self.version == version:
            await self._changed.wait()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def job(self, job_id: JobId) -> JobStory | None:
        """A job's story, its session's id shortened, or None where the store does not know it. Raises StoreError."""
        story = await self._context.store.jobs.story(job_id)
        return story and replace(story, session_id=SessionId(shortened(story.session_id)))

    async def refresh(self) -> None:
        """Make all pictures anew. Raises StoreError."""
        fleet = await self._look()
        set_levels(self._context, self._sessions, self._nodes, fleet, is_draining=self.is_draining)
        self.history.add(fleet.wall_ms, fleet.nodes, fleet.pools, fleet.reports)
        self._pictures = pictures(fleet)
        self._parts = None
        self._made_at_ms = self._context.clock.now_ms()
        self.version += 1
        self.wake()

    async def _look(self) -> Fleet:
        context, store = self._context, self._context.store
        nodes = await store.nodes.snapshot()
        pools = await store.nodes.pools(nodes)
        known = await store.instances.known()
        alive = [name for name, _ in known.alive]
        self.instances = set(alive)
        mine = make_report(
            context, self._sessions, nodes=len(self._nodes), is_draining=self.is_draining, instances=len(alive)
        )
        peers = [name for name in alive if name != context.instance_id]
        told = await store.instances.exchange(context.instance_id, encode_report(mine), peers)
        reports = [mine, *(report for body in told if (report := decode_report(body)) is not None)]
        gone = [*known.with_inbox, *known.with_dead_letters]
        group = context.config.scheduler.phase2.stream_group
        return Fleet(
            wall_ms=context.clock.wall_ms(),
            known=known,
            nodes=nodes,
            pools=pools,
            reports={report.instance_id: report for report in reports},
            inboxes=await store.inboxes.states([*alive, *gone], group),
        )
