"""Why there was no node, in words."""

import pytest

from lingua_scheduler.core.placement import NoNodeReason
from lingua_scheduler.core.shortage import explained, shortage


@pytest.mark.parametrize("reason", list(NoNodeReason))
def test_every_reason_has_words_in_both_languages(reason: NoNodeReason):
    told = shortage(reason, {})
    assert told == reason
    assert explained(told, "en")
    assert explained(told, "zh-CN")
    assert explained(told, "en") != explained(told, "zh-CN")


def test_counts_are_told_by_kind():
    told = shortage(NoNodeReason.ALL_FULL, {"full": 2, "draining": 1, "kept": 0})
    assert told == "all_full: 1 draining, 2 full"
    assert explained(told, "en") == "all nodes are full (1 draining, 2 full)"
    assert explained(told, "zh") == "所有节点都已满 (1 正在退出, 2 已满)"


KINDS = "full degraded suspect draining excluded unavailable unsupported kept dead waiting"


@pytest.mark.parametrize("kind", KINDS.split())
def test_every_kind_that_the_store_counts_has_words(kind: str):
    assert "(1 " in explained(shortage(NoNodeReason.ALL_FULL, {kind: 1}), "en")


@pytest.mark.parametrize("told", ["", "CUDA out of memory: 3 full", "all_full: 2 unheard_of"])
def test_what_is_no_shortage_is_not_quoted(told: str):
    assert explained(told, "en") in {"", "all nodes are full"}
