"""Speech is shown while it is spoken, and what was once told as stable stays, whoever reads it how."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingua_scheduler.core.session import events as ev
from lingua_scheduler.core.session.config import Protocol
from lingua_scheduler.protocol.ids import Language
from lingua_scheduler.protocol.messages import AsrPartial, Pipeline
from tests.core.session.support import ES, PROTOCOLS, PT, SPEAKER, Scene, job_id, of

STREAMING = replace(SPEAKER, enable_streaming_asr=True, partial_update_interval_ms=500)


def speak(scene: Scene, ms: int) -> list[ev.PreviewSpeech]:
    """Chunks of 100 ms in real time; what was shown of them."""
    shown: list[ev.PreviewSpeech] = []
    for _ in range(ms // 100):
        shown += of(scene.say(100), ev.PreviewSpeech)
        scene.wait(100)
    return shown


def partial(scene: Scene, text: str, stable_chars: int | None, index: int = 0, *, final: bool = False) -> None:
    scene.handle(ev.PartialArrived(job_id(index), index, text, final, stable_chars))


def test_speech_is_shown_once_per_interval_and_all_of_it():
    scene = Scene(speaker=STREAMING)
    shown = speak(scene, 1600)
    assert [len(one.chunks) for one in shown] == [6, 11, 16]
    assert all(one.job_id == job_id(0) and one.index == 0 and one.tgt_lang == ES for one in shown)
    scene.say(100, final=True)
    assert scene.started[0].utterance.audio.startswith(b"".join(shown[-1].chunks))


def test_the_next_utterance_is_shown_from_its_own_start():
    scene = Scene(speaker=STREAMING)
    speak(scene, 600)
    scene.say(100, final=True)
    again = speak(scene, 600)
    assert [(one.index, one.job_id, len(one.chunks)) for one in again] == [(1, job_id(1), 6)]


def test_an_interval_below_the_least_is_the_least():
    shown = speak(Scene(speaker=replace(STREAMING, partial_update_interval_ms=1)), 1000)
    assert [len(one.chunks) for one in shown] == [3, 5, 7, 9]


@pytest.mark.parametrize(
    "scene",
    [
        Scene(),
        Scene(speaker=replace(STREAMING, pipeline=Pipeline(use_asr=False))),
        Scene(speaker=STREAMING, targets=()),
    ],
    ids=["not asked for", "without recognition", "nobody listens"],
)
def test_nothing_is_shown_where_nobody_reads(scene: Scene):
    assert not speak(scene, 2000)


def test_several_targets_are_one_preview_under_the_first():
    shown = speak(Scene(speaker=STREAMING, targets=(PT, ES)), 600)
    assert [one.job_id for one in shown] == [job_id(0, PT)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_partial_texts_reach_the_speaker_before_there_is_a_job(protocol: Protocol):
    scene = Scene(speaker=STREAMING, protocol=protocol)
    speak(scene, 600)
    partial(scene, "hel", 0)
    partial(scene, "hello wor", 6)
    told = scene.sent(AsrPartial)
    assert [one.text for one in told] == ["hel", "hello wor"]
    assert [one.stable_chars for one in told] == ([0, 6] if protocol == "1.1" else [None, None])
    assert not scene.started


def test_what_nobody_waits_for_is_not_passed_on():
    scene = Scene(speaker=STREAMING)
    partial(scene, "before any speech", 0)
    speak(scene, 600)
    partial(scene, "another utterance", 0, index=1)
    partial(scene, "finished, but nobody has finished speaking", 0, final=True)
    scene.handle(ev.PartialArrived(job_id(0, Language("de")), 0, "another language", False, 0))
    scene.say(100, final=True)
    scene.conclude(0)
    partial(scene, "after its result", 0)
    assert not scene.sent(AsrPartial)
    assert scene.machine.counts["unknown_job"] == 5


def test_the_job_of_the_utterance_keeps_to_what_was_told():
    scene = Scene(speaker=STREAMING)
    speak(scene, 600)
    partial(scene, "hello wor", 5)
    scene.say(100, final=True)
    partial(scene, "jello", 0)
    partial(scene, "hello there", 0)
    partial(scene, "hello world", 11, final=True)
    assert [(one.text, one.stable_chars) for one in scene.sent(AsrPartial)] == [
        ("hello wor", 5),
        ("hello there", 5),
        ("hello world", 11),
    ]
    assert scene.machine.counts["unstable_partial"] == 1


_decodes = st.lists(
    st.tuples(
        st.text("ab ", max_size=6), st.none() | st.integers(-1, 8), st.booleans(), st.sampled_from(["say", "end"])
    ),
    max_size=30,
)


@given(_decodes)
def test_a_stable_prefix_never_changes(decodes: list[tuple[str, int | None, bool, str]]):
    """Whatever is decoded, by however many nodes, before and after the end of the utterance."""
    scene = Scene(speaker=STREAMING)
    scene.say(100)
    for text, stable_chars, is_final, act in decodes:
        index = scene.machine.next_index - 1
        partial(scene, text, stable_chars, index, final=is_final)
        if act == "end":
            scene.say(100, final=True)
        scene.say(100)
    stable: dict[int, str] = {}
    for one in scene.sent(AsrPartial):
        before = stable.get(one.utterance_index, "")
        assert one.text.startswith(before)
        assert len(before) <= (one.stable_chars or 0) <= len(one.text)
        stable[one.utterance_index] = one.text[: one.stable_chars or 0]
