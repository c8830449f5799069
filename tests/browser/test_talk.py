"""Talking through the page: what goes in is seen, heard, kept and can be taken home."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import expect

from lingua_scheduler.client.gate import Passed, SpeechGate
from lingua_scheduler.client.scoring import word_errors
from lingua_scheduler.client.sound import FRAME_MS, read_sound_file
from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY
from tests.browser.conftest import chromium, open_page, serve
from tests.browser.controls import START, STOP, download, expect_state, press, rows, transcript, write_wav
from tests.browser.proxy import cuttable
from tests.support import Processes

expect.set_options(timeout=30_000)
Microphone = Callable[[Path], Path]
_SAID = """() => {
    window.said = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (data) {
        if (typeof data === "string") window.said.push(JSON.parse(data));
        return send.call(this, data);
    };
}"""


async def test_speech_is_seen_and_heard_in_another_language(processes: Processes, microphone: Microphone):
    url = await serve(processes, "demo")
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{url}/?from=en&to=pt&mic=raw&lang=en") as page,
    ):
        await page.evaluate(_SAID)
        await press(page, START)
        await expect_state(page, "Listening")
        await expect(rows(page)).to_have_count(2)
        await expect(page.locator('.utterance[data-sound="playing"]')).to_have_count(1)
        await expect(page.locator('.utterance[data-sound="played"]')).to_have_count(2)
        await press(page, STOP)
        await expect_state(page, "Ready")

        heard = " ".join(await rows(page).locator(".source").all_inner_texts())
        translated = await rows(page).locator(".translation").all_inner_texts()
        late = await rows(page).locator(".late").all_inner_texts()
        announced = await page.locator("#announcer p").all_inner_texts()
        said = await page.evaluate("window.said.map(({ type }) => type)")
        opened = await page.evaluate("window.said[0]")

    assert word_errors(COMMANDS.transcript, heard).rate < 0.2
    assert all(translated)
    assert announced == translated
    assert all(0 < float(text.removesuffix(" s")) < 20 for text in late)
    assert said.count("tts_started") == said.count("tts_play_ended") == 2
    assert opened["audio_format"] == "opus", "Chromium encodes"


async def test_a_network_that_is_cut_costs_no_word(scripted_url: str, tmp_path: Path):
    """Every frame that the gate lets through is in exactly one utterance, though three connections were cut."""
    recording = write_wav(tmp_path / "speech.wav", SENSE_AND_SENSIBILITY.path)
    async with (
        cuttable(scripted_url) as network,
        chromium() as browser,
        open_page(browser, f"{network.url}/?from=en&to=pt&audio=pcm16&lang=en", may_fail=True) as page,
    ):
        network.cuts += [60_000, 150_000, 40_000]
        await page.set_input_files("#file", recording)
        await expect_state(page, "Ready")
        told = await transcript(page)
        assert network.cut_count == 3

    spans = sorted((one["start_ms"], one["end_ms"]) for one in told)
    assert all(one["source"] == "hello there" for one in told)
    assert _joined(spans) == _speech(recording)


async def test_speaking_goes_on_while_the_network_is_away(scripted_url: str, microphone: Microphone):
    async with (
        cuttable(scripted_url) as network,
        chromium(microphone(SENSE_AND_SENSIBILITY.path)) as browser,
        open_page(browser, f"{network.url}/?from=en&to=pt&mic=raw&lang=en", may_fail=True) as page,
    ):
        await press(page, START)
        await expect(rows(page, "live")).to_have_count(1)
        network.is_down = True
        network.cut()
        await expect_state(page, "Reconnecting …")
        await expect(page.get_by_role("alert")).to_contain_text("nothing is lost")
        network.is_down = False
        await expect(page.get_by_role("alert")).to_contain_text("Connected again")
        await expect(rows(page).first).to_be_visible()
        await press(page, STOP)
        await expect_state(page, "Ready")


async def test_both_sides_of_a_conversation_keep_their_column(scripted_url: str, microphone: Microphone):
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{scripted_url}/?from=en&to=pt&mode=two_way_auto&mic=raw&lang=en") as page,
    ):
        await page.evaluate(_SAID)
        await press(page, START)
        await expect(rows(page)).not_to_have_count(0)
        opened = await page.evaluate("window.said[0]")
        first = rows(page).first
        await expect(first).to_have_attribute("data-side", "a")
        await expect(first.locator(".translation")).to_have_text("[pt] hello there")
        assert {name: opened[name] for name in ("src_lang", "mode", "lang_a", "lang_b")} == {
            "src_lang": "auto",
            "mode": "two_way_auto",
            "lang_a": "en",
            "lang_b": "pt",
        }


async def test_what_is_said_can_be_sent_paused_and_gone_on_with(scripted_url: str, microphone: Microphone):
    async with (
        chromium(microphone(SENSE_AND_SENSIBILITY.path)) as browser,
        open_page(browser, f"{scripted_url}/?from=en&to=pt&mic=raw&lang=en") as page,
    ):
        await press(page, START)
        await expect_state(page, "Hearing you")
        await press(page, "Send now")
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).locator(".source")).to_have_text("hello there")
        await page.keyboard.press("Escape")
        await press(page, "Pause")
        await expect_state(page, "Paused")
        await expect(page.get_by_role("meter")).to_have_js_property("value", 0)
        await press(page, "Go on")
        await expect_state(page, "Hearing you")
        await press(page, STOP)
        await expect_state(page, "Ready")


async def test_a_transcript_is_taken_home_in_three_forms(scripted_url: str, tmp_path: Path):
    recording = write_wav(tmp_path / "speech.wav", COMMANDS.path)
    async with chromium() as browser, open_page(browser, f"{scripted_url}/?from=en&to=pt&lang=en") as page:
        await page.set_input_files("#file", recording)
        await expect_state(page, "Ready")
        told = await transcript(page)
        name, text = await download(page, "Text (.txt)")
        _, subtitles = await download(page, "Subtitles (.srt)")
        await press(page, "Clear the conversation")
        await expect(page.get_by_text("Press the microphone and speak.")).to_be_visible()

    assert len(told) >= 2
    assert all((one["src_lang"], one["tgt_lang"]) == ("en", "pt") for one in told)
    assert name.startswith("lingua-20")
    assert text.startswith("[00:00:0")
    assert text.count("\nen: hello there\npt: [pt] hello there\n") == len(told)
    cues = subtitles.strip().split("\n\n")
    assert [cue.split("\n")[0] for cue in cues] == [str(number + 1) for number in range(len(told))]
    times = [cue.split("\n")[1].split(" --> ") for cue in cues]
    assert all(start < end for start, end in times)
    assert times == sorted(times)
    assert all(len(time) == len("00:00:01,234") and time[8] == "," for pair in times for time in pair)


@pytest.mark.parametrize(("content", "told"), [(b"no sound at all", "no sound"), (b"", "no sound")])
async def test_a_file_without_sound_is_told(scripted_url: str, tmp_path: Path, content: bytes, told: str):
    path = tmp_path / "letter.wav"
    path.write_bytes(content)
    async with chromium() as browser, open_page(browser, f"{scripted_url}/?lang=en") as page:
        await page.set_input_files("#file", path)
        await expect(page.get_by_role("alert")).to_contain_text(told)
        await expect_state(page, "Ready")
        await expect(page.get_by_label("I speak")).to_be_enabled()


async def test_a_translation_is_heard_again_and_faster(scripted_url: str, tmp_path: Path):
    recording = write_wav(tmp_path / "speech.wav", COMMANDS.path)
    async with chromium() as browser, open_page(browser, f"{scripted_url}/?from=en&to=pt&lang=en") as page:
        await page.get_by_label("Speed of speech").select_option("2")
        await page.set_input_files("#file", recording)
        await expect(page.locator('.utterance[data-sound="playing"]')).to_have_count(1)
        await expect_state(page, "Ready")
        await expect(page.locator('.utterance[data-sound="played"]')).to_have_count(await rows(page).count())
        await page.get_by_role("button", name="Play again: [pt] hello there").first.click()
        await expect(page.locator('.utterance[data-sound="playing"]')).to_have_count(1)
        await press(page, "Skip this translation")
        await expect(page.locator('.utterance[data-sound="playing"]')).to_have_count(0)
        await page.get_by_text("Speak translations").click()
        await page.set_input_files("#file", recording)
        await expect_state(page, "Ready")
        await expect(page.locator('.utterance[data-sound="waiting"]').first).to_be_visible()


async def test_a_lost_scheduler_is_told(processes: Processes, microphone: Microphone):
    url = await serve(processes, "scripted?text=hello")
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{url}/?from=en&to=pt&lang=zh", may_fail=True) as page,
    ):
        await press(page, "麦克风：开始")
        await expect_state(page, "正在聆听")
        processes.children[0].process.kill()
        await expect_state(page, "正在重新连接……")
        await expect(page.get_by_role("alert")).to_contain_text("内容不会丢失")


def _speech(recording: Path) -> list[tuple[int, int]]:
    """The stretches that the gate lets through, in milliseconds."""
    gate = SpeechGate()
    frames = list(read_sound_file(recording))
    heard = [one for frame in frames for one in gate.feed(frame)] + gate.flush()
    passed = [one.position * FRAME_MS for one in heard if isinstance(one, Passed)]
    return _joined([(at, at + FRAME_MS) for at in passed])


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch, as one. An overlap is said twice: it fails."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        assert not joined or start >= joined[-1][1], f"{start} ms was heard twice"
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
