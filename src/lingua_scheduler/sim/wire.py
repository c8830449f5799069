"""The network: ordered connections with delay, which can stall, break, or break without anybody being told.

A connection delivers in order, as TCP does; different connections overtake each other freely. While it *stalls*, frames
wait (packets are lost and sent again). When it is *cut*, what is under way is lost, and each end learns of it a moment
later or, half-open, never: an end that was not told goes on sending into nothing.

While it *repeats*, some frames come once more, up to `REPEAT_MS` later and so behind others: as from a peer that sends
again what it does not know to have arrived. While its dialler does not *read*, what the scheduler sends it piles up in
the scheduler's queue, and a queue that is full ends the connection.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, cast

from lingua_scheduler.runtime import sockets
from lingua_scheduler.sim.loop import Process, VirtualLoop

REPEAT_MS = 400
REPEATS = 0.3
"""How many frames of a repeating connection come twice."""
LOST = 1006
"""How a broken connection ends, as WebSocket libraries say it."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Of the WebSocket layer: answered by whoever reads frames."""


Frame = str | bytes | Ping | sockets.Pong
PONG = sockets.Pong()


class Listener(Protocol):
    """Who can be dialled."""

    process: Process

    def accept(self, path: str, end: "End") -> bool:
        """Take the connection, or not."""
        ...


class End:
    """One end of a connection. `on_frame` and `on_close` are called as part of its process."""

    __slots__ = ("is_closed", "last_arrival_ms", "on_close", "on_frame", "peer", "process", "wire")

    def __init__(self, wire: "Wire", process: Process) -> None:
        self.wire = wire
        self.process = process
        self.peer: End
        self.on_frame: Callable[[Frame], None] = lambda _frame: None
        self.on_close: Callable[[int], None] = lambda _code: None
        self.is_closed = False
        self.last_arrival_ms = 0

    def send(self, frame: Frame) -> bool:
        if self.is_closed or not self.process.is_alive:
            return False
        self.wire.transmit(self.peer, self.peer.arrive, frame)
        fuses = self.wire.network.fuses
        if fuses and (fuse := fuses.get(self.process)) is not None:
            fuse()
        return True

    def close(self, code: int) -> None:
        """Behind what was sent. This end hears nothing more."""
        if self.is_closed or not self.process.is_alive:
            return
        self.is_closed = True
        self.wire.transmit(self.peer, self.peer.ended, code)

    def arrive(self, frame: Frame) -> None:
        if not self.is_closed and not self.wire.is_cut:
            self.on_frame(frame)

    def ended(self, code: int) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.on_close(code)
            self.wire.network.forget(self.wire)


class Wire:
    """One connection."""

    def __init__(self, network: "Network", here: Process, there: Process) -> None:
        self.network = network
        self.ends = (End(self, here), End(self, there))
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]
        self.is_cut = False
        self.stalled_until_ms = 0
        self.unread_until_ms = 0
        self.queue_bytes_max = sockets.QUEUE_BYTES_MAX
        self._repeated_to: tuple[End, ...] = ()
        self._repeated_until_ms = 0
        self.delays_ms = network.draw_delays()

    def transmit(self, to: End, callback: Callable[..., None], what: object) -> None:
        network = self.network
        if self.is_cut:
            return
        now_ms = network.loop.now_ms
        low_ms, high_ms = self.delays_ms
        delay_ms = low_ms + int(network.rng.random() * (high_ms - low_ms + 1))
        at_ms = max(to.last_arrival_ms, now_ms + delay_ms, self.stalled_until_ms)
        to.last_arrival_ms = at_ms
        network.loop.call_in(to.process, at_ms - now_ms, callback, what)
        if now_ms < self._repeated_until_ms and to in self._repeated_to and isinstance(what, str | bytes):
            self._send_again(to, what, at_ms - now_ms)

    def _send_again(self, to: End, frame: str | bytes, delay_ms: int) -> None:
        draws = self.network.repeats
        if draws.random() < REPEATS:
            self.network.loop.call_in(to.process, delay_ms + draws.randint(0, REPEAT_MS), to.arrive, frame)

    def cut(self, *, is_told: tuple[bool, bool] = (True, True)) -> None:
        """Break; `is_told`: whether each end learns of it."""
        if self.is_cut:
            return
        self.is_cut = True
        for end, told in zip(self.ends, is_told, strict=True):
            if told:
                self.network.loop.call_in(end.process, 1, end.ended, LOST)
        self.network.forget(self)

    def stall(self, for_ms: int) -> None:
        self.stalled_until_ms = max(self.stalled_until_ms, self.network.loop.now_ms + for_ms)

    def repeat(self, for_ms: int, *, to: "tuple[End, ...]") -> None:
        """Some frames towards these ends come twice."""
        self._repeated_to = to
        self._repeated_until_ms = self.network.loop.now_ms + for_ms

    def leave_unread(self, for_ms: int, queue_bytes_max: int) -> None:
        """The dialler reads nothing; the other end queues no more than that."""
        self.unread_until_ms = self.network.loop.now_ms + for_ms
        self.queue_bytes_max = queue_bytes_max


