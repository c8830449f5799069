"""A session whose client is in a room: who hears what it says, and what it hears of others."""

from dataclasses import replace

import pytest

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol, SessionIdentity
from lingua_scheduler.core.session.life import Life
from lingua_scheduler.core.session.machine import SessionMachine
from lingua_scheduler.core.utterance import Audience, Missing
from lingua_scheduler.protocol.ids import Language, NodeId, SessionId
from lingua_scheduler.protocol.messages import MissingResult, TranslationResult
from tests.core.session.support import DEFAULTS, ES, PROTOCOLS, PT, SPEAKER, Scene, job_id, of, results

ANA, BEA, CLEO = SessionId("ana"), SessionId("bea"), SessionId("cleo")


def heard_by(*listeners: tuple[Language, tuple[SessionId, ...]]) -> ev.AudienceChanged:
    return ev.AudienceChanged(Audience(SPEAKER, listeners))


def line(index: int, speaker: str = "other", text: str = "hola") -> TranslationResult:
    return TranslationResult(
        session_id=speaker, utterance_index=index, job_id=f"job-{speaker}-{index}-es", text_asr="hello",
        text_translated=text, tts_audio="UklGRg==", tts_format="opus", trace_id="t", scheduler_sent_at_ms=1,
        src_lang="en", tgt_lang="es", tts_sample_rate=16_000, speech_start_ms=0, speech_end_ms=10,
    )  # fmt: skip


def to_room(effects: list[ev.SessionEffect]) -> list[tuple[tuple[SessionId, ...], int, str]]:
    def says(one: TranslationResult | MissingResult) -> str:
        return one.text_asr if isinstance(one, TranslationResult) else one.reason

    return [(one.recipients, one.line.utterance_index, says(one.line)) for one in of(effects, ev.SendToRoom)]


def test_one_job_for_each_language_and_nothing_for_the_speaker():
    scene = Scene()
    scene.handle(heard_by((ES, (ANA, BEA)), (PT, (CLEO,))))
    scene.utter()
    assert [spec.tgt_lang for spec in scene.started] == [ES, PT]
    assert all(spec.is_for_room for spec in scene.started)
    assert len(of(scene.effects, ev.NoteSpeech)) == 1
    effects = scene.conclude(0, target=PT)
    assert to_room(effects) == [((CLEO,), 0, "text 0")]
    scene.conclude(0, "job_failed")
    assert to_room(scene.effects) == [((CLEO,), 0, "text 0"), ((ANA, BEA), 0, "job_failed")]
    assert scene.results() == [], "none to the speaker"
    assert scene.acked() == [0], "its audio is concluded all the same"


def test_order_is_kept_for_each_language_and_a_slow_one_delays_no_other():
    scene = Scene()
    scene.handle(heard_by((ES, (ANA,)), (PT, (BEA,))))
    scene.utter()
    scene.utter()
    assert to_room(scene.conclude(1)) == []
    assert to_room(scene.conclude(1, target=PT)) == []
    assert to_room(scene.conclude(0, target=PT)) == [((BEA,), 0, "text 0"), ((BEA,), 1, "text 1")]
    assert to_room(scene.wait(DEFAULTS.gap_hold_ms)) == [((ANA,), 0, "gap_timeout"), ((ANA,), 1, "text 1")]
    assert to_room(scene.conclude(0)) == [((ANA,), 0, "text 0")]


def test_a_change_of_audience_is_for_the_utterances_that_end_after_it():
    scene = Scene()
    scene.handle(heard_by((ES, (ANA,))))
    scene.utter()
    scene.handle(heard_by((PT, (ANA,))))
    scene.utter()
    scene.handle(ev.AudienceChanged(None))
    scene.utter()
    assert [(spec.utterance.index, spec.tgt_lang, spec.is_for_room) for spec in scene.started] == [
        (0, ES, True), (1, PT, True), (2, ES, False),
    ]  # fmt: skip
    assert to_room(scene.conclude(1, target=PT)) == [((ANA,), 1, "text 1")]
    assert to_room(scene.conclude(0)) == [((ANA,), 0, "text 0")]
    assert results(scene.conclude(2)) == [(2, "text 2")]


