"""Measures a node's engines without a scheduler: `python bench/node.py [--engines demo] [--hours 0.05]`.

Prints Markdown tables for bench/RESULTS.md. The chain is the shipped recording: decoded from Opus packets, through the
engines in their worker processes, to Opus packets.
"""

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import av
import numpy as np

from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from lingua_scheduler.node.audio import SessionDecoder, encode_speech
from lingua_scheduler.node.engines.base import (
    ASR_RATE,
    AsrRequest,
    Audio,
    MtRequest,
    Speech,
    Stage,
    TtsRequest,
    primary,
)
from lingua_scheduler.node.engines.plan import make_plan
from lingua_scheduler.node.engines.scripted import counting_audio
from lingua_scheduler.node.workers.calibrate import calibrate
from lingua_scheduler.node.workers.host import EngineHost
from lingua_scheduler.protocol.ids import Language

_EN = Language("en")
_SENTENCES_S = ((0.2, 7.6), (8.1, 11.4), (11.9, 17.2), (17.1, 23.1), (23.7, 27.2))
_LOOKS = 8
"""Looks at the memory in one run, after the first."""
_STAGES = ("decode", "asr", "nmt", "tts", "encode")


def sentences() -> list[Audio]:
    with av.open(str(SENSE_AND_SENSIBILITY.path)) as file:
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    samples = (pcm / 32768).astype(np.float32)
    return [samples[int(a * ASR_RATE) : int(b * ASR_RATE)] for a, b in _SENTENCES_S]


