"""What reading along gives a speaker: `python bench/node_speech.py [--speech en] [--engines demo:en]`.

Streams a shipped recording at the pace of speech through a whole scheduler and node, reading along. Prints for
bench/RESULTS.md how early text comes, whether it was ever taken back, and the word error rate beside the model's own,
which gets the whole file in one piece.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from lingua_scheduler.client import Session, SessionEvent, SessionOptions, connect
from lingua_scheduler.client.scoring import WordErrors, word_errors
from lingua_scheduler.data import recording_in
from lingua_scheduler.node.app import NodeApp
from lingua_scheduler.node.audio import to_pcm16
from lingua_scheduler.node.engines.base import ASR_RATE, AsrRequest, Audio
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.messages import AsrPartial, TranslationResult
from lingua_scheduler.runtime.config import Config, NodeConfig, ServerConfig
from lingua_scheduler.scheduler.app import Scheduler
from lingua_scheduler.store.embedded import EmbeddedRedis
from tests.support import wait_until

CHUNK_MS = 100


@dataclass(slots=True)
class Heard:
    """What came back, with the seconds since the first chunk; partial texts by utterance."""

    partials: defaultdict[int, list[tuple[float, AsrPartial]]] = field(default_factory=lambda: defaultdict(list))
    results: list[tuple[float, TranslationResult]] = field(default_factory=list[tuple[float, TranslationResult]])

    @property
    def text(self) -> str:
        return " ".join(result.text_asr for _, result in self.results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", default="en", help="language of the shipped recording")
    parser.add_argument("--to", default="")
    parser.add_argument("--engines", default="")
    args = parser.parse_args()
    engines = args.engines or f"demo:{args.speech}"
    target = args.to or ("pt" if args.speech == "en" else "en")
    recording = recording_in(args.speech)
    assert recording is not None
    speech, said = _samples(recording.path), recording.transcript
    for interval_ms in (0, 1000):
        heard = asyncio.run(_stream(speech, engines, (args.speech, target), interval_ms))
        print(f"\n{'streaming' if interval_ms else 'not streaming'}: {_rate(word_errors(said, heard.text))}")
        print(" | ".join(result.text_asr for _, result in heard.results))
        if interval_ms:
            _tell(heard)
    for window in ("short", "full"):
        whole = asyncio.run(_whole(speech, engines, args.speech, window))
        print(f"the model on the whole file, {window} window: {_rate(word_errors(said, whole))}")


async def _stream(speech: Audio, engines: str, languages: tuple[str, str], interval_ms: int) -> Heard:
    config = Config(server=ServerConfig(port=0))
    async with EmbeddedRedis.start() as redis, Scheduler.start(config, redis.url) as here:
        url = here.url.replace("http", "ws")
        node = asyncio.create_task(NodeApp(NodeConfig(url=f"{url}/ws/node", engines=engines, capacity=2)).run())
        try:
            await wait_until(lambda: any(one.connection.status == "ready" for one in here.nodes.all()), "a node", 120)
            options = SessionOptions(
                enable_streaming_asr=interval_ms > 0, partial_update_interval_ms=interval_ms or None
            )
            async with connect(f"{url}/ws/session", src=languages[0], tgt=languages[1], options=options) as session:
                return await _speak(session, to_pcm16(speech))
        finally:
            node.cancel()
            await asyncio.gather(node, return_exceptions=True)


async def _speak(session: Session, pcm: bytes) -> Heard:
    heard, began = Heard(), time.perf_counter()

    async def listen() -> None:
        async for event in session.events():
            _note(heard, event, time.perf_counter() - began)

    listening = asyncio.create_task(listen())
    size = ASR_RATE * CHUNK_MS // 1000 * 2
    for number, at in enumerate(range(0, len(pcm), size)):
        await asyncio.sleep(max(0.0, began + number * CHUNK_MS / 1000 - time.perf_counter()))
        await session.send_audio(pcm[at : at + size])
    await session.send_final()
    session.finish()
    await listening
    return heard


def _note(heard: Heard, event: SessionEvent, at_s: float) -> None:
    if isinstance(event, AsrPartial) and not event.is_final:
        heard.partials[event.utterance_index].append((at_s, event))
    elif isinstance(event, TranslationResult):
        heard.results.append((at_s, event))


def _tell(heard: Heard) -> None:
    print(
        "| utterance | speech from, to | first partial after its start | partials | taken back | result after its end |"
    )
    print("|---|---|---|---|---|---|")
    gains: list[float] = []
    for at_s, result in heard.results:
        told = heard.partials[result.utterance_index]
        start_s, end_s = (result.speech_start_ms or 0) / 1000, (result.speech_end_ms or 0) / 1000
        stable, taken_back = "", 0
        for _, one in told:
            taken_back += not one.text.startswith(stable)
            stable = one.text[: one.stable_chars or 0]
        first = f"{told[0][0] - start_s:.1f} s" if told else "none"
        gains += [at_s - told[0][0]] if told else []
        print(
            f"| {result.utterance_index} | {start_s:.1f} s, {end_s:.1f} s | {first} | {len(told)} | {taken_back} "
            f"| {at_s - end_s:.1f} s |"
        )
    if gains:
        print(f"first text earlier than the result by {statistics.median(gains):.1f} s (median)")


async def _whole(speech: Audio, engines: str, language: str, window: str) -> str:
    asr = next(str(one.spec) for one in make_plan(engines).engines if str(one.spec).startswith("whisper"))
    async with EngineHost(make_plan(f"{asr.partition('?')[0]}?window={window}")) as host:
        return (await host.asr(AsrRequest(speech, Language(language)))).text


def _rate(found: WordErrors) -> str:
    return f"{found.rate:.1%} ({found.errors} of {found.words})"


def _samples(path: Path) -> Audio:
    with av.open(str(path)) as file:
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    return (pcm / 32768).astype(np.float32)


if __name__ == "__main__":
    main()