def test_where_nobody_listens_speech_is_dropped_and_the_client_may_forget_it():
    scene = Scene()
    scene.handle(heard_by())
    scene.say(500, final=True)
    assert scene.started == []
    assert len(of(scene.effects, ev.NoteSpeech)) == 1
    assert scene.acked() == [0]
    assert scene.machine.kept_bytes == 0


def test_others_still_hear_who_has_lost_the_connection():
    scene = Scene(protocol="1.0")
    scene.handle(heard_by((ES, (ANA,))))
    scene.utter()
    scene.utter()
    scene.handle(ev.ConnectionLost())
    assert to_room(scene.conclude(1)) == []
    assert to_room(scene.wait(DEFAULTS.gap_hold_ms)) == [((ANA,), 0, "gap_timeout"), ((ANA,), 1, "text 1")]
    assert to_room(scene.conclude(0)) == [((ANA,), 0, "text 0")]
    assert scene.state is Life.ENDED


def test_asking_of_a_room_keeps_a_session_from_being_idle():
    scene = Scene()
    scene.wait(DEFAULTS.session_idle_ms - 1)
    scene.handle(ev.RoomAsked())
    scene.wait(DEFAULTS.session_idle_ms - 1)
    assert scene.state is Life.OPEN
    scene.wait(1)
    assert scene.state is not Life.OPEN


def test_a_line_says_where_it_was_heard_only_of_nodes_that_hear_once():
    scene = Scene()
    scene.handle(heard_by((ES, (ANA,)), (PT, (BEA,))))
    scene.utter()
    scene.conclude(0, replace(scene.translated(0), hears_once=True))
    scene.conclude(0, Missing("no_speech"), target=PT)
    assert [one.heard_at for one in of(scene.effects, ev.SendToRoom)] == [NodeId("n"), None]


def test_partial_texts_of_one_utterance_come_from_one_job():
    scene = Scene()
    scene.handle(heard_by((ES, (ANA,)), (PT, (BEA,))))
    scene.utter()
    shown = scene.handle(ev.PartialArrived(job_id(0, PT), 0, "hel", is_final=False))
    assert len(of(shown, ev.Send)) == 1
    assert scene.handle(ev.PartialArrived(job_id(0, ES), 0, "he", is_final=False)) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_line_of_another_is_passed_on_once(protocol: Protocol):
    scene = Scene(protocol=protocol)
    scene.handle(ev.LineArrived(line(3)))
    assert scene.handle(ev.LineArrived(line(3))) == []
    assert scene.handle(ev.LineArrived(line(3, "third"))) != []
    [first, second] = scene.sent(TranslationResult)
    assert (first.session_id, second.session_id) == ("other", "third")
    if protocol == "1.1":
        assert (first.result_seq, second.result_seq) == (1, 2)
        assert first.tgt_lang == "es"
    else:
        assert first.result_seq is first.tgt_lang is first.speech_end_ms is None
    assert scene.acked() == []


def test_another_instance_passes_on_no_line_that_was_told_before():
    scene = Scene()
    for index in (0, 2):
        scene.handle(ev.LineArrived(line(index)))
    scene.handle(ev.ResultsAcked(2))
    elsewhere = Scene()
    identity = SessionIdentity(SPEAKER, (ES,), 0, "1.1", "pcm16")
    elsewhere.machine = SessionMachine(DEFAULTS, identity)
    elsewhere.machine.restore(scene.machine.snapshot(), [], elsewhere.now_ms)
    elsewhere.handle(ev.Resumed(2, "token"))
    for index in (0, 2, 1):
        elsewhere.handle(ev.LineArrived(line(index)))
    assert [(one.utterance_index, one.result_seq) for one in elsewhere.sent(TranslationResult)] == [(1, 3)]


def test_lines_are_kept_for_a_client_that_comes_back_in_one_count_with_its_own_results():
    scene = Scene()
    scene.utter()
    scene.conclude(0)
    scene.handle(ev.ConnectionLost())
    assert scene.handle(ev.LineArrived(line(0))) == []
    gap = MissingResult(session_id="other", utterance_index=1, reason="gap_timeout", created_at_ms=0)
    assert scene.handle(ev.LineArrived(gap)) == []
    scene.handle(ev.LineArrived(line(1)))
    effects = scene.handle(ev.Resumed(1, "token"))
    assert results(effects) == [(0, "hello"), (1, "hello")]
    assert [one.result_seq for one in scene.sent(TranslationResult)] == [1, 2, 3]
