"""What stands in the messages, and that a client of protocol 1.0 sees nothing that is newer."""

from typing import Any

import msgspec
import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol
from lingua_scheduler.core.utterance import Missing, Speaker
from lingua_scheduler.protocol.codec import encode
from lingua_scheduler.protocol.errors import HINTS, ErrorCode
from lingua_scheduler.protocol.ids import Language, SessionId, TraceId
from lingua_scheduler.protocol.messages import (
    AsrPartial,
    ErrorMessage,
    MissingResult,
    NetworkTimings,
    SegmentsMeta,
    ServiceTimings,
    TranslationResult,
    UiEvent,
)
from tests.core.session.support import DEFAULTS, EPOCH_MS, ES, PROTOCOLS, SPEAKER, Scene, job_id, messages, of

NEW_FIELDS = {
    "result_seq",
    "src_lang",
    "tgt_lang",
    "tts_sample_rate",
    "speech_start_ms",
    "speech_end_ms",
    "stable_chars",
}
NEW_MESSAGES = {"audio_ack", "goaway", "session_resume_ack"}


def result(scene: Scene, **fields: Any) -> TranslationResult:
    scene.conclude(0, scene.translated(0, **fields))
    return scene.sent(TranslationResult)[-1]


def test_a_client_of_1_0_is_never_sent_what_is_new():
    scene = Scene(protocol="1.0", config=DEFAULTS)
    for index in range(3):
        scene.say(5000)
        scene.utter()
        job = scene.started[-1].job_id
        scene.handle(ev.JobProgressed(job, index, "DISPATCHED"))
        scene.handle(ev.PartialArrived(job, index, "hel", is_final=False, stable_chars=2))
    scene.conclude(1)
    scene.wait(DEFAULTS.gap_hold_ms)
    scene.conclude(0, scene.translated(0, src_lang="en", tgt_lang="es", tts_sample_rate=16_000))
    scene.conclude(2, "no_speech")
    for _ in range(60):
        scene.say(2500)
    scene.handle(ev.DrainStarted(30_000))
    scene.handle(ev.CloseRequested("done"))
    scene.wait(30_000)

    sent = [msgspec.json.decode(encode(effect.message)) for effect in of(scene.effects, ev.Send)]
    assert {"translation_result", "missing_result", "asr_partial", "backpressure"} <= {one["type"] for one in sent}
    for one in sent:
        assert one["type"] not in NEW_MESSAGES
        assert not NEW_FIELDS & one.keys()
        assert one.get("action") != "SLOW_DOWN"
        assert None not in one.values(), "absent fields are omitted"


def test_a_result_says_what_was_said_and_where():
    scene = Scene()
    scene.whole(9, ms=500)
    scene.say(700, final=True)
    said = scene.started[1]
    scene.conclude(9)
    scene.handle(ev.JobConcluded(said.job_id, 10, ES, scene.translated(10, tgt_lang="es", src_lang="en")))
    one = scene.sent(TranslationResult)[-1]
    assert (one.session_id, one.utterance_index, one.job_id, one.trace_id) == ("s", 10, job_id(10), "t")
    assert (one.text_asr, one.text_translated, one.src_lang, one.tgt_lang) == ("text 10", "[text 10]", "en", "es")
    assert (one.speech_start_ms, one.speech_end_ms) == (500, 1200)
    assert (one.group_id, one.part_index, one.result_seq) == ("group-s-0", 1, 2)
    assert one.scheduler_sent_at_ms == EPOCH_MS + scene.now_ms


def test_what_the_node_reports_is_passed_on():
    scene = Scene()
    scene.utter()
    meta = SegmentsMeta(count=2, max_gap=0.4, avg_duration=1.5)
    told: dict[str, Any] = {
        "tts_audio": "QUJD",
        "tts_format": "wav",
        "extra": {"emotion": "calm", "language_probability": 0.9},
        "asr_quality_level": "good",
        "reason_codes": ["x"],
        "quality_score": 0.7,
        "rerun_count": 1,
        "segments_meta": meta,
        "tts_sample_rate": 22_050,
    }
    one = result(scene, **told)
    assert {name: getattr(one, name) for name in told} == told


def test_a_result_without_speech_or_text_has_empty_ones():
    scene = Scene()
    scene.utter()
    one = result(scene, text_asr=None, text_translated=None, tts_audio=None, tts_format=None)
    assert (one.text_asr, one.text_translated, one.tts_audio, one.tts_format) == ("", "", "", "opus")