def workers() -> Iterator[tuple[int, str, float]]:
    """Each worker process of ours: pid, its engine, its proportional share of memory in MB."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_text().split("\0")
            if f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text() and "-m" in line:
                yield int(folder.name), line[-2], memory_mb(int(folder.name))
        except OSError:
            continue


def memory_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


async def chain(host: EngineHost, target: Language, payload: bytes, decoder: SessionDecoder) -> dict[str, float]:
    """One utterance; milliseconds of each stage."""
    marks = [time.perf_counter()]
    job = await asyncio.to_thread(decoder.decode, payload, "opus", ASR_RATE)
    marks.append(time.perf_counter())
    heard = await host.asr(AsrRequest(job.audio, _EN))
    marks.append(time.perf_counter())
    translated = await host.mt(MtRequest(heard.text, _EN, target))
    marks.append(time.perf_counter())
    speech = await host.tts(TtsRequest(translated.text, target))
    marks.append(time.perf_counter())
    await asyncio.to_thread(encode_speech, speech, "opus")
    marks.append(time.perf_counter())
    return {stage: (b - a) * 1000 for stage, a, b in zip(_STAGES, marks, marks[1:], strict=False)}


async def bench_chain(host: EngineHost, target: Language, hours: float) -> None:
    clips = sentences()
    payloads = [encode_speech(Speech(clip, ASR_RATE), "opus").data for clip in clips]
    decoder = SessionDecoder()
    for payload in payloads:
        await chain(host, target, payload, decoder)
    before = {pid: mb for pid, _, mb in workers()}
    cpu_before = sum(cpu_s(pid) for pid in before) + time.process_time()
    took: dict[str, list[float]] = {stage: [] for stage in _STAGES}
    speech_s, work_ms = 0.0, 0.0
    memory = [sum(before.values())]
    while speech_s < hours * 3600:
        if speech_s > hours * 3600 * len(memory) / _LOOKS:
            memory.append(sum(mb for pid, _, mb in workers() if pid in before))
        for clip, payload in zip(clips, payloads, strict=True):
            measured = await chain(host, target, payload, decoder)
            for stage, ms in measured.items():
                took[stage].append(ms)
            speech_s += len(clip) / ASR_RATE
            work_ms += sum(measured.values())
    cpu = sum(cpu_s(pid) for pid in before) + time.process_time() - cpu_before
    print(f"\n### en → {target}, {len(took['asr'])} utterances, {speech_s:.0f} s of speech, one at a time\n")
    print("| stage | p50 ms | p95 ms |\n|---|---|---|")
    for stage in _STAGES:
        print(f"| {stage} | {percentile(took[stage], 0.5):.1f} | {percentile(took[stage], 0.95):.1f} |")
    print(f"\nRTF {work_ms / 1000 / speech_s:.4f}; processor time {cpu / speech_s:.4f} s for a second of speech")
    memory.append(sum(mb for pid, _, mb in workers() if pid in before))
    print(f"memory of the workers over the run, MB: {' '.join(f'{mb:.0f}' for mb in memory)}")


async def timed(call: Callable[[], Awaitable[object]], rounds: int) -> float:
    """Median milliseconds of one call."""
    took: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return percentile(took, 0.5)


async def bench_hop() -> None:
    print("\n### What a worker process costs: one call of an engine that does nothing\n")
    print("| call | median ms |\n|---|---|")
    async with EngineHost(make_plan("scripted", asr_workers=1)) as host:
        text = MtRequest("He was not an ill-disposed young man.", _EN, Language("pt"))
        print(f"| translation, 37 characters | {await timed(lambda: host.mt(text), 400):.3f} |")
        ten_s = AsrRequest(counting_audio(0, 10 * ASR_RATE), _EN)
        print(f"| recognition, 10 s of audio in | {await timed(lambda: host.asr(ten_s), 200):.3f} |")
        voice = TtsRequest("x" * 100, Language("pt"))
        print(f"| speech output, 6 s of audio out | {await timed(lambda: host.tts(voice), 200):.3f} |")


async def bench_windows() -> None:
    print("\n### Whisper tiny.en: window and arithmetic, five sentences of 3 to 7 s\n")
    print("| spec | ms a sentence | RTF |\n|---|---|---|")
    clips = sentences()
    speech_ms = sum(len(clip) for clip in clips) * 1000 / ASR_RATE
    for options in ("", "?compute_type=float32", "?window=full", "?window=full&compute_type=float32"):
        async with EngineHost(make_plan(f"whisper:tiny.en{options}", asr_workers=1)) as host:
            for clip in clips:
                await host.asr(AsrRequest(clip, _EN))
            began = time.perf_counter()
            for clip in clips:
                await host.asr(AsrRequest(clip, _EN))
            took_ms = (time.perf_counter() - began) * 1000
        print(f"| whisper:tiny.en{options} | {took_ms / len(clips):.0f} | {took_ms / speech_ms:.3f} |")


def bench_codec() -> None:
    print("\n### Codec, ten seconds of speech\n\n| what | processor ms |\n|---|---|")
    speech = Speech(np.tile(sentences()[0], 2)[: 10 * ASR_RATE], ASR_RATE)
    at_22k = Speech(
        np.interp(np.arange(220_500) / 22_050, np.arange(160_000) / 16_000, speech.audio).astype(np.float32), 22_050
    )
    opus = encode_speech(speech, "opus").data
    pcm = encode_speech(speech, "pcm16").data
    works: tuple[tuple[str, Callable[[], object]], ...] = (
        ("Opus to samples", lambda: SessionDecoder().decode(opus, "opus", ASR_RATE)),
        ("PCM 16 kHz to samples", lambda: SessionDecoder().decode(pcm, "pcm16", ASR_RATE)),
        ("22 kHz speech to Opus", lambda: encode_speech(at_22k, "opus")),
        ("22 kHz speech to WAV", lambda: encode_speech(at_22k, "wav")),
    )
    for name, work in works:
        took: list[float] = []
        for _ in range(15):
            began = time.process_time()
            work()
            took.append((time.process_time() - began) * 1000)
        print(f"| {name} | {percentile(took, 0.5):.1f} |")


async def main(engines: str, hours: float) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}; engines: {engines}")
    began = time.perf_counter()
    async with EngineHost(make_plan(engines, asr_workers=1)) as host:
        print(f"\n### Start: {time.perf_counter() - began:.1f} s until every engine is ready\n")
        print("| engine | loaded in ms | memory MB |\n|---|---|---|")
        loads = {str(lane.spec): lane.load_ms for lane in host.status()}
        for _, spec, memory in sorted(workers(), key=lambda one: one[1]):
            print(f"| {spec} | {loads.get(spec, 0)} | {memory:.0f} |")
        spoken = host.languages(Stage.TTS)
        targets = [b for a, b in host.mt_pairs() if primary(a) == _EN and b in spoken]
        for target in targets:
            await bench_chain(host, target, hours)
        print(f"\ncalibration: {await calibrate(host)}")
    await bench_hop()
    await bench_windows()
    bench_codec()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="demo")
    parser.add_argument("--hours", type=float, default=0.05, help="of speech, for each target language")
    given = parser.parse_args()
    asyncio.run(main(given.engines, given.hours))
