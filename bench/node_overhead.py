"""What a node adds to its models: `python bench/node_overhead.py [--jobs 60]`, a Markdown table for bench/RESULTS.md.

A whole node with engines that answer at once, over a real WebSocket: one sentence of five seconds after the other, each
answered with as much speech. What remains is decoding, aggregation, worker processes' pipes, encoding, the link.
"""

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from lingua_scheduler.client.sound import OpusEncoder
from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from lingua_scheduler.node.audio import to_pcm16
from lingua_scheduler.node.engines.base import ASR_RATE, Audio
from tests.node.harness import job
from tests.node.rig import running_node

SECONDS = 5
WARM_UP = 5
TEXT = "x" * 79
"""At 60 ms a character, and five characters of a language mark in front: five seconds of speech."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60)
    jobs: int = parser.parse_args().jobs
    print("| audio | wall p50 | wall p95 | decode | engines' pipes | encode | CPU of the node's own process |")
    print("|---|---|---|---|---|---|---|")
    for audio_format in ("pcm16", "opus"):
        print(asyncio.run(_row(audio_format, jobs)))


async def _row(audio_format: str, jobs: int) -> str:
    pcm = to_pcm16(_speech())
    audio = pcm if audio_format == "pcm16" else OpusEncoder().encode(pcm)[0]
    walls: list[float] = []
    async with running_node(f"scripted-asr?text={TEXT},scripted-mt,scripted-tts") as rig:
        cpu = 0.0
        for number in range(WARM_UP + jobs):
            began, cpu_began = time.perf_counter(), time.process_time()
            rig.peer.assign(job(number, audio_format=audio_format), audio)
            await rig.result(number)
            if number >= WARM_UP:
                walls.append((time.perf_counter() - began) * 1000)
                cpu += (time.process_time() - cpu_began) * 1000
        phases = rig.app._meter.snapshot()["phases"]  # noqa: SLF001 - what heartbeats tell, without waiting for one
    pipes = sum(phases[name]["p50_ms"] for name in ("asr", "nmt", "tts"))
    cells = [
        f"{statistics.median(walls):.1f} ms",
        f"{sorted(walls)[len(walls) * 95 // 100]:.1f} ms",
        f"{phases['decode']['p50_ms']:.1f} ms",
        f"{pipes:.1f} ms",
        f"{phases['encode']['p50_ms']:.1f} ms",
        f"{cpu / jobs:.1f} ms",
    ]
    return f"| {audio_format}, {SECONDS} s | " + " | ".join(cells) + " |"


def _speech() -> Audio:
    with av.open(str(SENSE_AND_SENSIBILITY.path)) as file:
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    return (pcm[: SECONDS * ASR_RATE] / 32768).astype(np.float32)


if __name__ == "__main__":
    main()
