"""Recognition done once for all who want it: jobs of one session in several languages hear the same audio."""

import asyncio
import zlib
from collections import OrderedDict
from typing import TypeAlias

from lingua_scheduler.node.aggregation.audio_events import Batch, Span
from lingua_scheduler.node.engines.base import AsrResult, Emit
from lingua_scheduler.node.pipeline import Pipeline
from lingua_scheduler.node.route import Route
from lingua_scheduler.protocol.ids import Language

KEPT_MAX = 16
"""Recognised batches that a session remembers: jobs of one utterance come within moments of each other."""

_Key: TypeAlias = tuple[int, tuple[Span, ...], Language | None, tuple[Language, ...], Language | None]


class Recognitions:
    """One session's. Equal spans recognised in the same way are equal work, whoever asks."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._known: OrderedDict[_Key, asyncio.Future[AsrResult]] = OrderedDict()

    async def recognize(self, batch: Batch, route: Route, on_partial: Emit | None) -> AsrResult:
        """StageError where it fails for this caller; who waited for the same then tries on its own."""
        # Lines that began at different times count from different zeros: the samples themselves decide.
        samples = zlib.crc32(batch.joined().tobytes())
        key = (samples, batch.spans, route.source, route.candidates, self._pipeline.heard_translation(route))
        while (known := self._known.get(key)) is not None:
            await asyncio.wait([known])
            if not known.cancelled():
                return known.result()
        mine: asyncio.Future[AsrResult] = asyncio.get_running_loop().create_future()
        self._known[key] = mine
        try:
            mine.set_result(await self._pipeline.recognize(batch, route, on_partial))
        except BaseException:
            del self._known[key]
            mine.cancel()
            raise
        while len(self._known) > KEPT_MAX and next(iter(self._known.values())).done():
            self._known.popitem(last=False)
        return mine.result()
