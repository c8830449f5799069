"""The recognitions of one line: from batches of audio to what a job heard, with partial texts on the way.

Recognitions run side by side, at most `RECOGNITIONS_MAX` of a line at a time, and end in any order; `hear` puts them in
theirs. One that fails keeps its error for the job that wants the text. One that nobody wants any more does not begin;
where it has begun its text is thrown away.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from lingua_scheduler.node.aggregation.audio_events import Batch
from lingua_scheduler.node.aggregation.prefix import Partial
from lingua_scheduler.node.engines.base import AsrResult, Emit, EngineError
from lingua_scheduler.node.hearing import Heard, combine
from lingua_scheduler.node.partials import Partials
from lingua_scheduler.node.pipeline import StageError
from lingua_scheduler.node.route import Route
from lingua_scheduler.node.run import JobRun
from lingua_scheduler.node.sharing import Recognitions
from lingua_scheduler.node.workshop import Workshop
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import JobId
from lingua_scheduler.runtime.logs import get_logger

RECOGNITIONS_MAX = 2
"""A long monologue must not keep other sessions from the recogniser."""

_log = get_logger("node.ears")


@dataclass(slots=True, eq=False)
class _Ear:
    """One batch on its way to text."""

    batch: Batch
    done: asyncio.Event = field(default_factory=asyncio.Event)
    result: AsrResult | None = None
    error: StageError | None = None
    is_unwanted: bool = False

    def conclude(self, result: AsrResult | None = None, error: StageError | None = None) -> None:
        self.result, self.error = result, error
        self.done.set()


class Ears:
    """Called from the loop only."""

    def __init__(self, recognitions: Recognitions, workshop: Workshop) -> None:
        self._recognitions = recognitions
        self._shop = workshop
        self._places = asyncio.Semaphore(RECOGNITIONS_MAX)
        self._ears: dict[int, _Ear] = {}
        self._partials: dict[JobId, Partials] = {}

    def listen(self, batch: Batch, run: JobRun | None, route: Route) -> None:
        """Start to recognise a batch; `run` is the job that will own the text, if that is known yet."""
        self._ears[batch.number] = ear = _Ear(batch)
        self._shop.scope.start(self._listen(ear, run, route), f"listen {batch.number}")

    def dismiss(self, batch: Batch) -> None:
        """There is nothing in it."""
        self._ears[batch.number] = ear = _Ear(batch)
        ear.conclude()

    async def hear(self, run: JobRun, batches: Sequence[int]) -> Heard | None:
        """What the job says, by its batches in order; None where nobody spoke. StageError of the first that failed."""
        parts: list[tuple[Batch, AsrResult | None]] = []
        for ear in [self._ears[number] for number in batches]:
            await ear.done.wait()
            if ear.error is not None:
                raise ear.error
            parts.append((ear.batch, ear.result))
        if (partials := self._partials.pop(run.id, None)) is not None:
            partials.finish([result.text for _, result in parts if result is not None])
        return combine(parts)

    def forget(self, batches: Sequence[int]) -> None:
        """Their texts are reported, or not wanted any more."""
        for number in batches:
            if (ear := self._ears.pop(number, None)) is not None:
                ear.is_unwanted = True

    def forget_partials(self, run: JobRun) -> None:
        self._partials.pop(run.id, None)

    async def _listen(self, ear: _Ear, run: JobRun | None, route: Route) -> None:
        now = asyncio.get_running_loop().time
        if run is not None:
            run.work_in_trace()
        async with self._places:
            if ear.is_unwanted or (run is not None and run.is_over):
                ear.conclude()
                return
            began = now()
            try:
                ear.conclude(await self._recognitions.recognize(ear.batch, route, self._partial_of(run, ear)))
            except StageError as error:
                ear.conclude(error=error)
            except Exception as error:  # noqa: BLE001 - whoever waits for the text must hear of it
                _log.error("recognition failed by a bug", cause=repr(error))
                message = f"{type(error).__name__} in the node"
                ear.conclude(error=StageError("asr", EngineError(ErrorCode.INTERNAL_ERROR, message, retryable=True)))
            finally:
                self._shop.meter.took("asr", (now() - began) * 1000)
        if run is not None:
            run.recognised(began, now())
            if ear.result is not None and (partials := self._partials.get(run.id)) is not None:
                partials.grew(ear.batch.number, ear.result.text)

    def _partial_of(self, run: JobRun | None, ear: _Ear) -> Emit | None:
        """Where the recogniser's partial texts go; None where nobody wants any."""
        if run is None or not run.assign.enable_streaming_asr:
            return None

        def send(partial: Partial, is_final: bool) -> None:
            if not run.is_over:
                run.partial(self._shop.out, partial.text, partial.stable_chars, is_final=is_final)

        partials = self._partials.get(run.id)
        if partials is None:
            interval_ms = run.assign.partial_update_interval_ms
            self._partials[run.id] = partials = Partials(interval_ms, self._shop.clock.now_ms, send)
        return lambda text: partials.grew(ear.batch.number, text)
