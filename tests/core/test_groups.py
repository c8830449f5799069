"""Which utterances belong together, and the context that goes with them."""

import pytest

from lingua_scheduler.core.groups import Groups, join_texts, tail
from lingua_scheduler.core.session import events as ev
from tests.core.session.support import DEFAULTS, ES, PT, Scene

GAP_MS = DEFAULTS.group_gap_ms


def part(scene: Scene) -> tuple[str, int]:
    utterance = scene.utter(100).utterance
    return utterance.group_id, utterance.part_index


def test_speech_that_begins_soon_after_the_last_result_continues_the_group():
    scene = Scene()
    assert part(scene) == ("group-s-0", 0)
    scene.conclude(0)
    scene.wait(GAP_MS - scene.config.hangover_manual_ms - 1)
    assert part(scene) == ("group-s-0", 1)


def test_speech_that_begins_later_opens_a_new_group_without_context():
    scene = Scene()
    part(scene)
    scene.conclude(0)
    scene.wait(GAP_MS)
    assert part(scene) == ("group-s-1", 0)
    assert scene.started[1].utterance.context_text == ""


def test_a_whole_utterance_after_a_silence_opens_a_new_group_too():
    scene = Scene()
    scene.whole(0)
    scene.conclude(0)
    scene.wait(GAP_MS)
    scene.whole(1)
    assert [spec.utterance.group_id for spec in scene.started] == ["group-s-0", "group-s-1"]


def test_the_beginning_of_speech_decides_and_not_its_end():
    scene = Scene()
    part(scene)
    scene.conclude(0)
    scene.wait(GAP_MS - 1)
    scene.say(100)
    scene.wait(GAP_MS)
    scene.say(100, final=True)
    assert (scene.started[1].utterance.group_id, scene.started[1].utterance.part_index) == ("group-s-0", 1)


def test_a_group_lives_while_an_utterance_is_unanswered():
    scene = Scene()
    part(scene)
    scene.wait(20 * GAP_MS)
    assert part(scene) == ("group-s-0", 1)


def test_an_utterance_whose_targets_are_answered_at_once_is_answered_once():
    """Two gaps passed in the same moment took two utterances off the count: the group died, the count went below 0."""
    scene = Scene(targets=(ES, PT))
    part(scene)
    part(scene)
    for target in (ES, PT):
        scene.conclude(1, target=target)
    scene.wait(DEFAULTS.gap_hold_ms + 20 * GAP_MS)
    assert part(scene) == ("group-s-0", 2), "the first utterance is still unanswered"
    for target in (ES, PT):
        scene.conclude(0, target=target)
        scene.conclude(2, target=target)
    scene.wait(GAP_MS)
    assert part(scene) == ("group-s-1", 0)


def test_a_group_lives_while_its_speech_is_played_and_a_gap_longer():
    scene = Scene()
    part(scene)
    scene.conclude(0)
    scene.handle(ev.TtsStarted("group-s-0"))
    scene.wait(3 * GAP_MS)
    assert part(scene) == ("group-s-0", 1)
    scene.conclude(1)
    scene.handle(ev.TtsEnded("group-s-0"))
    scene.wait(GAP_MS - 1)
    assert part(scene) == ("group-s-0", 2)
    scene.conclude(2)
    scene.handle(ev.TtsEnded("group-s-0"))
    scene.wait(GAP_MS)
    assert part(scene) == ("group-s-1", 0)


def test_a_gap_that_was_told_is_an_answer():
    scene = Scene()
    part(scene)
    scene.conclude(0, "no_speech")
    scene.wait(GAP_MS - scene.config.hangover_manual_ms - 1)
    assert part(scene) == ("group-s-0", 1)


def test_a_group_has_at_most_eight_parts_and_the_context_goes_on():
    scene = Scene()
    parts: list[tuple[str, int]] = []
    for index in range(10):
        parts.append(part(scene))
        scene.conclude(index)
    assert parts == [("group-s-0", n) for n in range(8)] + [("group-s-1", 0), ("group-s-1", 1)]
    assert scene.started[9].utterance.context_text == " ".join(f"text {n}" for n in range(1, 9))


def test_the_context_has_the_words_before_in_the_order_of_utterances():
    scene = Scene()
    for _ in range(3):
        part(scene)
    scene.conclude(1)
    scene.conclude(0)
    assert scene.utter(100).utterance.context_text == "text 0 text 1"


def test_the_context_is_known_before_a_result_is_delivered():
    scene = Scene()
    part(scene)
    part(scene)
    scene.conclude(1)
    assert scene.utter(100).utterance.context_text == "text 1"


def test_the_context_has_at_most_eight_hundred_characters_and_they_are_the_last():
    scene = Scene()
    for index in range(3):
        part(scene)
        scene.conclude(index, scene.translated(index, text_asr=f"{index}" * 500))
    assert scene.utter(100).utterance.context_text == "1" * 299 + " " + "2" * 500


def test_failures_and_blank_texts_leave_no_trace_in_the_context():
    scene = Scene()
    part(scene)
    scene.conclude(0, "job_failed")
    part(scene)
    scene.conclude(1, scene.translated(1, text_asr=""))
    assert scene.utter(100).utterance.context_text == ""


def test_several_targets_tell_the_words_once():
    groups = Groups("s", 2000, 8, 800)
    groups.begin(0)
    groups.next_part(2)
    groups.heard(0, "one")
    groups.heard(0, "uno")
    assert groups.next_part(2)[2] == "one"


@pytest.mark.parametrize(
    ("text", "chars", "expected"),
    [
        ("abcdef", 10, "abcdef"),
        ("abcdef", 3, "def"),
        ("我非常喜欢吃苹果", 3, "吃苹果"),
        ("ae\u0301x", 2, "x"),
        ("ae\u0301x", 3, "e\u0301x"),
        ("क्षि", 1, ""),
        ("a👩\u200d👧b", 2, "b"),
        ("a👩\u200d👧b", 4, "👩\u200d👧b"),
        ("a👍🏽b", 2, "b"),
        ("abc", 0, ""),
    ],
)
def test_a_text_is_cut_between_characters_as_readers_see_them(text: str, chars: int, expected: str):
    assert tail(text, chars) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ""),
        (["one.", "Two."], "one. Two."),
        (["你好。", "再见"], "你好。再见"),
        (["好的", "OK"], "好的OK"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["", "a", "", "b"], "a b"),
    ],
)
def test_spaces_join_only_where_words_have_them(texts: list[str], expected: str):
    assert join_texts(texts) == expected
