"""Speech is read while it grows, by recognisers that have nothing else to do, and never instead of a job."""

from typing import Any

from lingua_scheduler.protocol.messages import Pipeline
from lingua_scheduler.protocol.node import JOB_PREVIEW, JobPreview, JobStarted, NodeAsrPartial
from tests.node.rig import RATE, Rig, counted, heard, running_node

ECHO = "scripted-asr?partials=1,scripted-mt,scripted-tts"
WORDS = "scripted-asr?partials=1&text=well hello,scripted-mt,scripted-tts"


def show(rig: Rig, index: int, start: int, end: int, **fields: Any) -> None:
    """Samples `start` to `end` of an utterance that begins at sample 0."""
    piece = JobPreview(**_fields(rig, index, **({"at_bytes": start * 2} | fields)))
    rig.peer.assign(piece, counted(start, end))


async def read(rig: Rig, nth: int = 1) -> NodeAsrPartial:
    return await rig.peer.wait(NodeAsrPartial, lambda one: not one.is_final, nth=nth)


def partials(rig: Rig) -> list[NodeAsrPartial]:
    return rig.peer.all(NodeAsrPartial)


async def test_what_there_is_of_an_utterance_is_read_again_as_it_grows():
    async with running_node(ECHO) as rig:
        assert rig.registration().advanced_features == [JOB_PREVIEW]
        show(rig, 0, 0, RATE)
        first = await read(rig)
        assert (heard(first.text), first.stable_chars, first.is_final) == ([(0, RATE)], 0, False)
        assert (first.job_id, first.utterance_index, first.session_id) == ("job-0", 0, "s-1")
        show(rig, 0, RATE, 2 * RATE)
        assert heard((await read(rig, 2)).text) == [(0, 2 * RATE)]


async def test_two_decodes_that_agree_make_it_stable():
    async with running_node(WORDS) as rig:
        for count in range(2):
            show(rig, 0, count * RATE, (count + 1) * RATE)
            await read(rig, count + 1)
        assert [(one.text, one.stable_chars) for one in partials(rig)] == [("well hello", 0), ("well hello", 10)]


async def test_the_job_of_the_utterance_ends_it_and_recognises_all_of_it():
    async with running_node(ECHO) as rig:
        show(rig, 0, 0, RATE)
        await read(rig)
        result = await rig.ask(0, 0, 3 * RATE)
        assert heard(result.text_asr) == [(0, 3 * RATE)]
        show(rig, 0, RATE, 2 * RATE)
        show(rig, 1, 0, RATE)
        assert (await read(rig, 2)).job_id == "job-1", "what came after the job was not read"


async def test_the_next_utterance_takes_the_place_of_the_one_before():
    async with running_node(ECHO) as rig:
        show(rig, 0, 0, RATE)
        await read(rig)
        show(rig, 1, 0, RATE)
        assert (await read(rig, 2)).job_id == "job-1"
        show(rig, 0, RATE, 2 * RATE)
        show(rig, 1, RATE, 2 * RATE)
        assert ((third := await read(rig, 3)).job_id, heard(third.text)) == ("job-1", [(0, 2 * RATE)])


async def test_a_piece_that_does_not_follow_is_passed_over_and_a_new_start_is_not():
    async with running_node(ECHO) as rig:
        show(rig, 0, 0, RATE)
        await read(rig)
        show(rig, 0, 2 * RATE, 3 * RATE)
        show(rig, 7, RATE, 2 * RATE)
        show(rig, 0, 0, 2 * RATE)
        assert heard((await read(rig, 2)).text) == [(0, 2 * RATE)]


async def test_a_busy_recogniser_is_left_to_its_jobs():
    async with running_node("scripted-asr?partials=1&service_ms=300,scripted-mt,scripted-tts") as rig:
        rig.assign(5, 0, RATE)
        await rig.peer.wait(JobStarted)
        show(rig, 6, 0, RATE, session_id="other", job_id="other-6")
        await rig.result(5)
        assert not [one for one in partials(rig) if one.job_id == "other-6"]


async def test_what_cannot_be_read_costs_nothing():
    """Silence, broken audio, a language that nobody serves, more than half a minute, a node that leaves."""
    async with running_node(ECHO) as rig:
        rig.peer.assign(JobPreview(**_fields(rig, 0)), bytes(2 * RATE))
        rig.peer.assign(JobPreview(**_fields(rig, 1, audio_format="opus")), b"\xff\xff\xff")
        show(rig, 2, 0, RATE, tgt_lang="xx")
        show(rig, 3, 0, RATE, src_lang="not a language")
        show(rig, 4, 0, 31 * RATE)
        rig.peer.control("drain")
        show(rig, 5, 0, RATE)
        rig.peer.control("resume")
        show(rig, 6, 0, RATE)
        assert (await read(rig)).job_id == "job-6"
        assert [one.job_id for one in partials(rig)] == ["job-6"]


async def test_engines_that_do_not_stream_are_not_asked():
    async with running_node("scripted") as rig:
        assert rig.registration().advanced_features is None
        show(rig, 0, 0, RATE)
        await rig.ask(0, 0, RATE)
        assert not partials(rig)


def _fields(rig: Rig, index: int, **fields: Any) -> dict[str, Any]:
    settled: dict[str, Any] = {
        "job_id": rig.job(index),
        "session_id": rig.session,
        "utterance_index": index,
        "src_lang": "en",
        "tgt_lang": "pt",
        "pipeline": Pipeline(),
        "audio": "",
        "audio_format": "pcm16",
        "sample_rate": RATE,
        "at_bytes": 0,
        "partial_update_interval_ms": 500,
        "trace_id": "t-1",
    }
    return settled | fields
