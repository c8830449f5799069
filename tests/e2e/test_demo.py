"""The main job end to end, by the commands people type: real processes, real engines, real speech."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from lingua_scheduler.client.scoring import word_errors
from lingua_scheduler.client.sound import write_wav
from lingua_scheduler.data import COMMANDS, MANDARIN
from lingua_scheduler.node.engines import whisper_models
from tests.support import Processes, free_port, read_wav, wait_until

# Utterances of the shipped recording: the third is a breath longer than ten seconds, so the scheduler cuts it in two.
UTTERANCES = 5


async def test_the_demo_translates_the_whole_recording(processes: Processes, tmp_path: Path):
    demo = processes.lingua("demo", "--json", "--speed", "2", "--out", str(tmp_path / "speech"))

    assert await demo.wait_exit(100) == 0, demo.story()

    summary = json.loads(demo.stdout.splitlines()[-1])
    counts = {name: summary[name] for name in ("utterances", "translated", "failed", "lost", "duplicated")}
    assert counts == {"utterances": UTTERANCES, "translated": UTTERANCES, "failed": 0, "lost": 0, "duplicated": 0}
    assert summary["wer"] < 0.15
    assert set(summary["latency_ms"]) >= {"text_p50", "text_p95", "audio_p50"}
    assert all(value is not None and value > 0 for value in summary["latency_ms"].values())
    assert "jovem" in summary["results"][1]["translation"], "a young man, in Portuguese"
    for row in summary["results"]:
        wav = read_wav(Path(row["wav"]))
        assert wav.duration_ms > 500
        assert 0.01 < wav.loudness < 0.5
    assert "Traceback" not in demo.stderr


@pytest.mark.skipif(whisper_models.missing("base") is not None, reason=str(whisper_models.missing("base")))
async def test_the_demo_translates_mandarin(processes: Processes, tmp_path: Path):
    """Recognised in Chinese, translated by the same model, spoken in English."""
    demo = processes.lingua("demo", "--from", "zh", "--to", "en", "--json", "--speed", "2", "--out", str(tmp_path))

    assert await demo.wait_exit(100) == 0, demo.story()

    summary = json.loads(demo.stdout.splitlines()[-1])
    said = MANDARIN.transcript.splitlines()
    counts = {name: summary[name] for name in ("utterances", "translated", "failed", "lost", "duplicated")}
    assert counts == {"utterances": len(said), "translated": len(said), "failed": 0, "lost": 0, "duplicated": 0}
    assert (summary["words"], summary["words_are"]) == (len("".join(said)), "characters")
    assert summary["wer"] < 0.15
    assert summary["reference"] == MANDARIN.translation("en")
    for row, word in zip(summary["results"], ("park", "doctor", "water", "Beijing", "book"), strict=True):
        assert word in row["translation"]
        assert not re.search(r"[\u3400-\u9fff]", row["translation"]), "English alone"
        wav = read_wav(Path(row["wav"]))
        assert wav.duration_ms > 500
        assert 0.01 < wav.loudness < 0.5


async def test_a_recording_is_translated_in_three_terminals(processes: Processes, tmp_path: Path):
    serve = processes.lingua("serve", "--embedded-redis", "--port", "0")
    url = (await serve.wait_output("listening on")).split()[-1].replace("http", "ws")
    node = processes.lingua("node", "--url", f"{url}/ws/node")
    await node.wait_output("registered at", 90)

    translate = processes.lingua(
        "translate", str(COMMANDS.path), "--from", "en", "--to", "pt", "--url", url, "--speed", "2", "--opus",
        "--json", "--out", str(tmp_path),
    )  # fmt: skip

    assert await translate.wait_exit(60) == 0, translate.story()
    *rows, summary = [json.loads(line) for line in translate.stdout.splitlines()]
    assert (summary["translated"], summary["lost"], summary["duplicated"]) == (2, 0, 0)
    assert word_errors(COMMANDS.transcript, " ".join(row["source"] for row in rows)).rate < 0.2
    assert all(row["translation"] for row in rows)
    assert all(Path(row["wav"]).parent == tmp_path for row in rows)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_a_demo_that_is_ended_leaves_nothing_behind(processes: Processes, tmp_path: Path, end: signal.Signals):
    """Whoever ends it, and however: no process, no socket."""
    demo = processes.lingua("demo", "--engines", "scripted", "--out", str(tmp_path))
    await demo.wait_output("recording")
    others = [pid for pid in processes.alive() if pid != demo.pid]
    assert len(others) >= 3, "Redis and the engines"
    assert processes.sockets(), "Redis listens on one"

    os.kill(demo.pid, end)

    code = await demo.wait_exit()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 0, signal.SIGINT: 130}[end]
    await wait_until(lambda: not processes.alive(), "the end of all that the demo started")
    await wait_until(lambda: not processes.sockets(), "the end of its sockets")
    assert "Traceback" not in demo.stderr


async def test_a_demo_without_speech_fails(processes: Processes, tmp_path: Path):
    """Silence has nothing to translate: the demo did not show what it is for, and its exit code says so."""
    silence = tmp_path / "silence.wav"
    write_wav(silence, bytes(2 * 16_000), 16_000)
    demo = processes.lingua(
        "demo", "--engines", "scripted", "--file", str(silence), "--speed", "0", "--out", str(tmp_path)
    )

    assert await demo.wait_exit() == 1
    assert "0 translated" in demo.stdout
    assert "unknown: no transcript" in demo.stdout


async def test_languages_that_no_engine_serves_are_told(processes: Processes, tmp_path: Path):
    demo = processes.lingua("demo", "--engines", "scripted?languages=en+pt", "--to", "zh", "--out", str(tmp_path))

    assert await demo.wait_exit() == 1
    assert "error: the engines of this machine do not serve en→zh" in demo.stderr
    assert "Traceback" not in demo.stderr


async def test_several_workers_share_one_port(processes: Processes):
    port = free_port()
    serve = processes.lingua("serve", "--embedded-redis", "--port", str(port), "--workers", "2")
    await serve.wait_output("workers")
    translate = processes.lingua(
        "translate", str(COMMANDS.path), "--from", "en", "--to", "pt", "--url", f"127.0.0.1:{port}", "--speed", "0"
    )

    assert await translate.wait_exit() == 1, "there is no node"
    assert "no node was free" in translate.stdout
    serve.send(signal.SIGTERM)
    assert await serve.wait_exit() == 0
