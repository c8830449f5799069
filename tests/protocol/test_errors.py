"""The table of errors: every code the protocol names, each with a hint in both languages."""

import re

import pytest

from lingua_scheduler.protocol.errors import HINTS, ErrorCode, PeerError

CODES = [
    "INVALID_MESSAGE",
    "INTERNAL_ERROR",
    "INVALID_SESSION",
    "SESSION_CLOSED",
    "UNAUTHORIZED",
    "RATE_LIMITED",
    "NODE_UNAVAILABLE",
    "NODE_OVERLOADED",
    "NODE_NOT_REGISTERED",
    "NODE_ID_CONFLICT",
    "INVALID_CAPABILITY_SCHEMA",
    "NO_AVAILABLE_NODE",
    "MODEL_NOT_AVAILABLE",
    "MODEL_LOAD_FAILED",
    "MODEL_VERIFY_FAILED",
    "MODEL_CORRUPTED",
    "NO_GPU_AVAILABLE",
    "UNSUPPORTED_FEATURE",
    "INVALID_PAIRING_CODE",
    "WS_DISCONNECTED",
    "NMT_TIMEOUT",
    "TTS_TIMEOUT",
    "JOB_TIMEOUT",
    "SCHEDULER_DEPENDENCY_DOWN",
    "ROOM_NOT_FOUND",
    "ROOM_FULL",
    "INVALID_ROOM_CODE",
    "ALREADY_IN_ROOM",
]


def test_every_code_that_peers_know_is_there_under_its_own_name():
    assert set(CODES) <= {code.value for code in ErrorCode}
    assert all(code.name == code.value for code in ErrorCode)


def test_every_code_has_a_hint():
    assert set(HINTS) == set(ErrorCode)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_hint_is_a_sentence_in_each_language(code: ErrorCode):
    hint = HINTS[code]
    assert re.search(r"[\u4e00-\u9fff]", hint.zh)
    assert hint.zh.endswith("。")
    assert hint.en.isascii()
    assert hint.en.endswith(".")
    assert hint.en[0].isupper()


def test_no_two_codes_share_a_hint():
    assert len({hint.en for hint in HINTS.values()}) == len({hint.zh for hint in HINTS.values()}) == len(HINTS)


@pytest.mark.parametrize(
    ("language", "is_chinese"),
    [("zh", True), ("zh-CN", True), ("ZH", True), ("zh_Hant", True), ("en", False), ("", False), ("ja", False)],
)
def test_a_hint_comes_in_the_language_of_the_reader(language: str, is_chinese: bool):
    hint = HINTS[ErrorCode.ROOM_FULL]
    assert hint.localised(language) == (hint.zh if is_chinese else hint.en)


def test_a_fault_of_a_peer_carries_its_code_and_its_message():
    error = PeerError(ErrorCode.ROOM_FULL, "32 are in it")
    assert (error.code, error.message, str(error)) == (ErrorCode.ROOM_FULL, "32 are in it", "ROOM_FULL: 32 are in it")
