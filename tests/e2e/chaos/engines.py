"""Engines that read the speech of `numbered`, which a node finds by their entry points, as those of any third party."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrRequest,
    AsrResult,
    Emit,
    EngineCard,
    MtRequest,
    MtResult,
    Segment,
    Speech,
    Stage,
    TtsRequest,
)
from lingua_scheduler.node.engines.kind import EngineKind
from lingua_scheduler.node.engines.registry import ENTRY_POINT_GROUP
from lingua_scheduler.node.engines.spec import EngineSpec
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.sim import speech
from lingua_scheduler.sim.plan import LANGUAGES
from lingua_scheduler.sim.speech import Packet
from tests.e2e.chaos.numbered import DIGIT, GROUP, MARK, PACKET_SAMPLES
from tests.support import let_pass

ENGINES = "numbered-asr?service_ms={service_ms},numbered-mt,numbered-tts"
_LANGUAGES = tuple(map(Language, LANGUAGES))


def install(folder: Path) -> None:
    """Make `folder`, once it is in PYTHONPATH, a package that offers the engines."""
    info = folder / "numbered_engines-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: numbered-engines\nVersion: 1.0\n")
    offers = "".join(f"numbered-{stage} = {__name__}:{stage.upper()}\n" for stage in ("asr", "mt", "tts"))
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{offers}")


def read(samples: npt.NDArray[np.int16]) -> list[Packet]:
    """The packets in any piece of sound, one entry for each stretch of one of them."""
    at = np.flatnonzero(samples[: 1 - GROUP] == MARK)
    speakers = samples[at + 1].tolist()
    numbers = (samples[at + 2].astype(np.int64) * DIGIT + samples[at + 3]).tolist()
    packets = list(zip(speakers, numbers, strict=True))
    return [one for one, before in zip(packets, [None, *packets], strict=False) if one != before]


class _Engine:
    """What the stages share. They run on the node's own loop: a node is one process."""

    def __init__(self, spec: EngineSpec, stage: Stage) -> None:
        self.spec = spec
        self._stage = stage

    async def load(self) -> EngineCard:
        is_mt = self._stage is Stage.MT
        pairs = tuple((a, b) for a in _LANGUAGES for b in _LANGUAGES if a != b)
        languages, served = ((), pairs) if is_mt else (_LANGUAGES, ())
        return EngineCard(name=str(self.spec), stage=self._stage, languages=languages, pairs=served, concurrency=8)

    async def close(self) -> None:
        return


class _Asr(_Engine):
    async def run(self, request: AsrRequest, emit: Emit) -> AsrResult:
        await let_pass(self.spec.number("service_ms", 0) / 1000)
        text = speech.write(read(np.rint(request.audio * 32_768).astype(np.int16)))
        language = request.language or _LANGUAGES[0]
        return AsrResult(
            text=text,
            language=language,
            language_probability=1.0,
            language_probabilities={language: 1.0},
            segments=(Segment(text, 0, len(request.audio)),),
            quality=0.9,
            no_speech=not text,
        )


class _Mt(_Engine):
    async def run(self, request: MtRequest, emit: Emit) -> MtResult:
        return MtResult(request.text)


class _Tts(_Engine):
    async def run(self, request: TtsRequest, emit: Emit) -> Speech:
        return Speech(np.zeros(PACKET_SAMPLES, np.float32), ASR_RATE)


_ABOUT = "reads numbered packets, for tests"
ASR = EngineKind(name="numbered-asr", stage=Stage.ASR, about=_ABOUT, make_async=lambda spec: _Asr(spec, Stage.ASR))
MT = EngineKind(name="numbered-mt", stage=Stage.MT, about=_ABOUT, make_async=lambda spec: _Mt(spec, Stage.MT))
TTS = EngineKind(name="numbered-tts", stage=Stage.TTS, about=_ABOUT, make_async=lambda spec: _Tts(spec, Stage.TTS))
