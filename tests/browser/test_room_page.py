"""A room, as two people see it on their pages."""

from collections.abc import Callable
from pathlib import Path

from playwright.async_api import Page, expect

from lingua_scheduler.data import SENSE_AND_SENSIBILITY
from tests.browser.conftest import chromium, open_page
from tests.browser.controls import START, expect_state, press, rows
from tests.support import wait_until

expect.set_options(timeout=30_000)
_KEEP_PEERS = """
window.peers = [];
const Real = RTCPeerConnection;
window.RTCPeerConnection = class extends Real {
    constructor(...rest) {
        super(...rest);
        window.peers.push(this);
    }
};
"""
_ENERGY = """async () => {
    const stats = (await Promise.all(peers.map((peer) => peer.getStats()))).flatMap((report) => [...report.values()]);
    return stats.some((one) => one.type === "inbound-rtp" && one.kind === "audio" && one.totalAudioEnergy > 0.0001);
}"""


async def _enter(page: Page, name: str, code: str = "") -> None:
    await page.get_by_text("Room", exact=True).click()
    await page.get_by_label("Your name").fill(name)
    if code:
        await page.get_by_label("Room code").fill(code)
    await press(page, "Join" if code else "Create a room")
    await expect(page.get_by_text(f"{name} (you)")).to_be_visible()


async def test_two_pages_meet_and_understand_each_other(scripted_url: str, microphone: Callable[[Path], Path]):
    async with (
        chromium(microphone(SENSE_AND_SENSIBILITY.path)) as browser,
        open_page(browser, "about:blank") as here,
        open_page(browser, "about:blank") as there,
    ):
        for page, languages in ((here, "from=en&to=en"), (there, "from=pt&to=pt")):
            await page.add_init_script(_KEEP_PEERS)
            await page.goto(f"{scripted_url}/?{languages}&mic=raw&lang=en")
        await _enter(here, "Ana")
        code = (await here.locator(".code b").inner_text()).replace(" ", "")
        await _enter(there, "Bea", code)
        await expect(here.get_by_text("Bea", exact=True)).to_be_visible()

        await press(there, "Hear the voice of Ana")
        await press(here, START)
        await expect(rows(there).first).to_be_visible()
        assert await rows(there).first.locator(".speaker").inner_text() == "Ana"
        assert await rows(there).first.locator(".translation").inner_text() == "[pt] hello there"
        await expect(here.get_by_text("Translated for the others").first).to_be_visible()

        async def is_heard() -> bool:
            return bool(await there.evaluate(_ENERGY))

        await wait_until(is_heard, "Ana's own voice on the other page", 30)

        await press(there, "Leave")
        await expect_state(there, "Ready")
        await expect(here.get_by_text("Bea", exact=True)).to_have_count(0)


async def test_a_code_that_names_no_room_is_told(scripted_url: str):
    async with chromium() as browser, open_page(browser, f"{scripted_url}/?room=000000&lang=zh") as page:
        await press(page, "加入")
        await expect(page.get_by_role("alert")).to_have_text("房间不存在或已过期。")
        await page.get_by_label("房间号").fill("12")
        await press(page, "加入")
        await expect(page.get_by_role("alert")).to_have_text("房间号应为六位数字。")