def test_languages_are_those_that_the_node_settled_on():
    speaker = Speaker(
        SessionId("s"), TraceId("t"), Language("auto"), mode="two_way_auto", lang_a=ES, lang_b=Language("en")
    )
    scene = Scene(speaker=speaker)
    scene.utter()
    scene.utter()
    one = result(scene, src_lang="es", tgt_lang="en")
    assert (one.src_lang, one.tgt_lang) == ("es", "en")
    scene.conclude(1)
    assert scene.sent(TranslationResult)[-1].src_lang is None, "unknown is not told as `auto`"


def test_stages_are_timed_as_far_as_the_node_says():
    scene = Scene()
    scene.utter()
    extra = {"service_timings": {"asr_ms": 120.6, "nmt_ms": "fast", "tts_ms": -4, "more": 1}}
    one = result(scene, extra=extra, processing_time_ms=333.3)
    assert one.service_timings == ServiceTimings(asr_ms=121, total_ms=333)


@pytest.mark.parametrize("extra", [None, {}, {"service_timings": "none"}, {"service_timings": {"asr_ms": True}}])
def test_timings_that_are_none_are_absent(extra: object):
    scene = Scene()
    scene.utter()
    assert result(scene, extra=extra).service_timings is None


def test_the_ways_are_timed_as_far_as_clocks_agree():
    scene = Scene()
    scene.jump(1000)
    scene.say(500, final=True, sent_ms=EPOCH_MS + scene.now_ms - 35)
    # Assigned 400 ms ago, worked 300 ms, 20 ms under way back: 80 ms under way there.
    one = result(scene, processing_time_ms=300.0, node_completed_at_ms=EPOCH_MS + scene.now_ms - 20)
    assert one.network_timings == NetworkTimings(
        web_to_scheduler_ms=35, scheduler_to_node_ms=80, node_to_scheduler_ms=20
    )


def test_a_clock_that_wrapped_around_in_a_binary_frame_is_read_all_the_same():
    scene = Scene()
    scene.say(500, final=True, sent_ms=(EPOCH_MS + scene.now_ms - 35) % 2**32)
    assert result(scene).network_timings == NetworkTimings(web_to_scheduler_ms=35)


def test_times_of_clocks_that_disagree_are_not_told():
    scene = Scene()
    scene.say(500, final=True, sent_ms=EPOCH_MS + scene.now_ms + 5000)
    one = result(scene, processing_time_ms=300.0, node_completed_at_ms=5)
    assert one.network_timings is None


def test_a_missing_result_says_when_and_why():
    scene = Scene()
    scene.utter()
    scene.conclude(0, "no_speech")
    assert scene.sent(MissingResult) == [
        MissingResult(
            session_id="s",
            utterance_index=0,
            reason="no_speech",
            created_at_ms=EPOCH_MS + scene.now_ms,
            trace_id="t",
            result_seq=1,
            tgt_lang="es",
        )
    ]


# ----------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_client_hears_when_an_utterance_begins_and_ends(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.say(300)
    scene.wait(1000)
    scene.say(200, final=True)
    scene.wait(200)
    told = scene.sent(UiEvent)
    assert [(one.event, one.utterance_index, one.job_id) for one in told] == [
        ("INPUT_STARTED", 0, job_id(0)),
        ("INPUT_ENDED", 0, job_id(0)),
    ]
    assert told[1].elapsed_ms == (1200 if protocol == "1.0" else 1000)


def test_the_progress_of_a_job_is_passed_on_with_the_time_since_the_end_of_speech():
    scene = Scene()
    scene.utter()
    scene.wait(120)
    scene.handle(ev.JobProgressed(job_id(0), 0, "NODE_ACCEPTED"))
    one = scene.sent(UiEvent)[-1]
    assert (one.event, one.status, one.elapsed_ms, one.hint) == ("NODE_ACCEPTED", "ok", 320, None)


def test_the_progress_of_an_unknown_job_is_dropped():
    scene = Scene()
    assert not scene.handle(ev.JobProgressed(job_id(0), 0, "DISPATCHED"))
    assert not scene.handle(ev.PartialArrived(job_id(0), 0, "x", is_final=False))
    assert scene.machine.counts == {"unknown_job": 2}


