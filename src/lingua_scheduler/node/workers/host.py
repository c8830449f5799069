"""The engines of one node behind one async API: routing by language, text limits, and the tasks that keep lanes alive.

```python
async with EngineHost(plan) as host:          # loads every model; EngineError where one cannot be
    heard = await host.asr(AsrRequest(audio, language))
    translated = await host.mt(MtRequest(heard.text, heard.language, target))
    speech = await host.tts(TtsRequest(translated.text, target))
```

Each method raises EngineError and nothing else; cancelling it is safe. Among several engines of a stage the first in
the plan that serves the language and is ready takes the call.
"""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import numpy as np

from lingua_scheduler.node.aggregation.writing import join
from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrRequest,
    AsrResult,
    Emit,
    EngineCard,
    EngineError,
    MtRequest,
    MtResult,
    SemanticRequest,
    SemanticResult,
    Speech,
    Stage,
    TtsRequest,
    primary,
    serves,
)
from lingua_scheduler.node.engines.plan import EnginePlan, PlannedEngine
from lingua_scheduler.node.engines.registry import kind_of
from lingua_scheduler.node.engines.text import split_text, wrong_script
from lingua_scheduler.node.workers.lane import Lane, LaneStatus, ProcessLane, RemoteLane
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import Language


class EngineHost:
    """Loads the plan's engines on entering; ends all their processes on leaving."""

    def __init__(self, plan: EnginePlan) -> None:
        self._plan = plan
        self._lanes: list[Lane] = []
        self._tasks = asyncio.TaskGroup()
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        try:
            await self._start()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lane in self._lanes:
            if isinstance(lane, ProcessLane):
                lane.close()
        for task in self._serving:
            task.cancel()
        for lane in self._lanes:
            if isinstance(lane, RemoteLane):
                await lane.engine.close()
        # The group is left as if nothing had been raised: what was raised goes on by itself, not inside a group.
        await self._tasks.__aexit__(None, None, None)

    @property
    def cards(self) -> tuple[EngineCard, ...]:
        return tuple(lane.card for lane in self._lanes if lane.card is not None)

    def status(self) -> tuple[LaneStatus, ...]:
        return tuple(lane.status() for lane in self._lanes)

    def languages(self, stage: Stage) -> tuple[Language, ...]:
        """What the engines of ASR, TTS or semantic repair serve, each once, in the plan's order."""
        return tuple(dict.fromkeys(one for card in self._cards(stage) for one in card.languages))

    def mt_pairs(self) -> tuple[tuple[Language, Language], ...]:
        """The pairs that translation engines serve, each once."""
        return tuple(dict.fromkeys(pair for card in self._cards(Stage.MT) for pair in card.pairs))

    def pairs(self) -> tuple[tuple[Language, Language], ...]:
        """The directed pairs that go all the way: recognised, translated (or heard in translation) and spoken."""
        spoken = self.languages(Stage.TTS)
        found: dict[tuple[Language, Language], None] = {}
        for source in self.languages(Stage.ASR):
            for target in spoken:
                if primary(source) != primary(target) and self.translates(source, target):
                    found[source, target] = None
        return tuple(found)

    def translates(self, source: Language, target: Language) -> bool:
        """Whether a translation engine serves the pair, or a recogniser of `source` translates into `target` itself."""
        return any(_serves_pair(card, source, target) for card in self._cards(Stage.MT)) or self.hears_translated(
            source, target
        )

    def hears_translated(self, source: Language, target: Language) -> bool:
        """Whether recognition of `source` can give its text in `target` too (`AsrRequest.translate_to`)."""
        return any(
            serves(card.languages, source) and serves(card.translates_to, target) and primary(source) != primary(target)
            for card in self._cards(Stage.ASR)
        )

    async def asr(self, request: AsrRequest, on_partial: Emit | None = None) -> AsrResult:
        """Recognise one stretch of speech; UNSUPPORTED_FEATURE where it is longer than the engine takes."""
        lane, card = self._ears(request)
        seconds = len(request.audio) / ASR_RATE
        if seconds > card.limits.max_audio_s:
            message = f"{seconds:.0f} s of audio in one piece; {card.name} takes {card.limits.max_audio_s:.0f} s"
            raise EngineError(ErrorCode.UNSUPPORTED_FEATURE, message, retryable=False)
        result = await lane.call(request, on_partial)
        assert isinstance(result, AsrResult)
        return result

    def may_glance(self, request: AsrRequest) -> bool:
        """Whether the engine that would recognise this streams, and has nothing to do and nothing waiting."""
        lane, card = self._ears(request)
        status = lane.status()
        return card.streams and status.running < status.ready and not status.waiting

    async def mt(self, request: MtRequest) -> MtResult:
        """Translate a text of any length; a text in another script than its language's is UNSUPPORTED_FEATURE."""
        _refuse_script(request.text, request.source)
        lane, card = self._lane(
            Stage.MT,
            lambda card: _serves_pair(card, request.source, request.target),
            f"{request.source} → {request.target}",
        )
        done: list[str] = []
        for piece in split_text(request.text, card.limits.max_chars):
            part = MtRequest(piece, request.source, request.target, request.context)
            result = await lane.call(part, None)
            assert isinstance(result, MtResult)
            done.append(result.text)
        return MtResult(join(done))

    async def tts(self, request: TtsRequest) -> Speech:
        """Speak a text of any length; a text in another script than its language's is UNSUPPORTED_FEATURE."""
        _refuse_script(request.text, request.language)
        lane, card = self._lane(Stage.TTS, lambda card: serves(card.languages, request.language), str(request.language))
        spoken: list[Speech] = []
        for piece in split_text(request.text, card.limits.max_chars):
            part = TtsRequest(piece, request.language, request.voice, request.rate)
            result = await lane.call(part, None)
            assert isinstance(result, Speech)
            spoken.append(result)
        if not spoken:
            return Speech(np.zeros(0, np.float32), ASR_RATE)
        return Speech(np.concatenate([one.audio for one in spoken]), spoken[0].sample_rate)

    async def repair(self, request: SemanticRequest) -> SemanticResult:
        """Mend a recognised text; the caller keeps the text it had where this raises."""
        lane, _ = self._lane(
            Stage.SEMANTIC,
            lambda card: not card.languages or serves(card.languages, request.language),
            request.language,
        )
        result = await lane.call(request, None)
        assert isinstance(result, SemanticResult)
        return result

    def _cards(self, stage: Stage) -> Iterable[EngineCard]:
        return (card for card in self.cards if card.stage is stage)

    def _ears(self, request: AsrRequest) -> tuple[Lane, EngineCard]:
        def fits(card: EngineCard) -> bool:
            wanted = (request.language,) if request.language is not None else request.candidates
            translated = request.translate_to is None or serves(card.translates_to, request.translate_to)
            return translated and all(serves(card.languages, one) for one in wanted)

        return self._lane(Stage.ASR, fits, str(request.language or "+".join(request.candidates) or "auto"))

    def _lane(self, stage: Stage, fits: Callable[[EngineCard], bool], wanted: str) -> tuple[Lane, EngineCard]:
        found = [
            (lane, lane.card)
            for lane in self._lanes
            if lane.stage is stage and lane.card is not None and fits(lane.card)
        ]
        if not found:
            raise EngineError(ErrorCode.MODEL_NOT_AVAILABLE, f"no {stage} engine for {wanted} here", retryable=True)
        return next((pair for pair in found if pair[0].status().ready), found[0])

    async def _start(self) -> None:
        """Start every lane; return when each slot has loaded. Raises the first EngineError of a slot that cannot."""
        loop = asyncio.get_running_loop()
        self._lanes += [_lane_for(planned, self._plan.queue_max) for planned in self._plan.engines]
        for remote in self._lanes:
            if isinstance(remote, RemoteLane):
                await remote.load()
        ready: list[asyncio.Future[None]] = []
        slots = [lane for lane in self._lanes if isinstance(lane, ProcessLane) for _ in range(lane.slots)]
        for lane in slots:
            first: asyncio.Future[None] = loop.create_future()
            ready.append(first)
            self._serving.append(self._tasks.create_task(_serve(lane, first)))
        try:
            await asyncio.gather(*ready)
        finally:
            for first in ready:
                first.cancel()


def _lane_for(planned: PlannedEngine, queue_max: int) -> Lane:
    kind = kind_of(planned.spec)
    if kind.make_async is not None:
        return RemoteLane(planned.spec, kind.stage, kind.make_async(planned.spec), queue_max)
    return ProcessLane(planned.spec, kind.stage, planned.workers, queue_max)


async def _serve(lane: ProcessLane, first: "asyncio.Future[None]") -> None:
    """One slot for the host's life. What stops its first process is told through `first`; cancellation just ends it."""

    def loaded() -> None:
        if not first.done():
            first.set_result(None)

    try:
        await lane.serve_slot(loaded)
    except EngineError as error:
        if not first.done():
            first.set_exception(error)


def _serves_pair(card: EngineCard, source: Language, target: Language) -> bool:
    return any(serves((a,), source) and serves((b,), target) for a, b in card.pairs)


def _refuse_script(text: str, language: Language) -> None:
    script = wrong_script(text, language)
    if script is not None:
        raise EngineError(
            ErrorCode.UNSUPPORTED_FEATURE, f"the text is in {script} script, which {language} is not", retryable=False
        )
