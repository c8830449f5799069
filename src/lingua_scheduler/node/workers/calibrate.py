"""How many jobs a node can honestly take at once: measured with its own engines on a recorded sentence.

One chain (recognise, translate, speak) runs alone, which also warms everything up, then two for each recognition
process at once. What they achieve together, times the delay borne after the end of speech, is the capacity: with
that many jobs at once each is still answered within `budget_ms`, whatever the processors are shared with.
"""

import asyncio
from dataclasses import dataclass

import av
import numpy as np

from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrRequest,
    Audio,
    MtRequest,
    Stage,
    TtsRequest,
    primary,
    serves,
)
from lingua_scheduler.node.engines.text import wrong_script
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.ids import Language

BUDGET_MS = 1500
CAPACITY_MAX = 64
_ENGLISH = Language("en")
_FROM_S, _TO_S = 12.05, 17.18
_TEXT = "Unless to be rather cold hearted and rather selfish is to be ill disposed."
"""What is said there."""
_SLOW_MS = 5000
"""A chain this slow is not run again: the figure of the first run decides."""


@dataclass(frozen=True, slots=True)
class Calibration:
    audio_ms: int
    asr_ms: float
    nmt_ms: float
    tts_ms: float
    rtf: float
    """Time of one whole chain alone against the duration of its audio."""
    jobs_per_s: float
    """Of that size, when several run at once."""
    capacity: int


async def calibrate(host: EngineHost, budget_ms: int = BUDGET_MS) -> Calibration:
    """Measure; takes a second or two with the packaged engines. EngineError where one cannot do its part at all."""
    loop = asyncio.get_running_loop()
    chain = _Chain(host, await asyncio.to_thread(_sentence))
    alone = await chain.run(0)
    if sum(alone) < _SLOW_MS:
        alone = await chain.run(1)
    slots = sum(lane.slots for lane in host.status() if lane.stage is Stage.ASR) or 1
    jobs_per_s = slots * 1000 / max(sum(alone), 1.0)
    if sum(alone) < _SLOW_MS:
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for turn in range(2 * slots):
                group.create_task(chain.run(2 + turn))
        jobs_per_s = 2 * slots / max(loop.time() - began, 0.001)
    audio_ms = len(chain.audio) * 1000 // ASR_RATE
    return Calibration(
        audio_ms=audio_ms,
        asr_ms=alone[0],
        nmt_ms=alone[1],
        tts_ms=alone[2],
        rtf=sum(alone) / audio_ms,
        jobs_per_s=jobs_per_s,
        capacity=max(1, min(CAPACITY_MAX, int(jobs_per_s * budget_ms / 1000))),
    )


class _Chain:
    """The sentence's way through the stages that the host has; a stage without a fitting engine counts nothing."""

    def __init__(self, host: EngineHost, audio: Audio) -> None:
        self.audio = audio
        self._host = host
        heard = host.languages(Stage.ASR)
        self._source = _ENGLISH if serves(heard, _ENGLISH) else next(iter(heard), None)
        self._target = next((target for source, target in host.mt_pairs() if primary(source) == _ENGLISH), None)
        spoken = host.languages(Stage.TTS)
        wanted = self._target or _ENGLISH
        self._voice = wanted if serves(spoken, wanted) else next(iter(spoken), None)

    async def run(self, turn: int) -> tuple[float, float, float]:
        """Milliseconds of recognition, translation and speech; `turn` makes the text new to engines that remember."""
        loop = asyncio.get_running_loop()
        text = f"{turn}: {_TEXT}"
        began = loop.time()
        if self._source is not None:
            await self._host.asr(AsrRequest(self.audio, self._source))
        recognised = loop.time()
        if self._target is not None:
            text = (await self._host.mt(MtRequest(text, _ENGLISH, self._target))).text
        translated = loop.time()
        if self._voice is not None and wrong_script(text, self._voice) is None:
            await self._host.tts(TtsRequest(text, self._voice))
        return (recognised - began) * 1000, (translated - recognised) * 1000, (loop.time() - translated) * 1000


def _sentence() -> Audio:
    with av.open(str(SENSE_AND_SENSIBILITY.path)) as file:
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    return (pcm[int(_FROM_S * ASR_RATE) : int(_TO_S * ASR_RATE)] / 32768).astype(np.float32)
