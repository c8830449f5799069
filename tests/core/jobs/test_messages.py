"""What an attempt asks of the store and tells the node, field by field."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from lingua_scheduler.core.jobs import events as ev
from lingua_scheduler.core.jobs.assign import job_key, pairs_of
from lingua_scheduler.core.utterance import FinalizeReason, Speaker
from lingua_scheduler.protocol.ids import AUTO, GroupId, Language, SessionId, TenantId, TraceId
from lingua_scheduler.protocol.messages import Features, Pipeline
from tests.core.jobs.support import DE, EN, ES, HERE, A, World, spec, with_pipeline

FULL = Speaker(
    session_id=SessionId("s"),
    trace_id=TraceId("trace"),
    src_lang=AUTO,
    tenant_id=TenantId("acme"),
    mode="two_way_auto",
    lang_a=EN,
    lang_b=DE,
    auto_langs=(EN, DE),
    dialect="us",
    features=Features(emotion_detection=True),
    pipeline=Pipeline(use_tts=False, use_semantic=True),
    enable_streaming_asr=True,
    partial_update_interval_ms=500,
)


def assigned(world: World, **changes: Any):
    one = spec(3)
    world.feed(ev.JobRequested(replace(one, speaker=FULL, utterance=replace(one.utterance, **changes))))
    asked = world.one(ev.SelectNode).request
    world.select(A, 3)
    return asked, world.one(ev.SendAssign).assign


def test_the_question_to_the_store():
    asked, _ = assigned(World())
    assert asked.pairs == ((EN, DE), (DE, EN))
    assert asked.services == ("asr", "semantic", "nmt")
    assert asked.job_key.startswith("acme:s:3:translation:es:")
    assert (asked.attempt, asked.utterance_index, asked.tenant_id) == (1, 3, "acme")
    assert (asked.wait_ms, asked.lease_ms) == (10_000, 65_000)
    assert (asked.preferred_instance, asked.trace_id) == (HERE, "trace")
    assert (asked.exclude, asked.affinity_node, asked.affinity_wait_ms, asked.bind) == (frozenset(), None, 0, None)


def test_everything_that_is_set_is_sent():
    _, assign = assigned(World(), context_text="before", group_id=GroupId("g7"), part_index=2, padding_ms=280)
    assert msgspec.to_builtins(assign) == {
        "type": "job_assign",
        "job_id": "j3-es",
        "attempt_id": 1,
        "session_id": "s",
        "utterance_index": 3,
        "kept_jobs": [],
        "src_lang": "auto",
        "tgt_lang": "es",
        "pipeline": {"use_tts": False, "use_semantic": True},
        "audio": "",
        "audio_format": "pcm16",
        "sample_rate": 16_000,
        "enable_streaming_asr": True,
        "partial_update_interval_ms": 500,
        "trace_id": "trace",
        "dialect": "us",
        "features": {"emotion_detection": True},
        "mode": "two_way_auto",
        "lang_a": "en",
        "lang_b": "de",
        "auto_langs": ["en", "de"],
        "group_id": "g7",
        "part_index": 2,
        "context_text": "before",
        "padding_ms": 280,
        "is_manual_cut": True,
        "deadline_ms": 60_000,
        "start_samples": 960_000,
    }


def test_what_is_not_set_is_not_sent():
    world = World()
    world.run(A)
    sent = msgspec.to_builtins(world.one(ev.SendAssign).assign)
    assert not {"dialect", "features", "mode", "lang_a", "lang_b", "auto_langs", "context_text"} & sent.keys()


@pytest.mark.parametrize(
    ("reason", "flag"),
    [
        (FinalizeReason.IS_FINAL, "is_manual_cut"),
        (FinalizeReason.TIMEOUT, "is_timeout_triggered"),
        (FinalizeReason.MAX_DURATION, "is_max_duration_triggered"),
        (FinalizeReason.MAX_LENGTH, None),
        (FinalizeReason.SESSION_CLOSE, None),
    ],
)
def test_the_reason_is_told_by_at_most_one_flag(reason: FinalizeReason, flag: str | None):
    world = World()
    world.run(A, reason=reason)
    sent = msgspec.to_builtins(world.one(ev.SendAssign).assign)
    flags = {"is_manual_cut", "is_timeout_triggered", "is_max_duration_triggered"} & sent.keys()
    assert flags == ({flag} if flag else set())


def test_a_closing_session_can_leave_its_last_words_as_manual():
    world = World(session_close_as_manual=True)
    world.run(A, reason=FinalizeReason.SESSION_CLOSE)
    assert world.one(ev.SendAssign).assign.is_manual_cut


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ({}, ((EN, ES),)),
        ({"mode": "two_way_auto", "lang_a": EN, "lang_b": DE}, ((EN, DE), (DE, EN))),
        ({"src_lang": AUTO, "lang_a": EN, "lang_b": DE}, ((EN, DE), (DE, EN))),
        ({"src_lang": EN, "lang_a": EN, "lang_b": DE}, ((EN, ES),)),
        ({"mode": "two_way_auto"}, ((EN, ES),)),
    ],
)
def test_a_node_must_serve_every_direction_it_may_find(
    changes: dict[str, Any], pairs: tuple[tuple[Language, Language], ...]
):
    assert pairs_of(with_pipeline(spec(), **changes)) == pairs


def test_the_key_of_a_job_is_that_of_its_repetition_and_of_no_other():
    key = job_key(spec())
    assert job_key(spec()) == key
    others = [
        spec(1),
        spec(tgt=DE),
        with_pipeline(spec(), session_id=SessionId("t")),
        with_pipeline(spec(), tenant_id=TenantId("acme")),
        with_pipeline(spec(), features=Features(emotion_detection=True)),
        with_pipeline(spec(), pipeline=Pipeline(use_tts=False)),
        with_pipeline(spec(), dialect="us"),
    ]
    assert len({key, *(job_key(other) for other in others)}) == len(others) + 1
