"""One stream of pictures for everybody who watches: server-sent events, each part of the fleet when it has changed.

A viewer has no queue. It is sent what is newest once it has taken what it was sent before: who reads slowly sees fewer
pictures, not older ones, and costs one picture of memory at most. One that takes nothing for `STALL_S` is closed; it
may come again.
"""

import asyncio

import msgspec
from aiohttp import web

from lingua_scheduler.scheduler.answers import Refusal, Tick
from lingua_scheduler.scheduler.context import Context
from lingua_scheduler.scheduler.control import refused
from lingua_scheduler.scheduler.desk import answer
from lingua_scheduler.scheduler.snapshots import Snapshots

VIEWERS_MAX = 64
STALL_S = 10.0
TICK_S = 5.0
"""A sign of life at least so often, also while Redis is away and pictures stand still."""
RETRY_MS = 1000


class Feed:
    """All viewers of one instance."""

    def __init__(self, context: Context, snapshots: Snapshots) -> None:
        self._context = context
        self._snapshots = snapshots
        self._viewers = 0
        self._is_closing = False

    async def close(self, _: web.Application) -> None:
        """Let every viewer go."""
        self._is_closing = True
        self._snapshots.wake()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The handler of `/api/v1/feed`: `tick`, one event for each changed part, `samples`, `events`."""
        if self._viewers >= VIEWERS_MAX:
            response = answer(Refusal(error=f"{VIEWERS_MAX} viewers watch already"), status=503)
            response.headers["Retry-After"] = "10"
            return response
        self._viewers += 1
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            await self._show(response, _Viewer(may_control=self._may_control(request)))
            return response
        finally:
            self._viewers -= 1

    async def _show(self, response: web.StreamResponse, viewer: "_Viewer") -> None:
        """Until the viewer leaves, stalls, or the instance does."""
        await response.write(b"retry: %d\n\n" % RETRY_MS)
        while not self._is_closing:
            version = self._snapshots.version
            try:
                async with asyncio.timeout(STALL_S):
                    await response.write(self._news(viewer))
            except (TimeoutError, ConnectionError):
                return
            await self._wait_newer(version)

    async def _wait_newer(self, version: int) -> None:
        """For a newer picture, the end, or `TICK_S`. (The end, too, wakes who waits for a picture.)"""
        try:
            async with asyncio.timeout(TICK_S):
                await self._snapshots.wait_newer(version)
        except TimeoutError:
            pass

    def _may_control(self, request: web.Request) -> bool:
        """Whether requests from there would be obeyed, if they came as such requests must."""
        answered = refused(request, self._context.guard)
        return answered is None or answered.status == web.HTTPUnsupportedMediaType.status_code

    def _news(self, viewer: "_Viewer") -> bytes:
        """What this viewer has not been sent."""
        snapshots = self._snapshots
        tick = Tick(
            at_ms=self._context.clock.wall_ms(),
            age_ms=snapshots.age_ms,
            instance_id=self._context.instance_id,
            is_store_up=self._context.health.is_up,
            is_draining=snapshots.is_draining,
            may_control=viewer.may_control,
        )
        events = [_event("tick", msgspec.json.encode(tick))]
        for name, body in snapshots.parts().items():
            if viewer.seen.get(name) != body:
                viewer.seen[name] = body
                events.append(_event(name, body))
        if samples := snapshots.history.after(viewer.sample):
            viewer.sample = samples[-1].seq
            events.append(_event("samples", msgspec.json.encode(samples)))
        happened = msgspec.json.encode(list(snapshots.history.events))
        if viewer.seen.get("events") != happened:
            viewer.seen["events"] = happened
            events.append(_event("events", happened))
        return b"".join(events)


class _Viewer:
    """What one viewer has been sent."""

    def __init__(self, *, may_control: bool) -> None:
        self.may_control = may_control
        self.seen: dict[str, bytes] = {}
        self.sample = 0


def _event(name: str, body: bytes) -> bytes:
    """JSON has no raw line breaks, so one line of data it is."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), body)