class Network:
    """All connections, by process."""

    def __init__(self, loop: VirtualLoop, rng: Random, repeats: Random, delays_ms: tuple[int, int] = (1, 20)) -> None:
        """`repeats`: which frames come twice, drawn apart so that all else stays as it is without."""
        self.loop = loop
        self.rng = rng
        self.delays_ms = delays_ms
        self.repeats = repeats
        self.wires: dict[Process, dict[Wire, None]] = {}
        self.fuses: dict[Process, Callable[[], None]] = {}
        """Told of each frame that leaves a process."""

    def draw_delays(self) -> tuple[int, int]:
        """The delays of a new connection: some are near, some far, some uneven."""
        low_ms, high_ms = self.delays_ms
        near_ms = self.rng.randint(low_ms, high_ms)
        return near_ms, near_ms + self.rng.randint(0, high_ms)

    def dial(
        self, process: Process, to: Listener, path: str, opened: Callable[[End], None], failed: Callable[[], None]
    ) -> None:
        """Connect `process` to `to`; one of the two is called, unless the other side is silent."""
        wire = Wire(self, process, to.process)
        here, there = wire.ends
        delay_ms = wire.delays_ms[0]

        def accept() -> None:
            if to.accept(path, there):
                self.wires.setdefault(process, {})[wire] = None
                self.wires.setdefault(to.process, {})[wire] = None
                wire.transmit(here, opened, here)
            else:
                self.loop.call_in(process, delay_ms, failed)

        if to.process.is_alive:
            self.loop.call_in(to.process, delay_ms, accept)
        else:
            self.loop.call_in(process, delay_ms, failed)

    def of(self, process: Process) -> list[Wire]:
        return list(self.wires.get(process, ()))

    def vanish(self, process: Process, *, is_told: bool) -> None:
        """The process is gone; its peers learn of it where its machine still runs."""
        for wire in self.of(process):
            wire.cut(is_told=(is_told, is_told))
        self.wires.pop(process, None)
        self.fuses.pop(process, None)

    def forget(self, wire: Wire) -> None:
        for end in wire.ends:
            if (wires := self.wires.get(end.process)) is not None:
                wires.pop(wire, None)


class SimSocket:
    """The scheduler's end as `runtime.sockets.Socket` presents it."""

    def __init__(self, loop: VirtualLoop, end: End) -> None:
        self.is_closed = False
        self.queued_bytes = 0
        self.end = end
        self._loop = loop
        self._inbox: deque[Frame | None] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._queue: deque[str | bytes] = deque()
        """What the peer does not read at present."""
        end.on_frame = self._put
        end.on_close = self._on_close

    def as_socket(self) -> sockets.Socket:
        return cast("sockets.Socket", self)

    def send_text_nowait(self, data: bytes) -> bool:
        return self._send(data.decode())

    def send_binary_nowait(self, data: bytes) -> bool:
        return self._send(data)

    def ping_nowait(self) -> bool:
        return not self.is_closed and self.end.send(Ping())

    async def serve(self, handle: sockets.Handle) -> None:
        while (frame := await self.receive()) is not None:
            if (work := handle(frame)) is not None:
                await work

    async def receive(self) -> sockets.Frame | None:
        while True:
            if not self._inbox:
                self._waiter = waiter = self._loop.create_future()
                await waiter
                self._waiter = None
            frame = self._inbox.popleft()
            if isinstance(frame, Ping):
                self.end.send(PONG)
                continue
            if frame is None:
                self.is_closed = True
            return frame

    def close_nowait(self, code: int, reason: str) -> None:
        del reason
        if not self.is_closed:
            self.is_closed = True
            self.end.close(code)
            self._put(None)

    async def wait_closed(self) -> None:
        self.is_closed = True
        self.end.close(1000)

    async def wait_drained(self) -> None:
        return

    def _send(self, frame: str | bytes) -> bool:
        """As production does: a reader that is too slow is shown out, with all that it has not read."""
        if self.is_closed:
            return False
        wire = self.end.wire
        if not self._queue and self._loop.now_ms >= wire.unread_until_ms:
            return self.end.send(frame)
        if self.queued_bytes + len(frame) > wire.queue_bytes_max:
            self._queue.clear()
            self.queued_bytes = 0
            self.close_nowait(sockets.TRY_AGAIN_LATER, "reader too slow")
            return False
        if not self._queue:
            self._loop.call_in(self.end.process, wire.unread_until_ms - self._loop.now_ms, self._send_queued)
        self._queue.append(frame)
        self.queued_bytes += len(frame)
        return True

    def _send_queued(self) -> None:
        wait_ms = self.end.wire.unread_until_ms - self._loop.now_ms
        if wait_ms > 0 and self._queue:
            self._loop.call_in(self.end.process, wait_ms, self._send_queued)
            return
        while self._queue:
            self.end.send(self._queue.popleft())
        self.queued_bytes = 0

    def _on_close(self, _code: int) -> None:
        self._put(None)

    def _put(self, frame: Frame | None) -> None:
        self._inbox.append(frame)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():  # its process was killed
                waiter.set_result(None)