def test_a_partial_is_passed_on_until_the_result_is_there():
    scene = Scene()
    scene.utter()
    scene.utter()
    scene.handle(ev.PartialArrived(job_id(1), 1, "hel", is_final=False, stable_chars=2))
    assert scene.sent(AsrPartial) == [
        AsrPartial(
            session_id="s",
            utterance_index=1,
            job_id=job_id(1),
            text="hel",
            is_final=False,
            trace_id="t",
            stable_chars=2,
        )
    ]
    scene.conclude(1)
    assert not scene.handle(ev.PartialArrived(job_id(1), 1, "hello", is_final=True))


def test_playing_is_told_with_the_result_that_is_played():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    scene.handle(ev.TtsStarted("group-s-0"))
    scene.handle(ev.TtsEnded("another"))
    told = [(one.event, one.job_id, one.utterance_index) for one in scene.sent(UiEvent)[-2:]]
    assert told == [("TTS_PLAY_STARTED", job_id(0), 0), ("TTS_PLAY_ENDED", "", 0)]


def test_a_whole_utterance_is_told_with_its_own_trace_and_language():
    scene = Scene()
    speaker = Speaker(SessionId("s"), TraceId("its own"), Language("en"))
    event = ev.UtteranceArrived(3, bytes(320), "pcm16", 16_000, True, speaker, Language("pt"))
    scene.handle(event)
    assert scene.ui() == ["INPUT_STARTED", "INPUT_ENDED"]
    assert {(one.trace_id, one.job_id) for one in scene.sent(UiEvent)} == {("its own", "job-s-3-pt")}


# ----------------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_failure_is_told_with_its_code_and_a_hint(code: ErrorCode):
    scene = Scene()
    scene.utter()
    scene.handle(ev.JobProgressed(job_id(0), 0, "ERROR", code))
    one = scene.sent(UiEvent)[-1]
    assert (one.event, one.status, one.error_code, one.hint) == ("ERROR", "error", code, HINTS[code].en)


@pytest.mark.parametrize(
    ("src_lang", "why"), [("en", "all nodes are full (2 full)"), ("zh", "所有节点都已满 (2 已满)")]
)
def test_where_there_was_no_node_the_hint_says_why(src_lang: str, why: str):
    scene = Scene(speaker=Speaker(SPEAKER.session_id, SPEAKER.trace_id, Language(src_lang)))
    scene.utter()
    scene.handle(ev.JobProgressed(job_id(0), 0, "ERROR", ErrorCode.NO_AVAILABLE_NODE, "all_full: 2 full"))
    hint = scene.sent(UiEvent)[-1].hint
    assert hint == f"{HINTS[ErrorCode.NO_AVAILABLE_NODE].localised(src_lang)} ({why})"


def test_a_failure_without_a_code_is_a_failure_all_the_same():
    scene = Scene()
    scene.utter()
    scene.handle(ev.JobProgressed(job_id(0), 0, "ERROR"))
    one = scene.sent(UiEvent)[-1]
    assert (one.status, one.error_code, one.hint) == ("error", None, None)


@pytest.mark.parametrize(
    ("src_lang", "lang_a", "ui_language", "is_chinese"),
    [
        ("zh", None, "", True),
        ("zh-tw", None, "", True),
        ("en", None, "zh-CN", True),
        ("en", None, "web zh_Hans", True),
        ("auto", "zh", "", True),
        ("auto", "en", "", False),
        ("en", "zh", "", False),
        ("en", None, "zhuhai-kiosk", False),
        ("en", None, "", False),
    ],
)
def test_hints_are_chinese_for_who_speaks_it_or_uses_it(
    src_lang: str, lang_a: str | None, ui_language: str, is_chinese: bool
):
    first = Language(lang_a) if lang_a else None
    speaker = Speaker(SPEAKER.session_id, SPEAKER.trace_id, Language(src_lang), lang_a=first)
    scene = Scene(speaker=speaker, ui_language=ui_language)
    scene.utter()
    scene.handle(ev.JobProgressed(job_id(0), 0, "ERROR", ErrorCode.JOB_TIMEOUT))
    hint = HINTS[ErrorCode.JOB_TIMEOUT]
    assert scene.sent(UiEvent)[-1].hint == (hint.zh if is_chinese else hint.en)


def test_a_missing_result_with_a_code_is_one_message_because_the_jobs_tell_the_error():
    scene = Scene()
    scene.utter()
    effects = scene.conclude(0, Missing("job_failed", ErrorCode.PROCESSING_ERROR))
    assert not messages(effects, UiEvent)
    assert not messages(effects, ErrorMessage)
