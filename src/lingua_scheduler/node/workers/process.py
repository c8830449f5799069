"""One worker process seen from the node: started, called, and gone when anything about it is in doubt.

Everything here is callbacks of the loop: the loop never waits for a model. Of what the process prints the last 4 KB
are kept, to be told when it dies.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, Self, cast

from lingua_scheduler.node.engines.base import RESULT_TYPES, Emit, EngineCard, EngineError, Request, Result, Stage
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.node.workers.wire import Failure, FrameReader, Kind, decoder, frame
from lingua_scheduler.protocol.errors import ErrorCode

_OUTPUT_BYTES = 4096
_LAST_LINES = 3
_EXIT_GRACE_S = 2.0
_CHILD = "lingua_scheduler.node.workers.child"
_DECODE_CARD = decoder(EngineCard)
_DECODE_TEXT = decoder(str)
_DECODE_FAILURE = decoder(Failure)
_DECODE_RESULT = {stage: decoder(of) for stage, of in RESULT_TYPES.items()}


class WorkerDiedError(Exception):
    """The process ended, or said something that is not ours, while it was waited for."""


class _Link(asyncio.Protocol):
    """The node's end of the socket pair. At most one answer is awaited at a time."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._awaited: asyncio.Future[tuple[Kind, bytes]] | None = None
        self._emit: Emit | None = None
        self._on_gone = on_gone
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, body in self._reader.feed(data):
                self._on_frame(kind, body)
        except ValueError:  # not our frames: the process is not to be trusted any further
            assert self.transport is not None
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(WorkerDiedError())
        self._on_gone()

    async def answer(self, emit: Emit | None) -> tuple[Kind, bytes]:
        """The next frame that is not a PARTIAL; those go to `emit`. WorkerDiedError where the link breaks first."""
        if self.gone:
            raise WorkerDiedError
        assert self._awaited is None, "one call at a time"
        self._emit = emit
        self._awaited = asyncio.get_running_loop().create_future()
        try:
            return await self._awaited
        finally:
            self._awaited, self._emit = None, None

    def _on_frame(self, kind: Kind, body: bytes) -> None:
        if kind is Kind.PARTIAL:
            if self._emit is not None:
                self._emit(_DECODE_TEXT.decode(body))
        elif self._awaited is not None and not self._awaited.done():
            self._awaited.set_result((kind, body))
        else:
            raise ValueError("an answer nobody asked for")


class _Output(asyncio.Protocol):
    """What the process prints: always read, so that it never blocks on a full pipe; only the end is kept."""

    def __init__(self) -> None:
        self._kept = b""
        self.ended = asyncio.Event()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._kept = (self._kept + data)[-_OUTPUT_BYTES:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()

    def last_lines(self) -> str:
        return " / ".join(self._kept.decode("utf-8", "replace").strip().splitlines()[-_LAST_LINES:])


class WorkerProcess:
    """A loaded engine in its own process. After any exception but EngineError it must be closed, not called again."""

    def __init__(self, process: asyncio.subprocess.Process, link: _Link, output: _Output, stage: Stage) -> None:
        self._process = process
        self._link = link
        self._output = output
        self._stage = stage
        self.card: EngineCard

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._link.gone

    @classmethod
    async def start(cls, spec: EngineSpec, stage: Stage, *, load_timeout_s: float, on_gone: Callable[[], None]) -> Self:
        """Start a process and load the engine in it. EngineError where it cannot; nothing is left running then."""
        try:
            process, link, output = await _spawn(spec, on_gone)
        except OSError as error:  # no memory, no descriptors, no interpreter any more
            message = f"{spec}: no process could be started: {error}"
            raise EngineError(ErrorCode.MODEL_LOAD_FAILED, message, retryable=True) from error
        worker = cls(process, link, output, stage)
        try:
            async with asyncio.timeout(load_timeout_s):
                worker.card = await worker._wait_card(spec)
        except TimeoutError:
            await worker.close()
            raise EngineError(
                ErrorCode.MODEL_LOAD_FAILED, f"{spec} did not load within {load_timeout_s:g} s", retryable=True
            ) from None
        except BaseException:
            await worker.close()
            raise
        return worker

    async def run(self, request: Request, emit: Emit | None) -> Result:
        """Send one request and wait for its result: the caller sets a deadline and closes when it passes."""
        assert self._link.transport is not None
        self._link.transport.write(frame(Kind.RUN, request))
        kind, body = await self._link.answer(emit)
        try:
            if kind is Kind.FAILED:
                raise _DECODE_FAILURE.decode(body).error()
            if kind is Kind.RESULT:
                result: Any = _DECODE_RESULT[self._stage].decode(body)
                return result
        except ValueError as error:  # msgspec's errors are ValueErrors
            raise WorkerDiedError from error
        raise WorkerDiedError

    async def close(self) -> None:
        """Kill the process, at once, and wait until it is gone. Repeating it is harmless."""
        assert self._link.transport is not None
        assert self._output.transport is not None
        self._link.transport.abort()
        self._output.transport.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        try:
            await self._process.wait()
        except asyncio.CancelledError:
            await self._process.wait()  # it is killed already: a moment, and nothing is left behind
            raise

    async def obituary(self) -> str:
        """How a process that is gone ended, with its last lines. Waits a moment for both."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_GRACE_S):
                await self._process.wait()
        ended = self._process.returncode
        how = "closed its socket" if ended is None else f"signal {-ended}" if ended < 0 else f"exit code {ended}"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_GRACE_S):
                await self._output.ended.wait()
        said = self._output.last_lines()
        return f"{how}: {said}" if said else how

    async def _wait_card(self, spec: EngineSpec) -> EngineCard:
        try:
            kind, body = await self._link.answer(None)
        except WorkerDiedError:
            message = f"{spec}: the process ended while it loaded ({await self.obituary()})"
            raise EngineError(ErrorCode.MODEL_LOAD_FAILED, message, retryable=True) from None
        if kind is Kind.FAILED:
            raise _DECODE_FAILURE.decode(body).error()
        card: EngineCard = _DECODE_CARD.decode(body)
        return card


async def _spawn(spec: EngineSpec, on_gone: Callable[[], None]) -> tuple[asyncio.subprocess.Process, _Link, _Output]:
    """Its own session, so that the terminal's Ctrl-C reaches the node alone; one thread for each numeric library."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        our_end, their_end = socket.socketpair()
        ours.enter_context(our_end).setblocking(False)
        theirs.enter_context(their_end)
        read_fd, write_fd = os.pipe()
        theirs.callback(os.close, write_fd)
        printed = ours.enter_context(os.fdopen(read_fd, "rb", buffering=0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _CHILD, str(their_end.fileno()), str(os.getpid()), str(spec)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_fd,
            stderr=write_fd,
            env={**os.environ, "OMP_NUM_THREADS": spec.text("threads", "1"), "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=(their_end.fileno(),),
            start_new_session=True,
        )
        try:
            _, link = await loop.create_connection(lambda: _Link(on_gone), sock=our_end)
            _, output = await loop.connect_read_pipe(_Output, printed)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        ours.pop_all()
    return process, link, output
