"""The page in a real browser: speak, see, hear; and what it says when something is missing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from lingua_scheduler.client.gate import Passed, SpeechGate
from lingua_scheduler.client.scoring import word_errors
from lingua_scheduler.client.sound import OpusEncoder, read_sound_file
from lingua_scheduler.data import COMMANDS, SENSE_AND_SENSIBILITY
from lingua_scheduler.protocol.codec import encode_audio
from tests.browser.conftest import chromium, open_page, serve
from tests.support import Processes

expect.set_options(timeout=30_000)
_LISTEN = """async (audio) => {
    const { SpeechGate } = await import("/static/gate.js");
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
PHONE = {"viewport": {"width": 390, "height": 780}}


async def press_microphone(page: Page) -> None:
    await page.get_by_role("button", name="Microphone").click()


async def test_speech_is_seen_and_heard_in_another_language(processes: Processes, microphone: Callable[[Path], Path]):
    url = await serve(processes, "demo")
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{url}/?from=en&to=pt&mic=raw") as page,
    ):
        await press_microphone(page)
        await expect(page.locator("#state")).to_have_text("Listening")
        rows = page.locator('.utterance[data-kind="result"]')
        await expect(rows).to_have_count(2)
        await expect(page.locator('.utterance[data-sound="playing"]')).to_have_count(1)
        await expect(page.locator('.utterance[data-sound="played"]')).to_have_count(2)
        await press_microphone(page)
        await expect(page.locator("#state")).to_have_text("Ready")

        heard = " ".join(await rows.locator(".source").all_inner_texts())
        translated = await rows.locator(".translation").all_inner_texts()
        late = await rows.locator(".late").all_inner_texts()

    assert word_errors(COMMANDS.transcript, heard).rate < 0.2
    assert all(translated)
    assert all(0 < float(text.removesuffix(" s")) < 10 for text in late)


async def test_a_pair_that_no_node_serves_is_told(lonely_url: str, microphone: Callable[[Path], Path]):
    async with (
        chromium(microphone(COMMANDS.path)) as browser,
        open_page(browser, f"{lonely_url}/?from=en&to=pt") as page,
    ):
        await press_microphone(page)

        await expect(page.get_by_role("alert")).to_contain_text("no node serves en")
        await expect(page.locator('.utterance[data-kind="missing"]').first).to_contain_text("No translation node")


async def test_a_refused_microphone_is_told(lonely_url: str):
    async with chromium() as browser, open_page(browser, f"{lonely_url}/") as page:
        await press_microphone(page)

        await expect(page.get_by_role("alert")).to_contain_text("microphone")
        await expect(page.locator("#state")).to_have_text("Stopped")
        await expect(page.get_by_label("I speak")).to_be_enabled()


async def test_a_lost_connection_is_told(processes: Processes, microphone: Callable[[Path], Path]):
    url = await serve(processes, "scripted?text=hello")
    async with chromium(microphone(COMMANDS.path)) as browser, open_page(browser, f"{url}/?from=en&to=pt") as page:
        await press_microphone(page)
        await expect(page.locator("#state")).to_have_text("Listening")
        processes.children[0].process.kill()

        await expect(page.get_by_role("alert")).to_contain_text("The connection to the scheduler was lost")
        await expect(page.get_by_role("button", name="Microphone")).to_have_attribute("aria-pressed", "false")


async def test_the_keyboard_alone_is_enough(lonely_url: str, microphone: Callable[[Path], Path]):
    async with chromium(microphone(COMMANDS.path)) as browser, open_page(browser, lonely_url) as page:
        await page.keyboard.press("Space")
        await expect(page.locator("#state")).to_have_text("Listening")
        await page.keyboard.press("Space")
        await expect(page.locator("#state")).to_have_text("Ready")


async def test_the_pickers_offer_what_is_served(processes: Processes):
    url = await serve(processes, "scripted?languages=en+pt+ja")
    async with chromium() as browser, open_page(browser, url) as page:
        async with page.expect_response("**/api/v1/pools"):
            await page.reload()
        await wait_served(page, url)
        source, target = page.get_by_label("I speak"), page.get_by_label("Translate to")
        assert await source.locator("option").all_inner_texts() == ["English", "Japanese", "Portuguese"]
        await source.select_option("ja")
        assert await target.locator("option").all_inner_texts() == ["English", "Portuguese"]
        await target.select_option("pt")
        await page.get_by_role("button", name="Swap the languages").click()
        assert (await source.input_value(), await target.input_value()) == ("pt", "ja")


async def wait_served(page: Page, url: str) -> None:
    """Until the scheduler's picture of its pools, which is up to five seconds old, shows the node; then load again."""
    await page.wait_for_function(
        "async () => (await (await fetch('/api/v1/pools')).json()).pools?.length > 0", polling=200
    )
    await page.goto(url)
    await expect(page.locator("#from option")).to_have_count(3)


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


async def test_opus_from_the_wire_can_be_heard(lonely_url: str):
    pcm = b"".join(read_sound_file(COMMANDS.path))
    packets, samples = OpusEncoder().encode(pcm)
    async with chromium() as browser, open_page(browser, lonely_url) as page:
        duration, loudness = await page.evaluate(
            """async (tts_audio) => {
                const { decodeSpeech } = await import("/static/player.js");
                const context = new OfflineAudioContext(1, 16000, 16000);
                const buffer = await decodeSpeech(context, { tts_audio, tts_format: "opus" });
                const data = buffer.getChannelData(0);
                return [buffer.duration, Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)];
            }""",
            encode_audio(packets),
        )

    assert duration == pytest.approx(samples / 16_000, abs=0.03)
    assert 0.02 < loudness < 0.2


async def test_the_page_is_small_and_complete(lonely_url: str):
    """No more than 200 KB, nothing from anywhere else, and no rule of its content policy broken."""
    loaded: dict[str, int] = {}
    async with chromium() as browser, open_page(browser, "about:blank", **PHONE) as page:
        page.on("response", lambda response: loaded.update({response.url: response.status}))
        await page.goto(lonely_url)
        await expect(page.locator("#from option").first).to_be_attached()
        sizes = await page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.encodedBodySize)")
        width = await page.evaluate("document.documentElement.scrollWidth")

    assert all(address.startswith(lonely_url) for address in loaded), json.dumps(loaded)
    assert set(loaded.values()) == {200}
    assert sum(sizes) < 200_000
    assert width <= 390, "nothing sticks out on a phone"
