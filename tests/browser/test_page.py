"""The page itself: what it offers, how it reads, who can use it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from lingua_scheduler.client.gate import Passed, SpeechGate
from lingua_scheduler.client.sound import read_sound_file
from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY
from lingua_scheduler.node.audio import encode_speech
from lingua_scheduler.node.engines.base import ASR_RATE, Speech, from_pcm16
from lingua_scheduler.protocol.codec import encode_audio
from lingua_scheduler.protocol.errors import ErrorCode
from tests.browser.conftest import chromium, open_page
from tests.browser.controls import START, STOP, expect_state, press, rows, write_wav

expect.set_options(timeout=30_000)
AXE = Path(__file__).with_name("vendor") / "axe.min.js"
DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 780}}
FIRST_LOAD_BYTES_MAX = 200_000
_LISTEN = """async (audio) => {
    const { SpeechGate } = await import("/static/sound/gate.js");
    const samples = new Int16Array(Uint8Array.from(atob(audio), (c) => c.charCodeAt(0)).buffer);
    const gate = new SpeechGate();
    const heard = [];
    for (let at = 0; at < samples.length; at += 320) {
        for (const one of gate.feed(samples.subarray(at, at + 320))) {
            heard.push(one.isPause ? "pause" : [one.position, one.isVoiced]);
        }
    }
    return heard;
}"""


_SHOW = """async (results) => {
    const { Transcript } = await import("/static/page/transcript.js");
    const { ConversationView } = await import("/static/page/conversation.js");
    const { exportTranscript } = await import("/static/page/exports.js");
    const transcript = new Transcript();
    new ConversationView(transcript, { onReplay() {} });
    for (const result of results) {
        transcript.result(result, { srcLang: "en", tgtLang: "pt", startMs: 0 }, { lateMs: null });
    }
    return exportTranscript(transcript.entries, "txt", { startedAt: new Date() }).text;
}"""


async def test_a_pair_that_no_node_serves_is_told(lonely_url: str, microphone: Callable[[Path], Path]):
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{lonely_url}/?from=en&to=pt&lang=en") as page,
    ):
        await press(page, START)

        await expect(page.get_by_role("alert")).to_have_text(
            "No translation node serves English to Portuguese at the moment."
        )
        await expect(rows(page, "missing").first).to_contain_text("No translation node")


async def test_a_sentence_whose_end_no_node_could_translate_says_so(lonely_url: str):
    """It is told with a later result as a rule, and shown where the words are missing."""
    fields = {"text_asr": "a sentence", "text_translated": "uma frase", "tts_audio": ""}
    results = [
        {**fields, "utterance_index": index, **({"unsaid": unsaid} if unsaid else {})}
        for index, unsaid in ((0, []), (1, []), (3, [1, 2]))
    ]
    async with chromium() as browser, open_page(browser, f"{lonely_url}/?from=en&to=pt&lang=en") as page:
        text = await page.evaluate(_SHOW, results)

        told = "The end of this sentence could not be translated"
        await expect(rows(page, "result").nth(0)).not_to_contain_text(told)
        await expect(rows(page, "result").nth(1)).to_contain_text(told)
        await expect(rows(page, "result").nth(2)).to_contain_text(told)  # the one that it went with is not shown
        await page.reload()
        await page.evaluate(_SHOW, [*results, {**fields, "utterance_index": 4, "said_late": [1]}])
        await expect(rows(page, "result").nth(2)).to_contain_text(told)
        await expect(rows(page, "result").nth(1)).not_to_contain_text(told)
    assert text.count("uma frase […]") == 2


async def test_a_refused_microphone_is_told(lonely_url: str):
    async with chromium() as browser, open_page(browser, f"{lonely_url}/?lang=zh") as page:
        await press(page, "麦克风：开始")

        await expect(page.get_by_role("alert")).to_contain_text("麦克风")
        await expect_state(page, "就绪")
        await expect(page.get_by_label("我说")).to_be_enabled()


async def test_the_keyboard_alone_is_enough(scripted_url: str, microphone: Callable[[Path], Path]):
    """Also with the focus on the microphone, where Enter and Shift+Space would press it."""
    async with (
        chromium(microphone(SENSE_AND_SENSIBILITY.path)) as browser,
        open_page(browser, f"{scripted_url}/?from=en&to=pt&mic=raw&lang=en") as page,
    ):
        await page.keyboard.press("Space")
        await expect_state(page, "Hearing you")
        await page.locator("#microphone").focus()
        await page.keyboard.press("Enter")
        await expect(rows(page)).to_have_count(1)
        await page.keyboard.press("Shift+Space")
        await expect_state(page, "Paused")
        await page.keyboard.press("Space")
        await expect_state(page, "Ready")


async def test_another_microphone_takes_over(scripted_url: str, microphone: Callable[[Path], Path]):
    async with (
        chromium(microphone(SENSE_AND_SENSIBILITY.path)) as browser,
        open_page(browser, f"{scripted_url}/?from=en&to=pt&mic=raw&lang=en") as page,
    ):
        await press(page, START)
        await expect_state(page, "Hearing you")
        await page.evaluate(
            """() => {
                window.asked = [];
                const media = navigator.mediaDevices;
                const ask = media.getUserMedia.bind(media);
                media.getUserMedia = (wish) => (window.asked.push(wish.audio.deviceId.ideal), ask(wish));
            }"""
        )
        await press(page, "Settings")
        choice = page.get_by_role("combobox", name="Microphone")
        await expect(choice.locator("option")).not_to_have_count(1)
        await choice.select_option(index=1)
        await expect(rows(page)).to_have_count(1)
        assert await page.evaluate("window.asked") == [await choice.input_value()]
        await press(page, "Done")
        await press(page, STOP)
        await expect_state(page, "Ready")


async def test_the_pickers_offer_what_is_served(scripted_url: str):
    async with chromium() as browser, open_page(browser, f"{scripted_url}/?lang=en") as page:
        source, target = page.get_by_label("I speak"), page.get_by_label("Translate to")
        await expect(source.locator("option")).to_have_count(6)
        names = ["Chinese", "English", "Japanese", "Korean", "Portuguese", "Spanish"]
        assert await source.locator("option").all_inner_texts() == names
        await source.select_option("ja")
        assert await target.locator("option").all_inner_texts() == [name for name in names if name != "Japanese"]
        await target.select_option("pt")
        await press(page, "Swap the languages")
        assert (await source.input_value(), await target.input_value()) == ("pt", "ja")
        await page.reload()
        assert (await source.input_value(), await target.input_value()) == ("pt", "ja"), "kept in this browser"


async def test_all_of_the_page_speaks_chinese(scripted_url: str, tmp_path: Path):
    async with chromium() as browser, open_page(browser, scripted_url, locale="zh-CN") as page:
        await expect(page.get_by_role("heading", name="实时翻译")).to_be_attached()
        await page.set_input_files("#file", write_wav(tmp_path / "speech.wav", COMMANDS.path))
        await expect(rows(page)).not_to_have_count(0)
        await expect_state(page, "就绪")
        shown = await page.evaluate(
            """() => [...document.querySelectorAll("button, label span, [aria-label], option, p")]
                .filter((one) => !one.closest("#utterances, #announcer, #speed, .brand"))
                .flatMap((one) => [one.getAttribute("aria-label"), one.children.length ? "" : one.textContent])
                .filter((text) => /[a-z]{3}/.test(text ?? "") && !/[\u4e00-\u9fff]/.test(text))"""
        )
        await page.get_by_role("button", name="设置").click()
        await page.get_by_label("界面语言").select_option("en")
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()

    assert set(shown) <= {"English"}


async def test_both_languages_have_every_sentence(lonely_url: str):
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        en, zh, used = await page.evaluate(
            """async () => {
                const { EN } = await import("/static/page/en.js");
                const { ZH } = await import("/static/page/zh.js");
                const used = [...document.querySelectorAll("[data-t], [data-t-label], [data-t-title]")]
                    .flatMap(({ dataset }) => [dataset.t, dataset.tLabel, dataset.tTitle]).filter(Boolean);
                return [EN, ZH, used];
            }"""
        )

    assert list(en) == list(zh)
    assert set(used) <= set(en)
    fields = {key: set(text.split("{")[1:]) for key, text in en.items()}
    assert all(bool(fields[key]) == ("{" in zh[key]) for key in en)
    nodes_only = {
        code for code in ErrorCode if code.startswith(("NODE_NOT", "NODE_ID", "INVALID_CAP", "MODEL_", "NO_GPU"))
    }
    assert {f"error.{code}" for code in ErrorCode} - set(en) <= {f"error.{code}" for code in nodes_only}


async def test_the_page_hears_the_pauses_that_the_library_hears(lonely_url: str):
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        for recording in (SENSE_AND_SENSIBILITY, COMMANDS):
            frames = list(read_sound_file(recording.path))
            gate = SpeechGate()
            expected: list[Any] = [
                [heard.position, heard.is_voiced] if isinstance(heard, Passed) else "pause"
                for frame in frames
                for heard in gate.feed(frame)
            ]
            assert await page.evaluate(_LISTEN, encode_audio(b"".join(frames))) == expected


async def test_opus_from_a_node_can_be_heard(lonely_url: str):
    pcm = b"".join(read_sound_file(COMMANDS.path))
    samples = len(pcm) // 2
    packets = encode_speech(Speech(from_pcm16(pcm), ASR_RATE), "opus").data
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        duration, loudness = await page.evaluate(
            """async (tts_audio) => {
                const { speechBlob } = await import("/static/sound/player.js");
                const context = new OfflineAudioContext(1, 16000, 16000);
                const file = await speechBlob({ tts_audio, tts_format: "opus" }).arrayBuffer();
                const buffer = await context.decodeAudioData(file);
                const data = buffer.getChannelData(0);
                return [buffer.duration, Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)];
            }""",
            encode_audio(packets),
        )

    assert duration == pytest.approx(samples / 16_000, abs=0.03)
    assert 0.02 < loudness < 0.2


async def test_one_frame_makes_one_packet(lonely_url: str):
    """A packet too many for each hundred milliseconds once made speech a fifth longer than it was."""
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        sent = await page.evaluate(
            """async () => {
                const { chooseFormat, makeEncoder } = await import("/static/sound/opus.js");
                const { splitPackets } = await import("/static/sound/ogg.js");
                const sent = [];
                const encoder = makeEncoder(await chooseFormat(), {
                    onAudio: (bytes) => sent.push(splitPackets(bytes).length),
                    onFinal: () => sent.push("final"),
                    onError: (error) => sent.push(String(error)),
                });
                const frame = () => Int16Array.from({ length: 320 }, (_, at) => 3000 * Math.sin(at / 5));
                for (const count of [5, 5, 2]) encoder.push(Array.from({ length: count }, frame));
                encoder.final();
                encoder.push([frame()]);
                encoder.final();
                await encoder.close();
                return sent;
            }"""
        )

    assert sent == [5, 5, 2, "final", 1, "final"]


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)], ids=["light-desk", "dark-phone"])
async def test_the_page_is_accessible(scripted_url: str, tmp_path: Path, scheme: str, size: dict[str, Any]):
    """Empty, with a conversation and a notice in it, with the settings open, and in a room's entrance."""
    recording = write_wav(tmp_path / "speech.wav", COMMANDS.path)
    async with (
        chromium() as browser,
        open_page(browser, f"{scripted_url}/?from=en&to=pt", color_scheme=scheme, **size) as page,
    ):
        await _check_accessible(page)
        await page.set_input_files("#file", recording)
        await expect(rows(page)).not_to_have_count(0)
        await expect_state(page, "Ready")
        await press(page, START)
        await expect(page.get_by_role("alert")).to_contain_text("microphone")
        await _check_accessible(page)
        await press(page, "Settings")
        await _check_accessible(page)
        await page.keyboard.press("Escape")
        await page.get_by_text("Room", exact=True).click()
        await _check_accessible(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"


async def _check_accessible(page: Page) -> None:
    await page.evaluate(AXE.read_text("utf-8") + "; window.axe = axe; undefined")
    found = await page.evaluate(
        """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
            .map(({ id, help, nodes }) => [id, help, nodes.map(({ html }) => html.slice(0, 160))])"""
    )
    assert not found, json.dumps(found, indent=1)


async def test_the_page_is_small_and_complete(lonely_url: str):
    """No more than 200 KB, nothing from anywhere else, and no rule of its content policy broken."""
    loaded: dict[str, int] = {}
    async with chromium() as browser, open_page(browser, "about:blank", **PHONE) as page:
        page.on("response", lambda response: loaded.update({response.url: response.status}))
        answer = await page.goto(lonely_url)
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        await expect(page.locator("#from option").first).to_be_attached()
        sizes = await page.evaluate(
            "performance.getEntries().map(({ encodedBodySize }) => encodedBodySize ?? 0).reduce((a, b) => a + b)"
        )

    assert all(address.startswith(lonely_url) for address in loaded), json.dumps(loaded)
    assert set(loaded.values()) == {200}
    assert sizes < FIRST_LOAD_BYTES_MAX
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    assert "*" not in policy
