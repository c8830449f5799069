"""A lane: one engine, the processes or connections that serve it, and the bounded queue of calls before them.

**Process lanes.** Each of the lane's slots is one task that owns at most one process and repeats: start it (loading the
model), serve calls from the shared queue one at a time, replace it when it died or a call passed its deadline.

| what happens | the call | the process |
|---|---|---|
| result, or EngineError of the engine | answered | goes on |
| deadline passed | `NMT_TIMEOUT`, `TTS_TIMEOUT` or `PROCESSING_ERROR`, retryable | killed, replaced |
| the process dies during the call | PROCESSING_ERROR, retryable | replaced |
| the process dies between calls | none is lost | replaced at once |
| the caller is cancelled while waiting | leaves the queue | is not disturbed |
| the caller is cancelled during the call | its result is dropped | finishes the call, or meets the deadline |
| a replacement does not load | MODEL_NOT_AVAILABLE once no slot is left | tried again after 0.5 s, doubling to 30 s |

A call that finds `queue_max` calls waiting is refused at once with NODE_OVERLOADED: the scheduler gave more than the
node's capacity. **Remote lanes** run their engine on the loop, `concurrency` calls at a time, with the same rules.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lingua_scheduler.node.engines.base import (
    AnyAsyncEngine,
    AsrRequest,
    Emit,
    EngineCard,
    EngineError,
    Request,
    Result,
    Stage,
)
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.node.workers.process import WorkerDiedError, WorkerProcess
from lingua_scheduler.protocol.errors import ErrorCode

LOAD_TIMEOUT_S = 180.0
"""A large model from a slow disk; past it the engine counts as hung."""
_BACKOFF_FIRST_S = 0.5
_BACKOFF_LAST_S = 30.0
_TIMEOUT_CODES = {Stage.MT: ErrorCode.NMT_TIMEOUT, Stage.TTS: ErrorCode.TTS_TIMEOUT}


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """A lane as heartbeats and the console show it."""

    spec: EngineSpec
    stage: Stage
    card: EngineCard | None
    ready: int
    slots: int
    running: int
    waiting: int
    load_ms: int
    replaced: int
    reason: str
    """Why no slot is ready; empty while one is."""


@dataclass(slots=True, eq=False)
class _Call:
    request: Request
    emit: Emit | None
    future: "asyncio.Future[Result]"

    def conclude(self, outcome: "Result | EngineError") -> None:
        """Answer the caller, unless it has gone."""
        if self.future.done():
            return
        if isinstance(outcome, EngineError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def deadline_s(card: EngineCard, request: Request) -> float:
    """What the card allows one call for this request."""
    seconds = len(request.audio) / 16_000 if isinstance(request, AsrRequest) else 0.0
    return card.limits.timeout_s + card.limits.timeout_per_audio_s * seconds


def timeout_error(spec: EngineSpec, stage: Stage, allowed_s: float) -> EngineError:
    code = _TIMEOUT_CODES.get(stage, ErrorCode.PROCESSING_ERROR)
    return EngineError(code, f"{spec} took longer than {allowed_s:.1f} s", retryable=True)


@dataclass(eq=False)
class ProcessLane:
    """Starts nothing by itself: the host runs `serve_slot` as a task for each slot."""

    spec: EngineSpec
    stage: Stage
    slots: int
    queue_max: int
    card: EngineCard | None = None
    load_ms: int = 0
    replaced: int = 0
    ready: int = 0
    running: int = 0
    reason: str = "loading"
    closed: bool = False
    _waiting: deque[_Call] = field(default_factory=deque[_Call])
    _wakes: list[asyncio.Event] = field(default_factory=list[asyncio.Event])
    _backing_off: int = 0

    async def call(self, request: Request, emit: Emit | None) -> Result:
        """Queue one request and wait for its result. Raises EngineError; cancelling it is safe at any time."""
        if self.closed or self._backing_off == self.slots:
            raise self._unavailable()
        if len(self._waiting) >= self.queue_max:
            message = f"{self.queue_max} calls already wait for {self.spec}"
            raise EngineError(ErrorCode.NODE_OVERLOADED, message, retryable=True)
        call = _Call(request, emit, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._wake()
        try:
            return await call.future
        finally:
            if call in self._waiting:
                self._waiting.remove(call)

    async def serve_slot(self, on_first: Callable[[], None]) -> None:
        """Keep one process serving until cancelled. `on_first` runs once the first process has loaded.

        Raises EngineError where the first process does not load: at start that is the user's to mend, later the
        lane tries again.
        """
        wake = asyncio.Event()
        self._wakes.append(wake)
        backoff_s, started = _BACKOFF_FIRST_S, False
        while True:
            try:
                process = await self._start(wake)
            except EngineError as error:
                if not started:
                    raise
                await self._back_off(error, backoff_s)
                backoff_s = min(backoff_s * 2, _BACKOFF_LAST_S)
                continue
            if not started:
                started = True
                on_first()
            backoff_s = _BACKOFF_FIRST_S
            self.ready += 1
            try:
                await self._serve(process, wake)
            finally:
                self.ready -= 1
                await process.close()
            self.replaced += 1

    def close(self) -> None:
        """Refuse what waits and what comes. The host cancels the slots."""
        self.closed, self.reason = True, "the node is closing"
        self._refuse_waiting()

    def status(self) -> LaneStatus:
        reason = "" if self.ready else self.reason
        return LaneStatus(
            self.spec,
            self.stage,
            self.card,
            self.ready,
            self.slots,
            self.running,
            len(self._waiting),
            self.load_ms,
            self.replaced,
            reason,
        )

    async def _start(self, wake: asyncio.Event) -> WorkerProcess:
        loop = asyncio.get_running_loop()
        began = loop.time()
        process = await WorkerProcess.start(self.spec, self.stage, load_timeout_s=LOAD_TIMEOUT_S, on_gone=wake.set)
        self.card, self.load_ms = process.card, round((loop.time() - began) * 1000)
        return process

    async def _back_off(self, error: EngineError, seconds: float) -> None:
        self._backing_off += 1
        self.reason = error.message
        if self._backing_off == self.slots:
            self._refuse_waiting()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._backing_off -= 1

    async def _serve(self, process: WorkerProcess, wake: asyncio.Event) -> None:
        """Serve calls until the process must be replaced."""
        while not process.gone:
            if self._waiting:
                if not await self._one(process, self._waiting.popleft()):
                    return
            else:
                wake.clear()
                await wake.wait()
        self.reason = f"the process ended ({await process.obituary()})"

    async def _one(self, process: WorkerProcess, call: _Call) -> bool:
        """One call on one process; False where the process cannot go on."""
        allowed_s = deadline_s(process.card, call.request)
        self.running += 1
        try:
            async with asyncio.timeout(allowed_s):
                call.conclude(await process.run(call.request, call.emit))
        except EngineError as error:
            call.conclude(error)
        except TimeoutError:
            self.reason = f"a call took longer than {allowed_s:.1f} s"
            call.conclude(timeout_error(self.spec, self.stage, allowed_s))
            return False
        except WorkerDiedError:
            self.reason = f"the process ended ({await process.obituary()})"
            call.conclude(EngineError(ErrorCode.PROCESSING_ERROR, f"{self.spec}: {self.reason}", retryable=True))
            return False
        except asyncio.CancelledError:
            call.conclude(self._unavailable())
            raise
        finally:
            self.running -= 1
        return True

    def _refuse_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().conclude(self._unavailable())

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _unavailable(self) -> EngineError:
        return EngineError(ErrorCode.MODEL_NOT_AVAILABLE, f"{self.spec}: {self.reason}", retryable=True)


@dataclass(eq=False)
class RemoteLane:
    """An engine that waits for a network service, on the loop."""

    spec: EngineSpec
    stage: Stage
    engine: AnyAsyncEngine
    queue_max: int
    card: EngineCard | None = None
    load_ms: int = 0
    _running: asyncio.Semaphore = field(default_factory=asyncio.Semaphore)
    _present: int = 0

    async def load(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                self.card = await self.engine.load()
        except EngineError:
            raise
        except Exception as error:
            message = f"{self.spec}: {type(error).__name__}: {error}"
            raise EngineError(ErrorCode.MODEL_LOAD_FAILED, message, retryable=False) from error
        self.load_ms = round((loop.time() - began) * 1000)
        self._running = asyncio.Semaphore(self.card.concurrency)

    async def call(self, request: Request, emit: Emit | None) -> Result:
        """As `ProcessLane.call`."""
        assert self.card is not None, "called before it was loaded"
        if self._present >= self.queue_max + self.card.concurrency:
            message = f"{self.queue_max} calls already wait for {self.spec}"
            raise EngineError(ErrorCode.NODE_OVERLOADED, message, retryable=True)
        allowed_s = deadline_s(self.card, request)
        run: Any = self.engine.run
        self._present += 1
        try:
            async with self._running, asyncio.timeout(allowed_s):
                result: Result = await run(request, emit or _ignore)
                return result
        except TimeoutError:
            raise timeout_error(self.spec, self.stage, allowed_s) from None
        except EngineError:
            raise
        except Exception as error:
            message = f"{self.spec}: {type(error).__name__}: {error}"
            raise EngineError(ErrorCode.PROCESSING_ERROR, message, retryable=True) from error
        finally:
            self._present -= 1

    def status(self) -> LaneStatus:
        loaded = self.card is not None
        slots = self.card.concurrency if self.card is not None else 1
        running = min(slots, self._present)
        waiting = self._present - running
        reason = "" if loaded else "loading"
        return LaneStatus(
            self.spec, self.stage, self.card, slots if loaded else 0, slots, running, waiting, self.load_ms, 0, reason
        )


def _ignore(_text: str) -> None:
    return


Lane = ProcessLane | RemoteLane
