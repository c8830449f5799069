"""MERGE or NEW_STREAM: the table, the score, what is cut off and what never is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.node.aggregation.audio_events import Span
from lingua_scheduler.node.aggregation.utterances import (
    LIVE,
    OFFLINE,
    SESSION_TTL_MS,
    SESSIONS_MAX,
    Decision,
    Judgement,
    Pace,
    Recognized,
    Rule,
    UtteranceAggregator,
    continuation_score,
)
from lingua_scheduler.protocol.ids import Language, SessionId

EN, ZH, JA, KO, DE = map(Language, ("en", "zh", "ja", "ko", "de"))
SESSION = SessionId("s")
LONG = "we have been talking about this for hours."
"""Neither short nor open-ended: scores nothing by itself."""


def spoken(text: str, start_ms: int, stop_ms: int, language: Language = EN, **more: object) -> Recognized:
    return replace(Recognized(text, Span(start_ms * 16, stop_ms * 16), language), **more)


def judge_two(last: Recognized, current: Recognized, pace: Pace = LIVE) -> Judgement:
    aggregator = UtteranceAggregator()
    aggregator.judge(SESSION, last, pace, 0)
    judgement = aggregator.judge(SESSION, current, pace, 10)
    aggregator.check()
    return judgement


def after(gap_ms: int, text: str = LONG, language: Language = EN, **more: object) -> Recognized:
    return spoken(text, 1000 + gap_ms, 3000 + gap_ms, language, **more)


FIRST = spoken(LONG, 0, 1000)


# ------------------------------------------------------------------------------------------- the rules in order


@pytest.mark.parametrize(
    ("pace", "gap_ms", "rule"),
    [
        (LIVE, 0, "strong_gap"),
        (LIVE, 800, "strong_gap"),
        (LIVE, 801, "soft_gap"),
        (LIVE, 1499, "soft_gap"),
        (LIVE, 1500, "hard_gap"),
        (OFFLINE, 1000, "strong_gap"),
        (OFFLINE, 1001, "soft_gap"),
        (OFFLINE, 1999, "soft_gap"),
        (OFFLINE, 2000, "hard_gap"),
    ],
)
def test_the_gap_alone_decides_about_complete_sentences(pace: Pace, gap_ms: int, rule: Rule) -> None:
    judgement = judge_two(FIRST, after(gap_ms), pace)
    assert judgement.rule == rule
    assert judgement.decision is (Decision.MERGE if rule == "strong_gap" else Decision.NEW_STREAM)
    assert judgement.gap_ms == gap_ms


@pytest.mark.parametrize(
    ("pace", "gap_ms", "rule"),
    [
        (LIVE, 801, "score"),
        (LIVE, 1000, "score"),
        (LIVE, 1001, "soft_gap"),
        (LIVE, 1500, "hard_gap"),
        (OFFLINE, 1001, "score"),
        (OFFLINE, 1200, "score"),
        (OFFLINE, 1201, "soft_gap"),
        (OFFLINE, 2000, "hard_gap"),
    ],
)
def test_a_high_score_reaches_up_to_the_soft_gap(pace: Pace, gap_ms: int, rule: Rule) -> None:
    judgement = judge_two(replace(FIRST, text="we went there and"), after(gap_ms, "so that"), pace)
    assert judgement.rule == rule


@pytest.mark.parametrize(("last_manual", "current_manual"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("gap_ms", [0, 900, 5000])
def test_what_a_hand_ended_stands_alone(last_manual: bool, current_manual: bool, gap_ms: int) -> None:
    judgement = judge_two(replace(FIRST, is_manual=last_manual), after(gap_ms, is_manual=current_manual))
    assert (judgement.decision, judgement.rule) == (Decision.NEW_STREAM, "manual")


def test_the_first_text_starts_a_stream() -> None:
    judgement = UtteranceAggregator().judge(SESSION, FIRST, LIVE, 0)
    assert judgement == Judgement(Decision.NEW_STREAM, "first", LONG)
    assert judgement.display == LONG


@pytest.mark.parametrize(
    ("pace", "gap_ms", "p_last", "p_current", "others", "rule"),
    [
        (LIVE, 501, 0.9, 0.9, {}, "language_switch"),
        (LIVE, 500, 0.9, 0.9, {}, "strong_gap"),
        (LIVE, 501, 0.79, 0.9, {}, "strong_gap"),
        (LIVE, 501, 0.9, 0.79, {}, "strong_gap"),
        (LIVE, 501, 0.8, 0.8, {}, "language_switch"),
        (LIVE, 501, 0.9, 0.9, {EN: 0.73}, "strong_gap"),
        (LIVE, 501, 0.9, 0.9, {EN: 0.72}, "language_switch"),
        (OFFLINE, 601, 0.9, 0.9, {EN: 0.75}, "language_switch"),
        (OFFLINE, 601, 0.9, 0.9, {EN: 0.76}, "strong_gap"),
        (OFFLINE, 600, 0.9, 0.9, {}, "strong_gap"),
    ],
)
def test_a_sure_switch_of_language_starts_anew(
    pace: Pace, gap_ms: int, p_last: float, p_current: float, others: dict[Language, float], rule: Rule
) -> None:
    last = replace(FIRST, language_probability=p_last)
    current = after(
        gap_ms,
        "我们已经谈了很久了。",
        ZH,
        language_probability=p_current,
        language_probabilities={ZH: p_current, **others},
    )
    assert judge_two(last, current, pace).rule == rule


def test_regions_of_one_language_are_no_switch() -> None:
    last = replace(FIRST, language=Language("en-us"))
    assert judge_two(last, after(700, language=Language("en-gb"))).rule == "strong_gap"


def test_a_text_that_comes_late_changes_nothing() -> None:
    aggregator = UtteranceAggregator()
    aggregator.judge(SESSION, spoken("and then", 5000, 6000), LIVE, 0)
    late = aggregator.judge(SESSION, spoken("and then", 1000, 2000), LIVE, 1)
    assert (late.decision, late.rule, late.text) == (Decision.NEW_STREAM, "late", "and then")
    assert aggregator.judge(SESSION, spoken(LONG, 6100, 7000), LIVE, 2).context == "and then"


@pytest.mark.parametrize("text", ["", "  \n"])
def test_blank_text_changes_nothing(text: str) -> None:
    aggregator = UtteranceAggregator()
    aggregator.judge(SESSION, FIRST, LIVE, 0)
    assert aggregator.judge(SESSION, after(100, text), LIVE, 1).rule == "blank"
    assert aggregator.judge(SESSION, after(300), LIVE, 2).context == LONG


# ------------------------------------------------------------------------------------------- the score


@pytest.mark.parametrize(
    ("text", "language", "live", "offline"),
    [
        ("good morning.", EN, 3, 3),
        ("good morning all.", EN, 2, 2),
        ("good morning to you.", EN, 2, 2),
        ("good morning to you all.", EN, 0, 2),
        ("good morning to all of you.", EN, 0, 0),
        ("很好的。", ZH, 3, 3),
        ("今天天气。", ZH, 2, 2),
        ("今天天气真是太好。", ZH, 2, 2),
        ("今天天气真是太好了。", ZH, 0, 2),
        ("今天的天气真是太好了。", ZH, 0, 0),
        ("안녕 하세요.", KO, 3, 3),
        ("はい。", JA, 3, 3),
        ("我用 Python.", ZH, 3, 3),  # a foreign word counts as one character
    ],
)
def test_short_texts_score(text: str, language: Language, live: int, offline: int) -> None:
    # A gap of 1.3 s is behind every other rule that looks at it.
    assert continuation_score(FIRST, after(1300, text, language), LIVE) == live
    assert continuation_score(FIRST, after(1300, text, language), OFFLINE) == offline


@pytest.mark.parametrize(
    ("pace", "last", "current", "score"),
    [
        (LIVE, FIRST, after(1000), 0),
        (LIVE, FIRST, after(999), 2),
        (OFFLINE, FIRST, after(1200), 0),
        (OFFLINE, FIRST, after(1199), 2),
        (LIVE, FIRST, after(1300, LONG.rstrip(".")), 1),
        (LIVE, FIRST, after(1300, LONG.rstrip(".") + " and"), 2),
        (LIVE, FIRST, after(1300, LONG.rstrip(".") + " and..."), 1),
        (LIVE, FIRST, after(1300, quality=0.49), 1),
        (LIVE, FIRST, after(1300, quality=0.50), 0),
        (OFFLINE, FIRST, after(1300, quality=0.45), 0),
        (OFFLINE, FIRST, after(1300, quality=0.44), 1),
        (LIVE, replace(FIRST, text="and so we went"), after(1000), 1),
        (LIVE, replace(FIRST, text="and so we went"), after(1001), 0),
        (OFFLINE, replace(FIRST, text="and so we went"), after(1200), 1),
        (OFFLINE, replace(FIRST, text="and so we went"), after(1201), 0),
        (LIVE, replace(FIRST, text="we went"), after(810, "um", quality=0.1), 9),
    ],
)
def test_each_part_of_the_score(pace: Pace, last: Recognized, current: Recognized, score: int) -> None:
    assert continuation_score(last, current, pace) == score


def test_a_score_of_two_is_not_enough_and_three_is() -> None:
    assert judge_two(FIRST, after(900)).score == 2
    assert judge_two(FIRST, after(900)).decision is Decision.NEW_STREAM
    assert judge_two(FIRST, after(900, quality=0.3)).score == 3
    assert judge_two(FIRST, after(900, quality=0.3)).decision is Decision.MERGE


# ------------------------------------------------------------------------------------------- what is cut off


def test_sentences_that_resemble_each_other_come_out_whole() -> None:
    judgement = judge_two(spoken("我非常喜欢吃苹果", 0, 2000, ZH), spoken("我非常喜欢吃香蕉", 2000, 4000, ZH))
    assert judgement.decision is Decision.MERGE
    assert judgement.text == "我非常喜欢吃香蕉"
    assert judgement.display == "我非常喜欢吃苹果我非常喜欢吃香蕉"


def test_a_word_said_twice_comes_out_twice() -> None:
    judgement = judge_two(spoken("继续", 0, 500, ZH), spoken("继续", 600, 1100, ZH))
    assert judgement.text == "继续"
    assert judgement.display == "继续继续"


@pytest.mark.parametrize(("text", "language"), [("好的", ZH), ("OK", EN), ("嗯", ZH), ("네", KO), ("I", EN)])
def test_no_text_is_too_short(text: str, language: Language) -> None:
    judgement = judge_two(FIRST, after(100, text, language))
    assert judgement.text == text


def test_what_both_texts_heard_is_said_once() -> None:
    judgement = judge_two(
        spoken("I would like to buy some apples", 0, 3000), spoken("some apples, and a pear", 2200, 4000)
    )
    assert judgement.text == "and a pear"
    assert judgement.display == "I would like to buy some apples and a pear"


def test_touching_audio_is_not_overlapping_audio() -> None:
    judgement = judge_two(spoken("buy some apples", 0, 3000), spoken("some apples", 3000, 4000))
    assert judgement.text == "some apples"


def test_an_overlap_too_short_for_the_words_is_none() -> None:
    """A rounding of 10 ms must not take a word away."""
    assert judge_two(spoken("继续", 0, 510, ZH), spoken("继续", 500, 1000, ZH)).text == "继续"


def test_overlap_is_cut_off_even_where_a_new_stream_begins() -> None:
    judgement = judge_two(replace(spoken("go on", 0, 2000), is_manual=True), spoken("go on please", 1500, 3000))
    assert (judgement.rule, judgement.text) == ("manual", "please")


# ------------------------------------------------------------------------------------------- memory


def test_context_is_the_stream_and_no_more() -> None:
    aggregator = UtteranceAggregator()
    for number in range(12):
        aggregator.judge(SESSION, spoken(f"w{number}", number * 1000, number * 1000 + 900), LIVE, number)
    judgement = aggregator.judge(SESSION, spoken("end", 12_000, 12_500), LIVE, 13)
    assert judgement.context == " ".join(f"w{number}" for number in range(2, 12))
    assert aggregator.judge(SESSION, spoken(LONG, 20_000, 21_000), LIVE, 14).context == ""
    assert aggregator.judge(SESSION, spoken("x", 21_100, 21_200), LIVE, 15).context == LONG


def test_sessions_do_not_hear_each_other() -> None:
    aggregator = UtteranceAggregator()
    aggregator.judge(SessionId("a"), FIRST, LIVE, 0)
    assert aggregator.judge(SessionId("b"), after(0), LIVE, 1).rule == "first"


def test_five_minutes_of_silence_are_forgotten() -> None:
    for waited, rule in ((SESSION_TTL_MS - 1, "strong_gap"), (SESSION_TTL_MS, "first")):
        aggregator = UtteranceAggregator()
        aggregator.judge(SESSION, FIRST, LIVE, 0)
        assert aggregator.judge(SESSION, after(0), LIVE, waited).rule == rule


def test_of_too_many_sessions_the_longest_unused_is_forgotten() -> None:
    aggregator = UtteranceAggregator()
    for number in range(SESSIONS_MAX):
        aggregator.judge(SessionId(str(number)), FIRST, LIVE, number)
    aggregator.judge(SessionId("0"), after(0), LIVE, SESSIONS_MAX)
    aggregator.judge(SessionId("new"), FIRST, LIVE, SESSIONS_MAX + 1)
    aggregator.check()
    assert aggregator.judge(SessionId("0"), after(8000), LIVE, SESSIONS_MAX + 2).rule == "hard_gap"
    assert aggregator.judge(SessionId("1"), after(0), LIVE, SESSIONS_MAX + 3).rule == "first"


def test_a_session_that_ended_is_forgotten() -> None:
    aggregator = UtteranceAggregator()
    aggregator.judge(SESSION, FIRST, LIVE, 0)
    aggregator.forget(SESSION)
    aggregator.forget(SESSION)
    assert aggregator.judge(SESSION, after(0), LIVE, 1).rule == "first"


TEXTS = st.text("ab 我们。. ,", max_size=12)


@given(st.lists(st.tuples(TEXTS, st.integers(0, 3000), st.integers(1, 2000), st.booleans()), max_size=12))
def test_no_text_loses_a_letter_unless_audio_overlaps(said: list[tuple[str, int, int, bool]]) -> None:
    aggregator = UtteranceAggregator()
    at = 0
    for number, (text, gap, length, manual) in enumerate(said):
        current = spoken(text, at + gap, at + gap + length, is_manual=manual)
        at += gap + length
        assert aggregator.judge(SESSION, current, LIVE, number).text == (text if text.strip() else "")
        aggregator.check()
