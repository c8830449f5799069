"""Every fault of a registration is answered with the name of its field; everything else is taken as it is meant."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.node import events as ev
from lingua_scheduler.core.node.config import PAIRS_MAX
from lingua_scheduler.core.node.events import Languages, NodeLoad
from lingua_scheduler.core.node.phases import Phase
from lingua_scheduler.core.node.registration import SchemaError, read_languages, read_load, read_services
from lingua_scheduler.protocol.errors import ErrorCode
from lingua_scheduler.protocol.ids import valid_id
from lingua_scheduler.protocol.node import (
    ActiveJob,
    Capability,
    LanguageCapabilities,
    LanguagePair,
    NodeRegisterAck,
    ResourceUsage,
)
from tests.core.node.support import FRESH, READY, Connection, languages, result, serving

MANY = [f"{chr(97 + a)}{chr(97 + b)}" for a in range(26) for b in range(26)]

FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("node_id", {"node_id": ""}),
    ("node_id", {"node_id": "a b"}),
    ("node_id", {"node_id": "x" * 129}),
    ("zone", {"zone": "eu:west"}),
    ("capacity", {"capacity": 0}),
    ("capacity", {"capacity": -1}),
    ("capacity", {"capacity": 10**6}),
    ("version", {"version": "1" * 1000}),
    ("platform", {"platform": "p" * 1000}),
    ("active_jobs", {"active_jobs": [ActiveJob(job_id="a,b", attempt_id=1)]}),
    ("active_jobs", {"active_jobs": [ActiveJob(job_id=f"j{n}", attempt_id=1) for n in range(2_000)]}),
    ("language_capabilities.asr_languages", {"language_capabilities": languages(asr="")}),
    ("language_capabilities.semantic_languages", {"language_capabilities": languages(semantic="")}),
    ("language_capabilities.tts_languages", {"language_capabilities": languages(tts="")}),
    ("language_capabilities.asr_languages", {"language_capabilities": languages(asr="english")}),
    ("language_capabilities.tts_languages", {"language_capabilities": languages(tts="es x")}),
    ("language_capabilities.asr_languages", {"language_capabilities": languages(asr=" ".join(MANY))}),
    (
        "language_capabilities.supported_language_pairs",
        {"language_capabilities": languages(asr=" ".join(MANY[:100]), tts=" ".join(MANY[:100]))},
    ),
    (
        "language_capabilities.supported_language_pairs",
        {"language_capabilities": languages(supported_language_pairs=[LanguagePair(src="en", tgt="?")])},
    ),
    (
        "language_capabilities.supported_language_pairs",
        {"language_capabilities": languages(supported_language_pairs=[LanguagePair(src="es", tgt="en")])},
    ),
    (
        "language_capabilities.supported_language_pairs",
        {
            "language_capabilities": languages(
                supported_language_pairs=[LanguagePair(src="en", tgt="es")] * (PAIRS_MAX + 1)
            )
        },
    ),
]


@pytest.mark.parametrize(("field", "fields"), FAULTS)
def test_a_fault_is_answered_with_its_field(field: str, fields: dict[str, Any]):
    connection = Connection()
    connection.register(**fields)
    assert connection.error() == (ErrorCode.INVALID_CAPABILITY_SCHEMA, field)
    assert not connection.of(ev.RegisterNode)
    assert connection.one(ev.RefuseMessage).why == "registration"
    assert connection.machine.phase is Phase.CONNECTED


def test_a_node_may_mend_its_registration_on_the_same_connection():
    connection = Connection()
    connection.register(capacity=0)
    connection.register(capacity=2)
    assert connection.one(ev.RegisterNode).registration.capacity == 2


def test_a_registration_that_cannot_be_decoded_is_a_fault_too():
    connection = Connection()
    connection.feed(ev.FrameRefused("Object missing required field `hardware`", is_registration=True))
    assert connection.error() == (ErrorCode.INVALID_CAPABILITY_SCHEMA, None)
    connection.feed(ev.FrameRefused("Object missing required field `job_id`", is_registration=False))
    assert connection.error() == (ErrorCode.INVALID_MESSAGE, None)
    assert connection.machine.phase is Phase.CONNECTED


def spelled(read: Languages) -> tuple[list[str], list[str], list[str], list[tuple[str, str]] | None]:
    return [*read.asr], [*read.semantic], [*read.tts], None if read.pairs is None else [*read.pairs]


def test_what_is_not_said_has_its_default():
    connection = Connection()
    connection.register()
    asked = connection.one(ev.RegisterNode).registration
    assert (asked.node_id, asked.protocol, asked.capacity, asked.zone, asked.binary_audio) == (FRESH, 1, 4, "", False)
    assert spelled(asked.languages) == (["en"], ["en"], ["es", "pt"], None)
    assert asked.services == ("asr", "nmt", "tts")


def test_what_is_said_is_kept():
    connection = Connection()
    connection.register(node_id="mine", protocol_version="2", capacity=8, zone="eu-1", binary_audio=True)
    asked = connection.one(ev.RegisterNode).registration
    assert (asked.node_id, asked.protocol, asked.capacity, asked.zone, asked.binary_audio) == (
        "mine", 2, 8, "eu-1", True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "protocol"), [(None, 1), ("", 1), ("1", 1), ("1.9", 1), ("2", 2), ("2.1", 2), ("3", 2), ("two", 1)]
)
def test_a_node_speaks_the_protocol_it_says(version: str | None, protocol: int):
    connection = Connection()
    connection.register(protocol_version=version)
    assert connection.one(ev.RegisterNode).registration.protocol == protocol


def test_languages_are_read_in_one_spelling():
    pairs = [LanguagePair(src="EN", tgt="pt_BR"), LanguagePair(src="en", tgt="pt-br"), LanguagePair(src="en", tgt="de")]
    read = read_languages(languages(asr="EN en zh_TW", tts="pt-BR es", supported_language_pairs=pairs))
    assert spelled(read) == (["en", "zh-tw"], ["en"], ["pt-br", "es"], [("en", "pt-br"), ("en", "de")])


def test_an_empty_list_of_pairs_is_none():
    assert read_languages(languages(supported_language_pairs=[])).pairs is None


@pytest.mark.parametrize(
    ("told", "services"),
    [
        (READY, ("asr", "nmt", "tts")),
        ([], ("asr", "nmt", "tts")),
        (None, ("asr", "nmt", "tts")),
        ([Capability(type="ASR", ready=True), Capability(type="tts", ready=False)], ("asr",)),
        ([Capability(type="asr", ready=True), Capability(type="a,b", ready=True)], ("asr",)),
        ([Capability(type="asr", ready=True)] * 3, ("asr",)),
    ],
)
def test_services_are_those_that_are_ready(told: list[Capability] | None, services: tuple[str, ...]):
    assert read_services(told, None) == services


def test_semantic_repair_is_taken_at_its_word():
    assert read_services([], languages(semantic_core_ready=True)) == ("asr", "nmt", "tts", "semantic")


def test_an_odd_load_is_no_load():
    usage = ResourceUsage(cpu_percent=50.0, mem_percent=-3.0, gpu_percent=400.0, running_jobs=-2, gpu_queue_length=3)
    assert read_load(usage) == NodeLoad(running_jobs=0, queue_length=3, cpu_percent=50.0)


@given(
    st.builds(
        LanguageCapabilities,
        asr_languages=st.lists(st.text(max_size=8), max_size=4),
        semantic_languages=st.lists(st.text(max_size=8), max_size=4),
        tts_languages=st.lists(st.text(max_size=8), max_size=4),
        supported_language_pairs=st.none()
        | st.lists(st.builds(LanguagePair, src=st.text(), tgt=st.text()), max_size=3),
    )
)
def test_nothing_that_a_node_calls_a_language_gets_past(told: LanguageCapabilities):
    with suppress(SchemaError):
        read = read_languages(told)
        assert all(valid_id(code) for one in (read.asr, read.semantic, read.tts) for code in one)


# ------------------------------------------------------------------------------------------- confirmation


def test_the_node_is_announced_before_it_is_told():
    connection = Connection()
    connection.register(node_id="mine")
    assert not connection.of(ev.Send)
    connection.confirm(epoch=7)
    announced, told = connection.last
    assert announced == ev.AnnounceRegistered(connection.of(ev.RegisterNode, connection.all)[0].registration, 7)
    assert isinstance(told, ev.Send)
    assert told.message == NodeRegisterAck(node_id="mine", message="registered", status="registering")


@pytest.mark.parametrize(
    ("word", "code", "closes"),
    [
        ("NODE_ID_CONFLICT", ErrorCode.NODE_ID_CONFLICT, 4003),
        ("NO_LANGUAGES", ErrorCode.INVALID_CAPABILITY_SCHEMA, None),
    ],
)
def test_the_store_may_refuse_a_node(word: str, code: ErrorCode, closes: int | None):
    connection = Connection()
    connection.register()
    connection.feed(ev.RegisterReplied(word))
    assert connection.error()[0] is code
    assert [close.code for close in connection.of(ev.Close)] == ([closes] if closes else [])
    assert not connection.of(ev.AnnounceRegistered, connection.all)
    assert not connection.of(ev.MarkOffline, connection.all)


def test_what_a_refused_node_has_said_is_refused_with_it():
    connection = Connection()
    connection.register()
    connection.say(result())
    connection.feed(ev.RegisterReplied("NO_LANGUAGES"))
    assert connection.one(ev.RefuseMessage).why == "not_registered"
    connection.register()
    connection.confirm()
    assert not connection.of(ev.ForwardReport)


def test_a_registration_waits_for_a_store_that_is_away():
    connection = Connection()
    connection.register()
    for _ in range(20):
        connection.feed(ev.StoreFailed("register"))
        connection.pass_ms(1_000, answers=True)
        assert connection.of(ev.RegisterNode)
    connection.confirm()
    assert connection.of(ev.AnnounceRegistered)


def test_the_return_of_the_store_is_used_at_once():
    connection = Connection()
    connection.register()
    connection.feed(ev.StoreFailed("register"))
    connection.feed(ev.StoreReturned())
    assert connection.of(ev.RegisterNode)


def test_who_does_not_register_is_sent_away():
    connection = Connection(ping_ms=3_000)
    connection.pass_ms(9_999, answers=True)
    assert not connection.of(ev.Close)
    connection.pass_ms(1)
    assert connection.one(ev.Close).code == 4001
    assert connection.machine.is_over


def test_a_second_registration_changes_all_but_the_id():
    connection = serving(node_id="mine")
    connection.register(language_capabilities=languages(asr="de"), capacity=9)
    asked = connection.one(ev.RegisterNode).registration
    assert (asked.node_id, asked.languages.asr, asked.capacity) == ("mine", ("de",), 9)
    connection.confirm(epoch=2)
    assert connection.one(ev.AnnounceRegistered).epoch == 2
    beat = connection.one(ev.HeartbeatNode)
    assert (beat.epoch, beat.status, beat.languages) == (2, "ready", None)
    connection.beaten()
    assert connection.machine.status == "ready"
    assert not connection.of(ev.AnnounceLost, connection.all)


def test_a_connection_is_one_node():
    connection = serving(node_id="mine")
    connection.register(node_id="yours")
    assert connection.error() == (ErrorCode.NODE_ID_CONFLICT, "node_id")
    assert not connection.of(ev.RegisterNode)
    assert connection.machine.status == "ready"


def test_of_many_registrations_at_once_the_last_counts():
    connection = Connection()
    for capacity in (1, 2, 3):
        connection.register(capacity=capacity)
    assert [asked.registration.capacity for asked in connection.of(ev.RegisterNode, connection.all)] == [1]
    connection.confirm()
    assert connection.one(ev.RegisterNode).registration.capacity == 3
    connection.confirm(epoch=2)
    assert not connection.of(ev.RegisterNode)


def test_a_heartbeat_in_flight_cannot_speak_of_an_older_epoch():
    """Its answer, STALE_EPOCH, came after the confirmation of the node's own second registration: the node was sent
    away as if a newer connection had taken over.
    """
    connection = serving()
    connection.beat()
    connection.register(capacity=9)
    assert not connection.of(ev.RegisterNode)
    connection.beaten()
    assert connection.one(ev.RegisterNode)


def test_what_the_node_says_before_it_is_confirmed_waits():
    connection = Connection()
    connection.register()
    for number in range(70):
        connection.say(result(number=number))
    assert len(connection.of(ev.RefuseMessage, connection.all)) == 6
    assert not connection.of(ev.ForwardReport, connection.all)
    connection.confirm(epoch=3)
    forwarded = connection.of(ev.ForwardReport)
    assert [report.report.job_id for report in forwarded] == [f"j{number}" for number in range(64)]
    assert {report.epoch for report in forwarded} == {3}


def test_a_node_that_does_not_name_its_jobs_again_has_those_that_it_had():
    connection = serving(node_id="mine")
    connection.register(node_id="mine")
    assert connection.one(ev.RegisterNode).is_again


def test_a_node_that_names_its_jobs_is_believed():
    connection = serving(node_id="mine")
    connection.register(node_id="mine", active_jobs=[])
    assert not connection.one(ev.RegisterNode).is_again
    fresh = Connection()
    fresh.register(node_id="mine")
    assert not fresh.one(ev.RegisterNode).is_again
